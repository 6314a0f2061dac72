"""A run killed at every point, before and after each append, model call, tool call and decision.

Five steps with parallel tools and one approval, on SQLite, through LiteLLM against the strict
provider server. After the kill another process goes on: nothing that was acknowledged is lost or
done twice, and no request is ever invalid.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

import turnkeep
from turnkeep.testing.provider import Call, ProviderServer, Say

pytest.importorskip("turnkeep_model_litellm")
CHILD = Path(__file__).with_name("crash_child.py")

STEPS = [
    Say(calls=[Call("read", {"name": "a"}, id="r1"), Call("count", {"name": "bb"}, id="c1")]),
    Say(calls=[Call("read", {"name": "c"}, id="r2")]),
    Say(calls=[Call("write", {"name": "d"}, id="w1"), Call("count", {"name": "ee"}, id="c2")]),
    Say(calls=[Call("count", {"name": "f"}, id="c3"), Call("read", {"name": "g"}, id="r3")]),
    Say("all done"),
]


def script(request):
    """Answer by how far the conversation is."""
    steps = [m for m in request.body["messages"] if m.get("tool_calls")]
    return STEPS[len(steps)]


class Zygote:
    """Starts the processes, each forked with LiteLLM loaded."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, **task):
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def zygote():
    made = Zygote()
    yield made
    made.close()


def lines(folder):
    return (folder / "acknowledged").read_text().splitlines()


def points_of(folder):
    """Give all points that an undisturbed run has."""
    return [
        f"{line.split(' ', 1)[1]}:before" if line.startswith("begin ") else
        f"{point(line)}:after"
        for line in lines(folder)
        if not line.startswith("answer")
    ]  # fmt: skip


def point(line):
    """Give what a line is about: "append:3" of "end append:3 5 1"."""
    words = line.split()
    return " ".join(words[1:3]) if words[1] == "tool" else words[1]


def check(folder, server, killed):
    """Hold the log and the requests against what was acknowledged."""
    said = lines(folder)
    assert said[-1] == "answer complete all done", said
    assert server.rejected == []
    stored = asyncio.run(log(folder))
    # Each append that was acknowledged is there: the log is as long as the last one said, or more.
    seqs = [int(line.split()[2]) for line in said if line.startswith("end append")]
    assert seqs == sorted(seqs)
    assert len(stored) >= seqs[-1]
    # One answer for each step, whatever happened: no acknowledged model call was made again.
    answers = [event for event in stored if event.author == "assistant"]
    assert len(answers) == len(STEPS)
    assert [(e.type, e.author) for e in stored].count(("event", "user")) == 1
    lost = killed is not None and asked_for_nothing(said, killed)
    assert len(server.requests) == len(STEPS) + lost
    # The approved tool ran at most once, and its decision is there once.
    assert sum(line.startswith("begin tool write") for line in said) <= 1
    assert [event.type for event in stored].count("decision") == 1
    results = [item for event in stored for item in event.content if item.type == "tool_result"]
    assert len(results) == 7
    # A tool that is not idempotent was begun at most once for each call.
    reads = [line for line in said if line.startswith("begin tool read")]
    assert len(reads) <= 3


def asked_for_nothing(said, killed):
    """Say whether the kill fell between a request that was sent and the append of its answer."""
    cut = next(place for place, line in enumerate(said) if matches(line, killed))
    begun = said[: cut + 1]
    last = [line for line in begun if line.split()[1].startswith(("model", "append"))]
    if killed.startswith("model") and killed.endswith("before"):
        return 0
    if not last:
        return 0
    if last[-1].startswith(("begin model", "end model")):
        return 1
    before = [line for line in last if not line.startswith("end append")]
    is_answer = len(before) > 1 and before[-2].split()[1].startswith("model")
    return int(last[-1].startswith("begin append") and is_answer)


def matches(line, killed):
    what, time, side = killed.rsplit(":", 2)
    start = "begin" if side == "before" else "end"
    return line.startswith(start) and point(line) == f"{what}:{time}"


async def log(folder):
    """Read the log as another program does."""
    config = {"session": {"store": "sqlite", "sqlite": {"path": str(folder / "s.db")}}}
    async with turnkeep.open(config) as keep:
        return (await keep.sessions.get("s")).events


def killed_at(zygote, folder, where):
    """Kill a run at a point, let others go on, and check what is left."""
    folder.mkdir()
    with ProviderServer(default=script) as server:
        task = {"folder": str(folder), "url": server.base_url("openai-chat")}
        assert zygote.run(**task, point=where) == -9
        assert zygote.run(**task, point=None) == 0
        check(folder, server, where)


@pytest.fixture(scope="module")
def every(zygote, tmp_path_factory):
    """Play it undisturbed, and give all points where it can be killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with ProviderServer(default=script) as server:
        ended = zygote.run(folder=str(folder), url=server.base_url("openai-chat"), point=None)
        assert ended == 0
        check(folder, server, None)
    found = points_of(folder)
    kinds = {each.split(":")[0] for each in found}
    assert kinds == {"append", "model", "decision", "tool read", "tool count", "tool write"}
    return found


@pytest.mark.prove
def test_some_points(zygote, every, tmp_path):
    """Killed at some points, a run goes on."""
    for number, where in enumerate(every[4::20]):
        killed_at(zygote, tmp_path / str(number), where)


@pytest.mark.prove
def test_every_point(zygote, every, tmp_path):
    """Killed at any point, a run goes on."""
    for number, where in enumerate(every):
        killed_at(zygote, tmp_path / str(number), where)
