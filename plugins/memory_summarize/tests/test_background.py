"""Begun ahead: the next rewrite uses it if it still matches, and is none the worse if not."""

import asyncio
import threading

import pytest

from turnkeep import Message
from turnkeep.errors import ModelUnavailable
from turnkeep.optimize.compact import Compact, CompactOptions
from turnkeep.replay.extractive import ExtractiveModel
from turnkeep_memory_summarize.asking import Outcome

AHEAD = {"background": True}


class Slow(ExtractiveModel):
    """Answers when it is told to; counts what it was asked and what was cancelled."""

    def __init__(self, ready=True):
        super().__init__()
        self.ready = asyncio.Event()
        if ready:
            self.ready.set()
        self.asked = self.cancelled = 0
        self.fails = None
        self.bodies = []

    async def generate(self, request, settings):
        self.asked += 1
        self.bodies.append(request.to("openai-chat"))
        try:
            await self.ready.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails is not None:
            raise self.fails
        return await super().generate(request, settings)


async def until_begun(game, turn):
    """Play until a summary has been begun ahead."""
    while not game.model.asked:
        await game.go_on(turn)
        await asyncio.sleep(0)
    assert not game.reports


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def ahead(play):
    """A game whose summarizer begins ahead."""

    def make(model, **rules):
        # Large enough that most of what is to be taken out is there when it is begun.
        return play(model, options=AHEAD, rules={"max_tokens": 16_000, **rules})

    return make


async def test_it_is_ready_when_it_is_needed(ahead):
    """The rewrite makes no call of its own; the report says how it came to be."""
    game = ahead(Slow())
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        await settle()
        asked = game.model.asked
        await game.go_on(turn, 50, until=1)
    assert game.model.asked == asked == 1
    assert game.step_report["notes"]["way"] == "own prompt, in the background"
    assert game.step_report["usage"]["output_tokens"] > 0
    assert game.step_report["notes"]["in_the_index_only"] == 0
    assert game.reports[-1]["tokens_after"] < game.reports[-1]["trigger"]


async def test_a_rewrite_waits_for_what_is_under_way(ahead):
    """Rather than asking the same again."""
    model = Slow(ready=False)
    game = ahead(model)
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        play = asyncio.ensure_future(game.go_on(turn, 50, until=1))
        await asyncio.sleep(0.05)
        assert not play.done()
        model.ready.set()
        await play
    assert model.asked == 1
    assert "problem" not in game.step_report


async def test_no_longer_than_the_step_may(ahead):
    """Then it is ended, and the index stands in."""
    model = Slow(ready=False)
    game = ahead(model, step_timeout=0.2)
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        await game.go_on(turn, 50, until=1)
        await settle()
        assert model.cancelled == 1
    assert "took longer" in game.step_report["problem"]


async def test_what_failed_is_asked_again(ahead):
    """By the rewrite itself; what the failed call took is counted with it."""
    model = Slow()
    model.fails = ModelUnavailable("gone")
    game = ahead(model)
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        await settle()
        model.fails = None
        await game.go_on(turn, 50, until=1)
    assert "problem" not in game.step_report
    assert game.step_report["notes"]["calls"] == 2
    assert "background" not in game.step_report["notes"]["way"]


async def test_what_does_not_match_any_more_is_left(ahead):
    """As where the conversation was taken back behind it: nothing of it comes in."""
    game = ahead(Slow())
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        await settle()
        begun = game.step._background.of("s")
        begun.outcome.summary = "## Goal\n- Poisoned."
        begun.groups[0][0] = (begun.groups[0][0][0], Message(role="user", content="another"))
        await game.go_on(turn, 50, until=1)
    assert "Poisoned" not in game.cover
    assert game.step_report["notes"]["calls"] == 2


