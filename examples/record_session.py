"""Record a conversation: a scripted agent with real tools looks through this repository.

No model is asked: the script says what the "model" answers, the tools really run, and turnkeep
keeps all of it as it would with any model. The result, `recorded-session.jsonl`, is what `make
demo` and the tests replay. It holds what real logs hold: a parallel group, a failing tool, a call
that never got its result, a call id used twice, a result of 30,000 characters, several re-reads.

    python examples/record_session.py examples/recorded-session.jsonl
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import turnkeep
from turnkeep import Keeper, Message, ToolCall, ToolDefinition, Turn
from turnkeep.stores.memory import MemoryStore
from turnkeep.transfer import export_session

REPOSITORY = Path(__file__).resolve().parent.parent
CAP = 30_000
"""Characters at which the tools cut their output, as coding agents do."""
INSTRUCTIONS = (
    "You review a Python repository. Look before you speak: read the files, search for names, and "
    "quote what you found with its path. Keep answers short."
)
SKIPPED = {".git", ".venv", "__pycache__", "dist", "build", ".hypothesis", ".mypy_cache"}
SOURCES = "core/src/turnkeep"


def list_files(folder: str) -> str:
    """List the files below a folder with their sizes in bytes."""
    top = REPOSITORY / folder
    if not top.is_dir():
        raise NotADirectoryError(folder)
    files = [path for path in sorted(top.rglob("*")) if path.is_file() and not _skipped(path)]
    return "\n".join(f"{path.stat().st_size:>8} {path.relative_to(REPOSITORY)}" for path in files)


def read_file(path: str, first: int = 1, last: int = 2000) -> str:
    """Read lines of a file, each with its number."""
    try:
        text = (REPOSITORY / path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"no such file: {path}") from None
    lines = text.split("\n")[first - 1 : last]
    return "\n".join(f"{number:>5}\t{line}" for number, line in enumerate(lines, first))[:CAP]


def search(pattern: str, folder: str = "core/src") -> str:
    """Find a regular expression in all Python and Markdown files, a hit a line."""
    hits = []
    for path in sorted((REPOSITORY / folder).rglob("*")):
        if path.suffix not in {".py", ".md", ".toml"} or _skipped(path):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if re.search(pattern, line):
                hits.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}")
    text = "\n".join(hits) or "no hits"
    return text[: CAP - 14] + "\n[… cut here]\n" if len(text) > CAP else text


TOOLS: dict[str, Callable[..., str]] = {
    "list_files": list_files,
    "read_file": read_file,
    "search": search,
}
DEFINITIONS = [
    ToolDefinition(
        name="list_files",
        description="List the files below a folder with their sizes in bytes.",
        parameters={
            "type": "object",
            "properties": {"folder": {"type": "string"}},
            "required": ["folder"],
        },
    ),
    ToolDefinition(
        name="read_file",
        description="Read lines of a file, each with its number.",
        parameters={
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "first": {"type": "integer"},
                "last": {"type": "integer"},
            },
            "required": ["path"],
        },
    ),
    ToolDefinition(
        name="search",
        description="Find a regular expression in all Python and Markdown files, a hit a line.",
        parameters={
            "type": "object",
            "properties": {"pattern": {"type": "string"}, "folder": {"type": "string"}},
            "required": ["pattern"],
        },
    ),
]


class ScriptedAgent:
    """Plays the model's part from a script, and runs the tools for real."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    async def says(self, text: str) -> None:
        """Give the final answer of this turn."""
        await self.turn.request(instructions=INSTRUCTIONS, tools=DEFINITIONS)
        await self.turn.add_response(Message(role="assistant", content=text))

    async def calls(
        self, *calls: tuple[str, dict[str, Any]], says: str = "", ids: str = "", abandon: int = 0
    ) -> None:
        """Answer with tool calls, and keep their results but for the last `abandon` of them."""
        await self.turn.request(instructions=INSTRUCTIONS, tools=DEFINITIONS)
        number = self.turn.head.seq if self.turn.head else 0
        made = [
            ToolCall(
                tool_call_id=f"{ids or f'call_{number}'}_{place}", name=name, arguments=arguments
            )
            for place, (name, arguments) in enumerate(calls)
        ]
        texts = [Message(role="assistant", content=says)] if says else []
        step = await self.turn.add_response([*texts, *made])
        for call in step.tool_calls[: len(made) - abandon]:
            try:
                result: object = TOOLS[call.name](**call.arguments)
            except OSError as error:
                result = error
            await self.turn.add_result(call, result)


