"""Servers that die, hang and babble, and callers that give up."""

import asyncio
import os
import subprocess
import sys

import pytest

from turnkeep.errors import ToolError
from turnkeep_tools_mcp import McpError, McpServer


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.prove
async def test_a_server_that_dies_in_a_call_says_so_and_is_started_again(demo, protocol):
    """The call it died in fails with a sentence; the next one finds a new process."""
    async with demo(protocol=protocol) as server:
        before = await server.call("process", {})
        with pytest.raises(ToolError, match="ended in the middle of die; whether"):
            await server.call("die", {})
        after = await server.call("process", {})
        assert before != after


async def test_all_calls_in_flight_learn_of_the_death(demo, tmp_path, until):
    """No caller waits for an answer that cannot come."""
    started, cancelled = tmp_path / "started", tmp_path / "cancelled"
    async with demo() as server:
        call = server.call("hang", {"started": str(started), "cancelled": str(cancelled)})
        waiting = asyncio.create_task(call)
        await until(started.exists)
        with pytest.raises(ToolError):
            await server.call("die", {})
        with pytest.raises(ToolError, match="ended in the middle of hang"):
            await waiting


@pytest.mark.prove
async def test_calls_that_come_together_after_a_death_start_one_process(demo):
    """They share one attempt to connect."""
    async with demo() as server:
        with pytest.raises(ToolError):
            await server.call("die", {})
        pids = await asyncio.gather(*(server.call("process", {}) for _ in range(5)))
        assert len(set(pids)) == 1


@pytest.mark.prove
async def test_starting_again_is_tried_a_few_times_only(raw, tmp_path):
    """A server that does not come up again ends the call with the reason, and the next one tries."""
    async with raw("dead_after_first", attempts=2) as server:
        with pytest.raises(ToolError, match="ended in the middle"):
            await server.call("call", {})
        for attempts in (2, 4):
            with pytest.raises(ToolError, match="cannot be opened: it ended before it answered"):
                await server.call("call", {})
            assert len((tmp_path / "raw").read_text()) == attempts


async def test_a_server_that_hangs_is_given_up(raw):
    """The call ends after its timeout; the server still answers others, if it can."""
    async with raw("deaf") as server:
        with pytest.raises(ToolError, match=r"given up after 0\.2 s"):
            await server.call("call", {}, timeout=0.2)


@pytest.mark.prove
async def test_a_server_that_never_answers_does_not_open(raw):
    """Connecting has a limit of its own."""
    with pytest.raises(McpError, match=r"longer than 0\.5 s"):
        await raw("silent", connect_timeout=0.5, protocol="legacy").open()


@pytest.mark.prove
async def test_a_cancelled_call_is_cancelled_at_the_server(demo, tmp_path, until, protocol):
    """The server's own function is stopped, and the connection goes on."""
    started, cancelled = tmp_path / "started", tmp_path / "cancelled"
    async with demo(protocol=protocol) as server:
        call = server.call("hang", {"started": str(started), "cancelled": str(cancelled)})
        waiting = asyncio.create_task(call)
        await until(started.exists)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(cancelled.exists)
        assert await server.call("add", {"a": 1, "b": 1}) == "2"


@pytest.mark.prove
async def test_a_call_that_is_given_up_is_cancelled_at_the_server(raw, tmp_path, until):
    """A timeout is told like a cancellation: by the protocol's notification."""
    told = tmp_path / "raw"
    async with raw("cancel") as server:
        with pytest.raises(ToolError, match="given up"):
            await server.call("call", {}, timeout=0.2)
        await until(lambda: told.exists() and "requestId" in told.read_text())


@pytest.mark.prove
async def test_garbage_between_messages_is_left_out(raw, caplog):
    """A server that logs to its output is still understood."""
    async with raw("garbage", name="babbler") as server:
        assert await server.call("call", {}) == "call"
        assert await server.call("call", {}) == "call"
    assert "babbler says what is no message" in caplog.text


async def test_an_error_code_like_that_of_an_end_is_no_end(raw):
    """Servers use the code of a closed connection for errors of their own."""
    async with raw("code") as server:
        with pytest.raises(ToolError, match=r"^the disk is full$"):
            await server.call("call", {})


