"""Replay with a summarizer: who is asked, what it is charged, and what is written down of it."""

import io
import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import BaseModel

from turnkeep.content import Message, ToolCall, ToolDefinition, ToolResult, Usage
from turnkeep.errors import ConfigError, ModelError, ModelRefused
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.hookspecs import OptimizerSpec
from turnkeep.model import ModelAnswer, ModelLimits
from turnkeep.optimize.pipeline import ChosenStep
from turnkeep.optimize.plan import Cover, Plan, StepFailed
from turnkeep.optimize.rules import ContextRules
from turnkeep.prepared import PreparedRequest
from turnkeep.prices import PriceRow
from turnkeep.replay.html import Page
from turnkeep.replay.meter import spent_of
from turnkeep.replay.policies import Everything
from turnkeep.replay.recorded import Recorded, Recorder
from turnkeep.replay.recording import Recording
from turnkeep.replay.report import HEAD, as_json, figures, head
from turnkeep.replay.rewriting import Rewriting
from turnkeep.replay.run import replay, total
from turnkeep.replay.summarizer import opened_summarizer
from turnkeep.replay.terms import Terms
from turnkeep.testing.letters import Letters
from turnkeep.testing.models import ScriptedModel

ROW = PriceRow("row", write=1.25, read=0.1, output=5, minimum=0, step=1, lifetime=10, lookback=20)
ASK = Message(role="user", content="Say what was done so far, briefly.")


class Options(BaseModel):
    """The stand-in step has none."""


class Summing:
    """Covers all groups but the last four with what a model says, asked in one way or another."""

    def __init__(self, open_model, aligned, seen):
        self.open_model, self.aligned, self.seen = open_model, aligned, seen

    async def plan(self, view):
        old = [group for group in view.before_recent(4)[1:] if group.coverable]
        if not old:
            return None
        items = [entry.item for group in old for entry in view.entries_of(group)]
        self.seen.append((view.session, len(view.entries)))
        if self.aligned:
            request = view.extended([ASK])
        else:
            request = PreparedRequest.of_items(
                [Message(role="user", content=f"{len(items)} items, {ASK.content}")],
                session_id="other", counter=Letters(),
            )  # fmt: skip
        try:
            async with self.open_model(None if self.aligned else "cheap") as model:
                answer = await model.generate(request)
        except ModelError as error:
            raise StepFailed(f"no summary: {type(error).__name__}") from None
        if not answer.text:
            raise StepFailed("it said nothing")
        return Plan([Cover(old[0], old[-1], answer.text)], usage=answer.usage)


def summing(summarizer, aligned=True, limit=4_000, seen=None):
    """A policy with the stand-in step alone."""

    @asynccontextmanager
    async def opened(_, env):
        yield Summing(env.open_model, aligned, [] if seen is None else seen)

    spec = OptimizerSpec(name="sum", summary="sums up", options=Options, open=opened)
    rules = ContextRules(max_tokens=limit, reserve=0, arrival_cap=0)
    return Rewriting("sum", rules, [ChosenStep("sum", spec, Options())], Path(), summarizer)


class Terse:
    """Answers every request the same, and says what it took, or does not."""

    model_id, profile, limits = "terse", "openai-chat", ModelLimits(context_window=9_000)
    text = "They were read."

    def __init__(self, usage=None, error=None):
        self.usage, self.error, self.asked = usage, error, []

    async def generate(self, request, settings=None):
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        items = [Message(role="assistant", content=self.text)]
        return ModelAnswer(items=items, usage=self.usage)


def recording(rounds=30, size=300, name="r"):
    items = [Message(role="user", content="Read them all")]
    for number in range(rounds):
        items += [
            ToolCall(tool_call_id=f"c{number}", name="read", arguments={"n": number}),
            ToolResult(tool_call_id=f"c{number}", name="read", content=["x" * size]),
        ]
    last = Message(role="assistant", content="done")
    return Recording.of_items(name, [*items, last], [ToolDefinition(name="read")])


def terms(profile="openai-chat", **fields):
    return Terms(get_profile(profile), fields.pop("price", ROW), Letters(exact=True), **fields)