async def record(keep: Keeper, session_id: str) -> None:
    """Play the whole conversation."""

    def read(path: str, **lines: int) -> tuple[str, dict[str, Any]]:
        return "read_file", {"path": path, **lines}

    modules = sorted(
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / SOURCES).rglob("*.py")
        if not _skipped(path)
    )

    async with keep.turn(session_id) as turn:
        agent = ScriptedAgent(turn)
        await turn.add(Message(role="user", content="Get to know this repository. What is it?"))
        await agent.calls(("list_files", {"folder": SOURCES}), read("core/pyproject.toml"))
        await agent.calls(read("docs/overview.md"), says="Let me see whether there is an overview.")
        await agent.calls(read("README.md"))
        await agent.says("A framework that keeps an agent's turns: a core and separate plugins.")

    async with keep.turn(session_id) as turn:
        agent = ScriptedAgent(turn)
        await turn.add(
            Message(role="user", content="Where are seqs given, and who relies on them?")
        )
        await agent.calls(("search", {"pattern": r"\bseq\b"}), ids="call_reused")
        await agent.calls(
            read(f"{SOURCES}/log.py"), read(f"{SOURCES}/store.py"), read(f"{SOURCES}/events.py")
        )
        await agent.says(f"The store gives them; `{SOURCES}/log.py` notes them on the events.")

    async with keep.turn(session_id) as turn:
        agent = ScriptedAgent(turn)
        await turn.add(Message(role="user", content="Find every use of a name beginning with s."))
        await agent.calls(("search", {"pattern": r"\b[a-z]*s[a-z_]*\b"}), ids="call_reused")
        await agent.calls(
            ("search", {"pattern": r"\bsession_id\b"}),
            ("search", {"pattern": r"\bself\._store\b"}),
            says="That is too much at once; two narrower searches.",
            abandon=1,
        )
        await agent.says("Most of them are `session_id`; the other search did not come back.")

    modules = modules[::2]  # every second: long enough, and half as large to keep
    for place in range(0, len(modules), 3):
        some = modules[place : place + 3]
        async with keep.turn(session_id) as turn:
            agent = ScriptedAgent(turn)
            names = ", ".join(path.removeprefix(SOURCES + "/") for path in some)
            await turn.add(Message(role="user", content=f"Review {names}."))
            await agent.calls(*(read(path) for path in some))
            if place % 2:
                await agent.calls(read(some[0], first=1, last=80), says="Once more, its beginning.")
            await agent.says(f"Read. {names}: short modules, each with one purpose.")

    async with keep.turn(session_id) as turn:
        agent = ScriptedAgent(turn)
        await turn.add(Message(role="user", content="Look at the log and the turn again. Agree?"))
        await agent.calls(read(f"{SOURCES}/log.py"))
        await agent.calls(read(f"{SOURCES}/turn.py"), read(f"{SOURCES}/lease.py"))
        await agent.says("Yes: one place appends, one place holds the lease.")


async def main(target: Path) -> None:
    """Record into a file."""
    session_id = "repository-review"
    async with Keeper(store=MemoryStore()) as keep:
        await record(keep, session_id)
        lines = await export_session(keep.sessions, session_id)
    import json

    header = json.loads(lines[0]) | {
        "source": "examples/record_session.py",
        "licence": "MIT",
        "model": "scripted",
        "instructions": INSTRUCTIONS,
        "tools": [tool.model_dump(mode="json") for tool in DEFINITIONS],
    }
    lines[0] = json.dumps(header, ensure_ascii=False) + "\n"
    target.write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"{target}: {len(lines) - 1} items, {sum(map(len, lines)):,} characters")
    print(f"recorded with turnkeep {turnkeep.__version__}")


def _skipped(path: Path) -> bool:
    return not SKIPPED.isdisjoint(path.relative_to(REPOSITORY).parts) or path.suffix == ".jsonl"


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "recorded-session.jsonl")))
