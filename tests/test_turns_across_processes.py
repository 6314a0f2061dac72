"""Turns of one session in different processes, on each durable store, whatever their clocks say."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys

import pytest

import turnkeep
from turnkeep import Message, SessionBusy, SessionConflict

AHEAD, BEHIND = "+7m", "-7m"
"""Clocks of machines that nobody sets; a turn is dead after 5 minutes of silence."""
STORES_WITH_A_CLOCK = ("redis", "postgres")
"""For the others the machine's clock is the store's: processes on it cannot differ."""


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def config(request, durable):
    """Make settings for one place of a store."""
    return durable(request.param)


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


def with_clock(offset):
    """Give the beginning of a command whose process has another time of day."""
    if offset is None:
        return []
    if (program := shutil.which("faketime")) is None:
        missing = "needs faketime (`make servers` installs it)"
        (pytest.fail if os.environ.get("TURNKEEP_REQUIRE_SERVERS") else pytest.skip)(missing)
    return [program, "-f", offset]


class Holder:
    """A second process that holds a turn open until it is told to go on."""

    def __init__(self, settings, then, clock=None):
        code = HOLDER.format(config=settings, then=then)
        self.process = subprocess.Popen(
            [*with_clock(clock), sys.executable, "-c", code],
            env={**os.environ, "DONT_FAKE_MONOTONIC": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self.process.stdout.readline() != "holding\n":
            self.__exit__()
            pytest.fail("the second process did not get its turn")

    def go_on(self):
        return self.process.communicate("\n", timeout=30)[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


async def test_a_turn_in_another_process_is_respected(config):
    """The second is told before it spends; the first finishes; then the second goes on."""
    settings = config()
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


@pytest.mark.prove
@pytest.mark.parametrize("clock", [AHEAD, BEHIND])
@pytest.mark.parametrize("config", STORES_WITH_A_CLOCK, indirect=True)
async def test_a_turn_is_respected_whatever_its_clock_says(config, clock):
    """What counts as silence is measured by the store's clock alone."""
    settings = config()
    async with turnkeep.open(settings) as keep:
        with Holder(settings, WAIT, clock):
            async with keep.turn("s") as turn:
                with pytest.raises(SessionBusy, match="turn running"):
                    await turn.add(user("mine"))


@pytest.mark.prove
@pytest.mark.parametrize("clock", [AHEAD, BEHIND])
@pytest.mark.parametrize("config", STORES_WITH_A_CLOCK, indirect=True)
async def test_who_is_silent_is_taken_over_whatever_its_clock_says(config, clock):
    """A clock that goes ahead gives no longer hold, and one that is behind no shorter one."""
    settings = config(turn_timeout=0.5)
    async with turnkeep.open(settings) as keep:
        with Holder(settings, BLOCKED, clock) as holder:
            async with keep.turn("s", on_conflict="wait") as turn:
                await turn.add(user("new"))
                assert holder.go_on().startswith("fenced: session 's'")


@pytest.mark.parametrize(
    ("config", "clock"),
    [(store, None) for store in ("sqlite", *STORES_WITH_A_CLOCK)]
    + [pytest.param("sqlite", BEHIND, marks=pytest.mark.prove)]
    + [
        pytest.param(store, clock, marks=pytest.mark.prove)
        for store in STORES_WITH_A_CLOCK
        for clock in (AHEAD, BEHIND)
    ],
    indirect=["config"],
)
async def test_a_frozen_process_that_wakes_up_writes_nothing(config, clock):
    """SIGSTOP in the middle of its turn, SIGCONT after another took over: refused, and told so."""
    settings = config(turn_timeout=0.5)
    async with turnkeep.open(settings) as keep:
        with Holder(settings, BLOCKED, clock) as holder:
            holder.process.send_signal(signal.SIGSTOP)
            async with keep.turn("s", on_conflict="wait") as turn:
                await turn.add(user("new"))
                holder.process.send_signal(signal.SIGCONT)
                assert holder.go_on().startswith("fenced: session 's'")
                await turn.add_response("answer")
        assert await texts(keep) == ["held", "new", "answer"]


async def test_a_frozen_holder_is_taken_over_and_fenced(config):
    """Its process lives, but nothing was heard of it for too long: what it still adds is refused."""
    settings = config(turn_timeout=0.5)
    async with turnkeep.open(settings) as keep:
        with Holder(settings, BLOCKED) as holder:
            async with keep.turn("s", on_conflict="wait") as turn:
                await turn.add(user("new"))
                said = holder.go_on()
                assert said.startswith("fenced: session 's': this turn was taken over")
                await turn.add_response("answer")
        assert await texts(keep) == ["held", "new", "answer"]


async def test_a_killed_holder_is_taken_over_and_nothing_is_lost(config):
    """What it had kept stands; its open call is closed by the next input."""
    settings = config(turn_timeout=0.5)
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


async def test_a_running_holder_stays_fresh_however_long_its_tool_works(config):
    """Its appends without records are heard in the other process."""
    settings = config(turn_timeout=1.0)
    async with turnkeep.open(settings) as keep:
        with Holder(settings, WAIT) as holder:
            await asyncio.sleep(2.5)
            async with keep.turn("s") as turn:
                with pytest.raises(SessionBusy):
                    await turn.add(user("mine"))
            holder.go_on()
        assert await texts(keep) == ["held"]


@pytest.mark.prove
async def test_many_processes_take_turns(config):
    """Eight processes with ten turns each, waiting for one another: all kept, none interleaved."""
    settings = config(on_conflict="wait")
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


@pytest.mark.prove
async def test_hundreds_wait_for_one_session(config):
    """Four processes with seventy-five waiting turns each: each has its turn, none interleaved."""
    settings = config(on_conflict="wait")
    code = f"""
import asyncio, os, turnkeep
from turnkeep import Message

async def one(keep, number):
    name = f"{{os.getpid()}}-{{number}}"
    async with keep.turn("s") as turn:
        await turn.add(Message(role="user", content=name))
        await asyncio.sleep(0.005)
        await turn.add_response(name)

async def main():
    async with turnkeep.open({settings!r}) as keep:
        async with asyncio.TaskGroup() as group:
            for number in range(75):
                group.create_task(one(keep, number))

asyncio.run(main())
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(600) for process in processes] == [0] * 4
    async with turnkeep.open(settings) as keep:
        said = await texts(keep)
    assert said[::2] == said[1::2]
    assert len(set(said)) == 300


async def test_a_conflict_of_whole_sessions_across_handles(config):
    """Two managers on one file: one save wins."""
    settings = config()
    async with turnkeep.open(settings) as one, turnkeep.open(settings) as two:
        await one.sessions.create("s")
        mine, theirs = await one.sessions.get("s"), await two.sessions.get("s")
        for session in (mine, theirs):
            session.events.append(turnkeep.Event(content=[user(str(id(session)))]))
        await one.sessions.save(mine)
        with pytest.raises(SessionConflict):
            await two.sessions.save(theirs)