async def played(policy, profile="openai-chat", made=None, **fields):
    """Play one session; give its outcome, that of `none`, and the reports of its checkpoints."""
    reports = []

    def watch(seen):
        if seen.outgoing.report is not None:
            reports.append(seen.outgoing.report)

    made = made or recording()
    [[plain], [outcome]] = await replay(
        [made], [Everything(), policy], terms(profile, **fields), watch=watch
    )
    return outcome, plain, reports


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_what_steps_report_is_charged(profile, aligned):
    """Input at the row's prices, output at its own; the cost is in the policy's."""
    model = Terse(Usage(input_tokens=1_000, output_tokens=20, cached_tokens=400))
    outcome, plain, reports = await played(summing(model, aligned), profile)
    assert (outcome.invalid, outcome.over_budget, outcome.overflows) == (0, 0, 0)
    asked = sum(bool(step.get("usage")) for report in reports for step in report["steps"])
    assert outcome.summaries == asked == len(model.asked) > 1
    assert (outcome.summary_input, outcome.summary_output) == (1_000 * asked, 20 * asked)
    assert outcome.summary_cost == pytest.approx(asked * (0.1 * 400 + 600 + 5 * 20))
    row = as_json([[outcome]], [plain], terms(profile))["policies"][0]
    assert row["summary_cost"] == pytest.approx(outcome.summary_cost / plain.cost, abs=1e-4)
    whole = (outcome.cost + outcome.summary_cost) / plain.cost
    assert row["relative_cost"] == pytest.approx(whole, abs=1e-4)
    assert row["all_in_cost"] >= row["relative_cost"]


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_the_conversations_own_prefix_is_taken_for_cached(profile):
    """What was sent last, where the step goes on from it; nothing where it asks with a prompt of its own."""
    usage = Usage(input_tokens=1_000, output_tokens=20)
    _, _, reports = await played(summing(Terse(usage)), profile)
    own = [step["usage"] for report in reports for step in report["steps"] if "usage" in step]
    assert own
    for told in own:
        # The request before is all but the newest step and the question.
        assert 700 < told["cached_tokens"] < 1_000
        assert told["cached_tokens"] + told["cache_write_tokens"] <= 1_000
    _, _, reports = await played(summing(Terse(usage), aligned=False), profile)
    other = [step["usage"] for report in reports for step in report["steps"] if "usage" in step]
    assert other
    assert {told["cached_tokens"] for told in other} == {0}


async def test_a_forgotten_prefix_is_not_cached():
    """Where more time has passed than the cache lasts."""
    items = []
    for number in range(20):
        items += [
            Message(role="user", content=f"question {number} " + "q" * 300),
            Message(role="assistant", content=f"answer {number} " + "a" * 300),
        ]
    made = Recording.of_items("r", items)
    usage = Usage(input_tokens=1_000, output_tokens=20)
    cached = {}
    for idle in (0, 11):
        _, _, reports = await played(summing(Terse(usage)), made=made, idle_before_user=idle)
        found = [step["usage"] for each in reports for step in each["steps"] if "usage" in step]
        cached[idle] = {told["cached_tokens"] > 0 for told in found}
    assert cached == {0: {True}, 11: {False}}


async def test_what_a_model_does_not_report_is_counted():
    """By the replay's own counter."""
    outcome, _, _ = await played(summing(Terse(), aligned=False))
    assert outcome.summary_input >= outcome.summaries * len(ASK.content)
    assert outcome.summary_output >= outcome.summaries * len("They were read.")


async def test_what_no_report_tells_is_charged_too():
    """As of a step that asked, and failed without a word of it."""
    model = Terse(Usage(input_tokens=1_000, output_tokens=20))
    model.text = ""
    outcome, _, reports = await played(summing(model))
    assert not any(step.get("usage") for report in reports for step in report["steps"])
    assert outcome.summaries == 0
    assert outcome.summary_output == 20 * len(model.asked) > 0
    assert outcome.summary_cost > 0


def test_prices_of_usage():
    """Cached tokens at the price of reading, written ones at that of writing, the rest plain."""
    usage = Usage(input_tokens=100, output_tokens=3, cached_tokens=60, cache_write_tokens=30)
    assert spent_of(usage, ROW) == (1, 100, 3, pytest.approx(6 + 37.5 + 10 + 15))
    assert spent_of(Usage(input_tokens=1, cached_tokens=9), ROW).cost == pytest.approx(0.1)


async def test_without_a_summarizer_it_is_refused():
    """With a sentence that says how, though the step took it for its model's failure."""
    with pytest.raises(ConfigError, match=r"'sum' asks a model .* --summarizer extractive, model:"):
        await played(summing(None))


async def test_a_step_sees_the_session_and_asks_by_any_name():
    """Each session by its own id; the same summarizer answers for all models."""
    seen = []
    for aligned in (True, False):
        await played(summing(Terse(), aligned, seen=seen), made=recording(name="tom"))
    assert {session for session, _ in seen} == {"tom"}


