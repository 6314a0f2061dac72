"""What models took is told, whatever came of it; and a step has the seconds that it asks for."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from turnkeep import Keeper, Message, StoreUnavailable
from turnkeep import log as log_module
from turnkeep.content import Usage
from turnkeep.events import Checkpoint
from turnkeep.optimize.notes import Notes, NotesOptions
from turnkeep.optimize.plan import Cover, Plan, StepFailed
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore

RULES = {"max_tokens": 2_000, "trigger": 0.5, "target": 0.2, "arrival_cap": 0}
PAID = Usage(input_tokens=100, output_tokens=10)


class Paying:
    """Pays a model at each try, `fails` times for nothing."""

    def __init__(self, fails=0, seconds=None, takes=0.0):
        self.fails = fails
        self.takes = takes
        self.tried = 0
        if seconds is not None:
            self.seconds = seconds

    async def plan(self, view):
        self.tried += 1
        self.deadline = view.deadline
        await asyncio.sleep(self.takes)
        if self.tried <= self.fails:
            raise StepFailed("no summary came", usage=PAID, cost=0.5)
        groups = [group for group in view.groups if group.coverable]
        return Plan([Cover(groups[0], groups[-2], "short")], usage=PAID, cost=0.5)


async def rewritten(*steps, reports=1, rules=()):
    """Talk until the context has been rewritten; gives the report and the stored checkpoint."""
    store = MemoryStore()
    keeper = Keeper(store=store, context=RULES | dict(rules), optimizers=steps, learn=False)
    async with keeper as keep:
        async with keep.turn("s") as turn:
            for number in range(200):
                await turn.add(Message(role="user", content=f"{number} " + "word " * 40))
                request = await turn.request()
                if request.rewritten is not None:
                    break
                await turn.add_response([Message(role="assistant", content="yes " * 20)])
        events = (await keep.sessions.get("s")).events
    [checkpoint] = [event for event in events if isinstance(event, Checkpoint)]
    return request.rewritten, checkpoint


async def test_what_came_to_nothing_is_told_with_the_next_rewrite():
    """Two tries failed and gained nothing, the third is stored with what all of them took."""
    step = Paying(fails=2)
    report, checkpoint = await rewritten(step)
    assert step.tried == 3
    assert [told["problem"] for told in report["for_nothing"]] == ["no summary came"] * 2
    assert sum(told["cost"] for told in [*report["for_nothing"], *report["steps"]]) == 1.5
    assert checkpoint.usage.input_tokens == 300
    assert checkpoint.usage.output_tokens == 30


async def test_it_is_told_in_a_later_turn_too():
    """What came to nothing in one turn stands in the checkpoint of another."""
    step, store = Paying(fails=2), MemoryStore()
    async with Keeper(store=store, context=RULES, optimizers=[step], learn=False) as keep:
        for number in range(200):
            async with keep.turn("s") as turn:
                await turn.add(Message(role="user", content=f"{number} " + "word " * 40))
                report = (await turn.request()).rewritten
                if report is not None:
                    break
                await turn.add_response([Message(role="assistant", content="yes " * 20)])
            async with keep.turn("s"):
                pass  # one that asks for no request loses nothing of it
    assert step.tried == 3
    assert [told["problem"] for told in report["for_nothing"]] == ["no summary came"] * 2


ODD = {
    "a sentence": {"sentence": "half of a pair: \ud800"},
    "no number": {"cost": float("nan")},
    "no end": {"cost": float("inf")},
    "a Decimal": {"cost": Decimal("0.5")},
    "a usage": {"usage": Usage.model_construct(input_tokens=1, output_tokens=float("nan"))},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_what_a_step_says_loses_no_answer(odd):
    """What cannot be stored of it is left out, in the notes of the turn and in the checkpoint."""

    class Odd(Paying):
        async def plan(self, view):
            if self.tried < 2:
                self.tried += 1
                said = {"usage": PAID, "cost": 0.5, "sentence": "no", **odd}
                raise StepFailed(said.pop("sentence"), **said)
            return await super().plan(view)

    store = MemoryStore()
    async with Keeper(store=store, context=RULES, optimizers=[Odd()], learn=False) as keep:
        for number in range(200):
            async with keep.turn("s") as turn:
                await turn.add(Message(role="user", content=f"{number} " + "word " * 40))
                request = await turn.request()
                await turn.add_response([Message(role="assistant", content="yes " * 20)])
            if request.rewritten:
                break
        assert len(request.rewritten["for_nothing"]) == 2
        assert len((await keep.sessions.get("s")).events) == 2 * number + 3


async def test_it_is_told_once_also_where_the_turn_dies_behind_its_checkpoint():
    """The notes that the dead turn left are of the context before."""
    step, store = Paying(fails=1), MemoryStore()
    rules = {"store": store, "context": RULES, "optimizers": [step], "learn": False}
    async with Keeper(**rules, turn_timeout=0.05) as keep:
        for number in range(400):
            turn = await keep.turn("s").__aenter__()
            await turn.add(Message(role="user", content=f"{number} " + "word " * 40))
            if (await turn.request()).rewritten is not None:
                turn._lease._stop_pulse()  # its process dies
                await asyncio.sleep(0.06)
                if step.tried > 2:
                    break
                continue
            await turn.add_response([Message(role="assistant", content="yes " * 20)])
            await turn.__aexit__(None, None, None)
        events = (await keep.sessions.get("s")).events
    told = [event.usage.input_tokens for event in events if isinstance(event, Checkpoint)]
    assert told == [200, 100]


@pytest.mark.parametrize("kept", [True, False])
async def test_a_checkpoint_that_met_a_store_that_is_away_owes_what_it_took(monkeypatch, kept):
    """Unless it turns out to be stored: then it has told it."""
    monkeypatch.setattr(log_module, "RETRY_DELAYS", ())
    step = Paying()
    store = FaultyStore(MemoryStore())

    class Then(Notes):
        async def plan(self, view):
            store.plan = ["lose answer" if kept else "refuse"] if step.tried == 1 else []
            return await super().plan(view)

    steps = [step, Then(NotesOptions())]
    async with Keeper(store=store, context=RULES | {"target": 0.01}, optimizers=steps) as keep:
        async with keep.turn("s") as turn:
            with pytest.raises(StoreUnavailable):
                for number in range(200):
                    await turn.add(Message(role="user", content=f"{number} " + "word " * 40))
                    await turn.request()
                    await turn.add_response([Message(role="assistant", content="yes " * 20)])
            await turn.request()
        checkpoints = [
            event
            for event in (await keep.sessions.get("s")).events
            if isinstance(event, Checkpoint)
        ]
    assert [each.usage.input_tokens for each in checkpoints] == [100 if kept else 200]


async def test_a_cold_cache_does_not_pay_again_for_what_gained_nothing():
    """Not before the context has grown by a tenth, in whatever turn."""
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    step = Paying(fails=100)
    rules = {"max_tokens": 20_000, "trigger": 0.8, "target": 0.2, "prices": "anthropic-5m"}
    store = MemoryStore(clock=lambda: now[0])
    async with Keeper(store=store, context=rules, optimizers=[step], learn=False) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="word " * 9_500))
            await turn.request()
            await turn.add_response([Message(role="assistant", content="ok")])
        for number in range(5):
            now[0] += timedelta(minutes=20)
            async with keep.turn("s") as turn:
                await turn.add(Message(role="user", content=f"and {number}?"))
                await turn.request()
                await turn.add_response([Message(role="assistant", content="ok")])
        assert step.tried == 1
        now[0] += timedelta(minutes=20)
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="word " * 1_500))
            await turn.request()
        assert step.tried == 2


async def test_a_rewrite_that_is_fitted_again_keeps_what_it_took():
    """As where the model says that it counts more than we do."""
    _, checkpoint = await rewritten(Paying(), rules={"target": 0.9, "trigger": 0.95})
    assert checkpoint.usage == PAID


async def test_nothing_is_told_where_nothing_was_paid():
    """Steps without a model leave no such part in the report."""
    report, checkpoint = await rewritten(Notes(NotesOptions()))
    assert "for_nothing" not in report
    assert checkpoint.usage is None


@pytest.mark.parametrize(
    ("asked", "rules", "seconds"),
    [(None, {}, 30.0), (133.0, {}, 133.0), (133.0, {"step_timeout": 5.0}, 5.0), ("no", {}, 30.0)],
)
async def test_a_step_has_the_seconds_that_it_asks_for(asked, rules, seconds):
    """The configuration goes before it; without both it has thirty."""
    step = Paying(seconds=asked)
    await rewritten(step, rules=rules)
    assert step.deadline == seconds


async def test_no_longer_than_that():
    """A step that takes longer is skipped, and its seconds are named."""
    report, _ = await rewritten(Paying(seconds=0.02, takes=1.0), Notes(NotesOptions()))
    assert report["steps"][0]["problem"] == "took longer than 0.02 s"