@pytest.mark.prove
async def test_many_calls_share_one_connection(demo, tmp_path):
    """They run at once: each waits at the server for all the others."""
    async with demo() as server:
        calls = (server.call("meet", {"path": str(tmp_path), "among": 20}) for _ in range(20))
        assert await asyncio.gather(*calls) == ["met"] * 20


@pytest.mark.prove
async def test_closing_ends_the_process(demo, protocol):
    """Nothing stays behind, and closing twice does no harm."""
    server = await demo(protocol=protocol).open()
    pid = int(await server.call("process", {}))
    await server.close()
    await server.close()
    assert not runs(pid)
    with pytest.raises(ToolError, match="is not open"):
        await server.call("process", {})


@pytest.mark.prove
async def test_opened_and_closed_by_different_tasks(demo):
    """Neither the order of servers nor the task that closes one matters."""
    first = await asyncio.create_task(demo().open())
    second = await asyncio.create_task(demo().open())
    pids = [int(await server.call("process", {})) for server in (first, second)]
    await asyncio.create_task(first.close())
    assert await second.call("add", {"a": 1, "b": 1}) == "2"
    await asyncio.create_task(second.close())
    assert not any(runs(pid) for pid in pids)


@pytest.mark.prove
async def test_a_failing_block_closes_and_raises_its_own_error(demo):
    """The error of the block is not wrapped in a group."""
    with pytest.raises(LookupError, match="mine"):
        async with demo() as server:
            await server.tools()
            raise LookupError("mine")


@pytest.mark.prove
async def test_opening_can_be_cancelled(raw, tmp_path):
    """A server that does not answer is ended with the task that waits for it."""
    server = raw("silent", protocol="legacy")
    opening = asyncio.create_task(server.open())
    await asyncio.sleep(0.1)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("steps", range(6))
async def test_opening_is_cancelled_while_the_process_starts(raw, monkeypatch, steps):
    """At whatever step of the loop: the process has ended when the cancelled task has."""
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    opening = asyncio.create_task(raw("silent", protocol="legacy").open())
    while not started:
        await asyncio.sleep(0)
    for _ in range(steps):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [process.returncode is not None for process in started] == [True]


@pytest.mark.prove
async def test_a_cancelled_caller_does_not_end_the_attempt_of_others(demo):
    """Who waits for the same connection still gets it."""
    async with demo() as server:
        with pytest.raises(ToolError):
            await server.call("die", {})
        first = asyncio.create_task(server.call("process", {}))
        second = asyncio.create_task(server.call("add", {"a": 1, "b": 1}))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "2"


@pytest.mark.prove
def test_a_server_left_open_ends_with_its_loop(demo):
    """Its process does not outlive asyncio.run, and the next loop connects again."""
    server = demo()

    async def opened():
        await server.open()
        return int(await server.call("process", {}))

    async def again():
        try:
            return int(await server.call("process", {}))
        finally:
            await server.close()

    first = asyncio.run(opened())
    assert not runs(first)
    second = asyncio.run(again())
    assert second != first
    assert not runs(second)


async def test_a_command_that_is_not_there_is_named():
    """The sentence names what was not found."""
    with pytest.raises(McpError, match="no-such-command cannot be opened: no-such-command: "):
        await McpServer.stdio("no-such-command").open()


async def test_a_server_that_fails_at_its_start_tells_why(raw):
    """Its last word is in the sentence, without the secrets that it was given."""
    server = raw("dead", env={"LICENCE": "abcd-1234"}, name="licensed")
    with pytest.raises(McpError, match=r"licensed .* it said: no licence \*\*\*$") as raised:
        await server.open()
    assert "abcd-1234" not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_only_given_variables_reach_the_server(demo, monkeypatch):
    """Our own environment, with all that it holds, is not handed on."""
    monkeypatch.setenv("OUR_SECRET", "1234")
    async with demo(env={"THEIRS": "5678"}) as server:
        assert await server.call("environment", {"name": "OUR_SECRET"}) == "(none)"
        assert await server.call("environment", {"name": "THEIRS"}) == "5678"


def test_the_client_is_imported_only_when_a_server_is_opened():
    """Importing the package, and making a server, cost next to nothing."""
    code = (
        "import sys\n"
        "from turnkeep_tools_mcp import McpServer, load_mcp_tools\n"
        "McpServer.stdio('x'); McpServer.http('http://x')\n"
        "print([name for name in ('mcp', 'anyio', 'httpx2', 'mcp_types') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
