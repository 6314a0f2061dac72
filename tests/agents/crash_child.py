"""The processes of the crash matrix: forked from one that has loaded LiteLLM, to be killed.

Reads one JSON line for each process on stdin; answers with its exit status, negative for a signal.
"""

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path

import turnkeep
from turnkeep import Agent, SessionManager, ToolConfirmation, tool
from turnkeep.testing.kills import Kills, Point
from turnkeep_model_litellm import LitellmClient


def tools(kills):
    @tool
    async def read(name: str) -> str:
        return f"text of {name}"

    @tool(idempotent=True)
    async def count(name: str) -> int:
        return len(name)

    @tool(requires_confirmation=True)
    async def write(name: str) -> str:
        return f"wrote {name}"

    return [kills.tool(each) for each in (read, count, write)]


async def play(task):
    """Run until the answer, from wherever the session stands."""
    folder = Path(task["folder"])
    point = Point.parse(task["point"]) if task["point"] else None
    kills = Kills(point, folder / "acknowledged")
    config = {"session": {"store": "sqlite", "sqlite": {"path": str(folder / "s.db")}}}
    async with turnkeep.open(config) as keep:
        manager = SessionManager(kills.store(keep.sessions.store), turn_timeout=0.2)
        client = LitellmClient(
            "openai/gpt-4o-mini", api_base=task["url"], api_key="k", retries=0, timeout=20
        )
        agent = Agent(
            kills.model(client),
            tools(kills),
            "You are tested.",
            max_steps=9,
            session_manager=manager,
            on_conflict="wait",
        )
        session = await manager.get("s")
        said = session is not None and any(event.content for event in session.events)
        result = await (agent.resume("s") if said else agent.run("go", session_id="s"))
        while result.status == "pending":
            time = kills.begin("decision")
            decisions = [
                ToolConfirmation(tool_call_id=each.tool_call.tool_call_id, approved=True)
                for each in result.pending_tool_calls
            ]
            result = await agent.resume("s", decisions)
            kills.end("decision", time)
        kills.write(f"answer {result.status} {result.output}")


def main():
    LitellmClient("openai/gpt-4o-mini", api_key="k").profile  # loaded once, before the forks
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                asyncio.run(play(json.loads(line)))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


main()
