"""Replay: where calls stand, what policies send, what it costs."""

from dataclasses import replace
from itertools import pairwise

import pytest

from turnkeep.content import Message, ToolCall, ToolDefinition, ToolResult
from turnkeep.errors import ConfigError
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.prices import PriceRow, price_row, price_rows
from turnkeep.replay.policies import Everything, TutorialWindow
from turnkeep.replay.recording import Recording
from turnkeep.replay.report import as_json
from turnkeep.replay.run import replay, total
from turnkeep.replay.terms import Terms
from turnkeep.testing.letters import Letters

FREE = PriceRow("free", write=1, read=0.1, output=5, minimum=0, step=1, lifetime=10, lookback=20)


def user(text="question"):
    return Message(role="user", content=text)


def said(text="answer"):
    return Message(role="assistant", content=text)


def call(number):
    return ToolCall(tool_call_id=f"c{number}", name="look", arguments={"n": number})


def result(number):
    return ToolResult(tool_call_id=f"c{number}", name="look", content=[f"result {number}"])


def recording(*items):
    made = Recording.of_items("r", items, [ToolDefinition(name="look")])
    return replace(made, instructions="Be brief.")


LONG = recording(
    user(), *[item for n in range(20) for item in (call(n), result(n))], said(), user("x"), said()
)


def terms(profile="openai-chat", **fields):
    return Terms(get_profile(profile), fields.pop("price", FREE), Letters(), **fields)


def test_calls_stand_before_each_run_of_the_assistant():
    """Texts and calls in a row are one answer; parallel calls too."""
    assert recording(
        user(), said(), call(1), call(2), result(1), result(2), said(), user(), said()
    ).calls == [1, 6, 8]
    assert recording(said(), user()).calls == [0]
    assert recording(user()).calls == []


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_everything_is_append_only_and_valid(profile):
    """Each request begins with the whole one before it, so all of that is read from the cache."""
    requests = []
    [[outcome]] = await replay([LONG], [Everything()], terms(profile), requests.append)
    assert (outcome.invalid, outcome.requests) == (0, len(LONG.calls))
    for before, after in pairwise(requests):
        strip = [[_bare(m) for m in r["messages"]] for r in (before, after)]
        assert strip[1][: len(strip[0])] == strip[0]
    assert outcome.cached_tokens == sum(request["tokens"] for request in requests[:-1])


def _bare(value):
    if isinstance(value, dict):
        return {key: _bare(below) for key, below in value.items() if key != "cache_control"}
    return [_bare(below) for below in value] if isinstance(value, list) else value


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_the_tutorials_window_leaves_orphans(profile):
    """The first user message and the last items, wherever that cuts; the checker sees it."""
    [[outcome]] = await replay([LONG], [TutorialWindow(3)], terms(profile))
    assert outcome.invalid > 0
    assert "R1" in outcome.violations


def test_the_window_is_the_tutorials():
    """Up to and including the first user message, then the last N of the rest."""
    items = [said("a"), user("b"), said("c"), user("d"), said("e")]
    assert TutorialWindow(2)._window(items) == [said("a"), user("b"), user("d"), said("e")]
    assert TutorialWindow(2)._window([said("a")] * 5) == [said("a")] * 5


async def test_tokens_are_those_of_the_request():
    """Texts are counted once each, structure is told apart."""
    requests = []
    [[outcome]] = await replay(
        [recording(user("12345"), said())], [Everything()], terms(), requests.append
    )
    [request] = requests
    texts = len("Be brief.") + len("12345")
    assert request["tokens"] - request["overhead"] >= texts
    assert outcome.tokens_sent == request["tokens"] == outcome.peak_tokens


async def test_cost_adds_up():
    """Written once, read ever after: by hand for two calls."""
    [[outcome]] = await replay(
        [recording(user("q" * 50), said("a" * 30), user("r" * 20), said())], [Everything()], terms()
    )
    first, second = [], []
    sent = []
    await replay(
        [recording(user("q" * 50), said("a" * 30), user("r" * 20), said())],
        [Everything()],
        terms(),
        sent.append,
    )
    first, second = (request["tokens"] for request in sent)
    assert outcome.cost == pytest.approx(first + 0.1 * first + (second - first))


async def test_a_cold_cache_reads_nothing():
    """Time before a user's message outlives a short cache."""
    warm = (await replay([LONG], [Everything()], terms()))[0][0]
    cold = (await replay([LONG], [Everything()], terms(idle_before_user=11)))[0][0]
    assert cold.cached_tokens < warm.cached_tokens
    assert (await replay([LONG], [Everything()], terms(idle_before_user=10)))[0][
        0
    ].cached_tokens == warm.cached_tokens


async def test_without_a_cache_every_token_costs_one():
    """The row no-cache reads nothing and costs what was sent."""
    [[outcome]] = await replay([LONG], [Everything()], terms(price=price_row("no-cache")))
    assert (outcome.cached_tokens, outcome.cost) == (0, outcome.tokens_sent)


async def test_a_prefix_below_the_minimum_is_not_cached():
    """Short requests are billed plain."""
    [[outcome]] = await replay(
        [recording(user(), said(), user(), said())],
        [Everything()],
        terms(price=price_row("anthropic-5m")),
    )
    assert (outcome.cached_tokens, outcome.cost) == (0, outcome.tokens_sent)


async def test_costs_are_relative_to_everything():
    """Policies and sessions have one row each, with the same keys."""
    twice = [LONG, recording(user(), said())]
    played = await replay(twice, [Everything(), TutorialWindow(4)], terms())
    report = as_json(played, played[0], terms())
    assert [row["policy"] for row in report["policies"]] == [
        "none",
        "tutorial-window:window_size=4",
    ]
    assert [row["relative_cost"] for row in report["sessions"]][:2] == [1.0, 1.0]
    assert report["policies"][0]["relative_cost"] == 1.0
    assert [total(outcomes).requests for outcomes in played] == [len(LONG.calls) + 1] * 2


def test_price_rows_are_complete():
    """Each row of the table can price a call; an unknown one is refused with a hint."""
    expected = {
        "anthropic-5m": (1.25, 0.10, 5), "anthropic-1h": (2, 0.10, 5), "openai-older": (1, 0.10, 8),
        "openai-5.6": (1.25, 0.10, 6), "gemini": (1, 0.10, 8), "deepseek": (1, 0.033, 3), "no-cache": (1, 1, 5),
    }  # fmt: skip
    assert {
        name: (row.write, row.read, row.output) for name, row in price_rows().items()
    } == expected
    with pytest.raises(ConfigError, match="anthropic-5m"):
        price_row("anthropic-5")


async def test_tools_that_are_inferred_are_weighed_like_declared_ones():
    """An Anthropic request without declared tools costs what the same with them costs."""
    items = [user(), call(1), result(1), said()]
    sent = {}
    for tools in ([], [ToolDefinition(name="look", parameters={})]):
        requests = []
        await replay(
            [Recording.of_items("r", items, tools)],
            [Everything()],
            terms("anthropic"),
            requests.append,
        )
        sent[bool(tools)] = requests[1]["tokens"]
    assert sent[False] >= sent[True]
