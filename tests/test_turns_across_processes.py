"""Turns of one session in different processes, on one SQLite file."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import turnkeep
from turnkeep import Message, SessionBusy, SessionConflict


def config(folder, **session):
    return {
        "session": {"store": "sqlite", "sqlite": {"path": str(Path(folder) / "s.db")}, **session}
    }


def user(text):
    return Message(role="user", content=text)


async def texts(keep):
    return [
        item.content for event in (await keep.sessions.get("s")).events for item in event.content
    ]


HOLDER = """
import asyncio, sys, turnkeep
from turnkeep import Message, SessionConflict

async def main():
    async with turnkeep.open({config!r}) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="held"))
            print("holding", flush=True)
            {then}

asyncio.run(main())
"""

WAIT = "await asyncio.to_thread(sys.stdin.readline)"
BLOCKED = """import time
            sys.stdin.readline()  # the loop stands still: nobody hears of this turn
            try:
                await turn.add_response("too late")
                print("kept", flush=True)
            except SessionConflict as error:
                print("fenced:", error, flush=True)"""


class Holder:
    """A second process that holds a turn open until it is told to go on."""

    def __init__(self, settings, then):
        code = HOLDER.format(config=settings, then=then)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "holding\n"
        assert self.process.pid != os.getpid()

    def go_on(self):
        return self.process.communicate("\n", timeout=30)[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


async def test_a_turn_in_another_process_is_respected(tmp_path):
    """The second is told before it spends; the first finishes; then the second goes on."""
    settings = config(tmp_path)
    async with turnkeep.open(settings) as keep:
        with Holder(settings, WAIT + "\n            await turn.add_response('done')") as holder:
            async with keep.turn("s") as turn:
                with pytest.raises(SessionBusy, match="turn running"):
                    await turn.add(user("mine"))
            holder.go_on()
            assert holder.process.returncode == 0
        async with keep.turn("s") as turn:
            await turn.add(user("mine"))
        assert await texts(keep) == ["held", "done", "mine"]


async def test_a_frozen_holder_is_taken_over_and_fenced(tmp_path):
    """Its process lives, but nothing was heard of it for too long: what it still adds is refused."""
    settings = config(tmp_path, turn_timeout=0.5)
    async with turnkeep.open(settings) as keep:
        with Holder(settings, BLOCKED) as holder:
            async with keep.turn("s", on_conflict="wait") as turn:
                await turn.add(user("new"))
                said = holder.go_on()
                assert said.startswith("fenced: session 's': this turn was taken over")
                await turn.add_response("answer")
        assert await texts(keep) == ["held", "new", "answer"]


async def test_a_killed_holder_is_taken_over_and_nothing_is_lost(tmp_path):
    """What it had kept stands; its open call is closed by the next input."""
    settings = config(tmp_path, turn_timeout=0.5)
    calling = """from turnkeep import ToolCall
            await turn.add_response(ToolCall(tool_call_id="c", name="rm"))
            print("called", flush=True)
            await asyncio.to_thread(sys.stdin.readline)"""
    async with turnkeep.open(settings) as keep:
        with Holder(settings, calling) as holder:
            assert holder.process.stdout.readline() == "called\n"
            holder.process.send_signal(signal.SIGKILL)
            holder.process.wait()
            async with keep.turn("s", on_conflict="wait") as turn:
                assert [call.name for call in turn.open_calls] == ["rm"]
                await turn.add(user("next"))
        kept = [item for event in (await keep.sessions.get("s")).events for item in event.content]
    assert [item.type for item in kept] == ["message", "tool_call", "tool_result", "message"]
    assert kept[2].content == ["interrupted, outcome unknown"]


async def test_a_running_holder_stays_fresh_however_long_its_tool_works(tmp_path):
    """Its appends without records are heard in the other process."""
    settings = config(tmp_path, turn_timeout=1.0)
    async with turnkeep.open(settings) as keep:
        with Holder(settings, WAIT) as holder:
            await asyncio.sleep(2.5)
            async with keep.turn("s") as turn:
                with pytest.raises(SessionBusy):
                    await turn.add(user("mine"))
            holder.go_on()
        assert await texts(keep) == ["held"]


@pytest.mark.prove
async def test_many_processes_take_turns(tmp_path):
    """Eight processes with ten turns each, waiting for one another: all kept, none interleaved."""
    settings = config(tmp_path, on_conflict="wait")
    code = f"""
import asyncio, os, turnkeep
from turnkeep import Message

async def main():
    async with turnkeep.open({settings!r}) as keep:
        for number in range(10):
            name = f"{{os.getpid()}}-{{number}}"
            async with keep.turn("s") as turn:
                await turn.add(Message(role="user", content=name))
                await turn.request()
                await turn.add_response(name)

asyncio.run(main())
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(8)]
    assert [process.wait(600) for process in processes] == [0] * 8
    async with turnkeep.open(settings) as keep:
        said = await texts(keep)
    assert said[::2] == said[1::2]
    assert len(set(said)) == 80


async def test_a_conflict_of_whole_sessions_across_handles(tmp_path):
    """Two managers on one file: one save wins."""
    settings = config(tmp_path)
    async with turnkeep.open(settings) as one, turnkeep.open(settings) as two:
        await one.sessions.create("s")
        mine, theirs = await one.sessions.get("s"), await two.sessions.get("s")
        for session in (mine, theirs):
            session.events.append(turnkeep.Event(content=[user(str(id(session)))]))
        await one.sessions.save(mine)
        with pytest.raises(SessionConflict):
            await two.sessions.save(theirs)