async def test_a_model_that_fails_is_told_in_the_report():
    """The replay goes on, by what else makes requests fit."""
    model = Terse(error=ModelRefused("no"))
    outcome, _, reports = await played(summing(model))
    assert (outcome.summaries, outcome.summary_cost, outcome.over_budget) == (0, 0, 0)
    assert "no summary: ModelRefused" in json.dumps(reports)


@pytest.mark.parametrize("aligned", [True, False])
async def test_a_recording_answers_as_the_model_did(tmp_path, aligned):
    """The same outcome, without the model."""
    file = tmp_path / "said.jsonl"
    with file.open("w", encoding="utf-8") as out:
        model = Recorder(Terse(Usage(input_tokens=1_000, output_tokens=20)), out)
        first, plain, _ = await played(summing(model, aligned))
    again, _, _ = await played(summing(Recorded(str(file)), aligned))
    rows = [as_json([[each]], [plain], terms())["policies"][0] for each in (first, again)]
    for row in rows:
        row.pop("seconds")
    assert rows[0] == rows[1]
    assert rows[0]["summaries"] > 1
    assert Recorded(str(file)).limits == Terse.limits


async def test_the_same_request_is_asked_once():
    """Two policies that ask the same get the same, and both are charged."""
    model, out = Terse(Usage(input_tokens=1_000, output_tokens=20)), io.StringIO()
    recorder = Recorder(model, out)
    policies = [summing(recorder), summing(recorder)]
    [[one], [two]] = await replay([recording()], policies, terms())
    assert len(model.asked) == one.summaries == two.summaries == out.getvalue().count("\n") - 1


async def test_failures_are_recorded_too(tmp_path):
    """And are failures again, of the same kind."""
    file = tmp_path / "said.jsonl"
    with file.open("w", encoding="utf-8") as out:
        await played(summing(Recorder(Terse(error=ModelRefused("no")), out)))
    _, _, reports = await played(summing(Recorded(str(file))))
    assert "no summary: ModelRefused" in json.dumps(reports)


async def test_a_missing_answer_ends_the_replay(tmp_path):
    """It is no failure of a model, so it is not passed over."""
    file = tmp_path / "said.jsonl"
    with file.open("w", encoding="utf-8") as out:
        await played(summing(Recorder(Terse(), out)))
    with pytest.raises(ConfigError, match="has no answer there; record it"):
        await played(summing(Recorded(str(file))), made=recording(size=310))


@pytest.mark.parametrize("text", ["", "[]", '{"format": "x"}', "{", '{"a": 1}\n{"b": 2}'])
def test_what_is_no_recording_is_refused(tmp_path, text):
    """With its name."""
    file = tmp_path / "said.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"said\.jsonl"):
        Recorded(str(file))
    with pytest.raises(ConfigError, match=r"gone\.jsonl"):
        Recorded(str(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize("text", ["extrative", "model:", "recorded:", "model"])
async def test_unknown_summarizers_are_refused(text):
    """With those that there are."""
    from turnkeep.config import load_config

    with pytest.raises(ConfigError, match="there are: extractive, model:ID"):
        async with opened_summarizer(text, load_config({}), Letters()):
            pass


async def test_tables_show_summaries_where_there_are_any():
    """In the table and on the page; otherwise both are as they were."""
    out = io.StringIO()
    page = Page(out)
    policies = [Everything(), summing(Terse(Usage(input_tokens=1_000, output_tokens=20)))]
    told = await replay([recording()], policies, terms(), watch=page.see)
    page.finish([recording()], told, told[0], terms())
    sums = [total(outcomes) for outcomes in told]
    assert head(sums[:1]) == HEAD
    names = head(sums)
    cells = figures(sums[1], sums[0], names)
    assert len(cells) == len(names) == len(HEAD) + 4
    assert cells[len(HEAD)] == f"{sums[1].summaries:,}"
    assert figures(sums[0], sums[0], names)[-4:] == ("-",) * 4
    assert "Their cost" in out.getvalue()
    assert '"summaries":' in out.getvalue()


async def test_scripted_models_are_asked_in_their_providers_form():
    """A request that goes on from the conversation's own is one that its provider takes."""
    for profile in PROFILE_NAMES:
        model = ScriptedModel(*["They were read."] * 99, profile=profile)
        outcome, _, _ = await played(summing(model), profile)
        assert len(model.requests) == outcome.summaries > 0