async def test_a_cancelled_rewrite_does_not_lose_it(ahead, asked_for):
    """It was paid for: the next try uses it."""
    game = ahead(Slow(), max_tokens=6_000)
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        await settle()
        game.model.ready.clear()  # what comes behind it has to be asked for
        play = asyncio.ensure_future(game.go_on(turn, 50, until=1))
        while game.model.asked == 1:
            await asyncio.sleep(0)
        play.cancel()
        await asyncio.wait([play])
        assert play.cancelled()
        game.model.ready.set()
        await game.go_on(turn, 50, until=1)
    _, lines, _ = asked_for(game.model.bodies[2])
    assert lines[0]["from"] == "summary"
    assert game.model.asked == 3


async def test_closing_ends_all_of_them(ahead):
    """No task is left, and none has left anything."""
    model = Slow(ready=False)
    game = ahead(model)
    async with game.opened() as keep:
        for session in ("a", "b", "c"):
            async with keep.turn(session) as turn:
                await game.begin(turn)
                asked = model.asked
                while model.asked == asked:
                    await game.go_on(turn)
                    await asyncio.sleep(0)
        tasks = set(game.step._background._tasks)
        assert len(tasks) == 3
    assert model.cancelled == 3
    assert all(task.done() for task in tasks)


async def test_the_revision_is_the_runs(ahead):
    """A summary under way appends nothing: the log is as long as without it."""
    lengths = []
    for options in ({"background": True}, {"background": False}):
        game = ahead(Slow())
        game.options = game.options.model_copy(update=options)
        async with game.opened() as keep:
            async with keep.turn("s") as turn:
                await game.begin(turn)
                await game.go_on(turn, 30)
                await settle()
            lengths.append(len((await keep.sessions.get("s")).events))
        assert bool(game.model.asked) is options["background"]
    assert lengths[0] == lengths[1]


async def test_without_a_second_thought_nothing_is_begun_twice(ahead):
    """A session has one at a time, and it is kept while it matches."""
    model = Slow(ready=False)
    game = ahead(model)
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        for _ in range(3):
            await turn.request(instructions="Be brief.", tools=[{"name": "read_file"}])
            await settle()
    assert (model.asked, model.cancelled) == (1, 1)  # cancelled as the step is closed


async def test_what_was_shortened_meanwhile_is_the_same(ahead):
    """`compact` runs before it in the rewrite, and not before it is begun."""
    game = ahead(Slow(), target=0.1)
    game.before = [Compact(CompactOptions(keep_recent=6, results=60))]
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        await settle()
        await game.go_on(turn, 50, until=1)
    assert game.reports[-1]["steps"][0]["edits"] > 0
    assert "in the background" in game.step_report["notes"]["way"]


async def test_what_came_behind_it_is_read_alone(ahead, asked_for):
    """Where it was not enough, the rest is summarized with it, and nothing twice."""
    game = ahead(Slow(), max_tokens=6_000)
    game.own = True
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await until_begun(game, turn)
        await settle()
        await game.go_on(turn, 50, until=1)
    assert game.model.asked == len(game.model.bodies) == 2
    assert "pauses here" in game.model.bodies[0]["messages"][-1]["content"]
    refs, lines, _ = asked_for(game.model.bodies[1])
    assert lines[0]["from"] == "summary"
    assert "#2.0" not in refs
    assert game.step_report["notes"]["calls"] == 2
    assert game.step_report["notes"]["in_the_index_only"] == 0


# A keeper that several event loops use


async def begin_one(game, keep, session="s"):
    """Play until a summary has been begun ahead, and let it get ready."""
    asked = game.model.asked
    async with keep.turn(session) as turn:
        await game.begin(turn)
        while game.model.asked == asked:
            await game.go_on(turn)
            await asyncio.sleep(0)
        assert not game.reports
        await settle()


async def until_rewritten(game, keep):
    async with keep.turn("s") as turn:
        await game.go_on(turn, 50, until=1)


def in_a_thread(work, run=asyncio.run):
    """Run a coroutine on a loop of its own, as a threaded server's handler does."""
    return asyncio.to_thread(run, work)


def run_and_leave(work):
    """Close the loop with what is under way on it, as `asyncio.run` would not."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


async def test_what_a_closed_loop_has_made_ready_is_used(ahead):
    """It was paid for, and nothing of it needs that loop any more."""
    game = ahead(Slow())
    async with game.opened() as keep:
        await in_a_thread(begin_one(game, keep))
        await in_a_thread(until_rewritten(game, keep))
    assert game.model.asked == 1
    assert "problem" not in game.step_report
    assert "in the background" in game.step_report["notes"]["way"]


async def test_what_another_loop_has_made_ready_is_not_waited_for(ahead):
    """That loop has no reason to wake up and tell of it."""
    game = ahead(Slow(), step_timeout=10.0)
    clock = asyncio.get_running_loop().time
    async with game.opened() as keep:
        await begin_one(game, keep)
        start = clock()
        await in_a_thread(until_rewritten(game, keep))
        assert clock() - start < 9
    assert game.model.asked == 1
    assert "in the background" in game.step_report["notes"]["way"]


async def test_what_another_loop_has_under_way_is_asked_again_at_once(ahead):
    """It cannot be waited for from here; its own loop ends it."""
    model = Slow(ready=False)
    game = ahead(model, step_timeout=10.0)
    async with game.opened() as keep:
        await begin_one(game, keep)
        model.ready = asyncio.Event()  # the one under way waits for the event before
        model.ready.set()
        await in_a_thread(until_rewritten(game, keep))
        await settle()
        assert (model.asked, model.cancelled) == (2, 1)
        assert not game.step._background._tasks
    assert "problem" not in game.step_report
    assert "background" not in game.step_report["notes"]["way"]


@pytest.mark.parametrize("run", [asyncio.run, run_and_leave])
async def test_what_a_closed_loop_has_left_unfinished_is_asked_again(ahead, run):
    """Whether the loop has cancelled it, or left it so that it never ends."""
    model = Slow(ready=False)
    game = ahead(model)
    async with game.opened() as keep:
        await in_a_thread(begin_one(game, keep), run)
        model.ready = asyncio.Event()
        model.ready.set()
        await in_a_thread(until_rewritten(game, keep))
        assert model.asked == 2
        assert not game.step._background._tasks
    assert "problem" not in game.step_report


async def test_what_a_closed_loop_has_left_unfinished_is_begun_again(ahead):
    """It will never be ready, so that it is not what the next rewrite can count on."""
    model = Slow(ready=False)
    game = ahead(model)
    async with game.opened() as keep:
        await in_a_thread(begin_one(game, keep), run_and_leave)
        model.ready = asyncio.Event()
        model.ready.set()
        async with keep.turn("s") as turn:
            await game.go_on(turn)
            await settle()
            assert (model.asked, game.reports) == (2, [])
            await game.go_on(turn, 50, until=1)
    assert model.asked == 2
    assert "in the background" in game.step_report["notes"]["way"]


async def test_closing_ends_those_of_other_loops(ahead):
    """By their own loop where it runs; one whose loop has closed is let go."""
    model = Slow(ready=False)
    game = ahead(model)
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    try:
        async with game.opened() as keep:
            begun = asyncio.run_coroutine_threadsafe(begin_one(game, keep), other)
            await asyncio.wrap_future(begun)
            [task] = game.step._background._tasks
            model.ready = asyncio.Event()
            await in_a_thread(begin_one(game, keep, "t"), run_and_leave)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(settle(), other))
        assert task.cancelled()
        assert model.cancelled == 1
        assert not game.step._background._tasks
    finally:
        other.call_soon_threadsafe(other.stop)
        await asyncio.to_thread(thread.join)
        other.close()


def test_an_outcome_begins_empty():
    """What a cancelled task leaves."""
    assert Outcome(None).told("m") == {"calls": 0, "way": "own prompt"}
