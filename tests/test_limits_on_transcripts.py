"""Real sessions within a limit: valid, fitting, and everything that was taken out is read back."""

import json

import pytest

from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.optimize.recall import answer, text_of
from turnkeep.optimize.reference import references
from turnkeep.prices import price_row
from turnkeep.replay.extractive import ExtractiveModel
from turnkeep.replay.named import parse_policy
from turnkeep.replay.recording import read_recordings
from turnkeep.replay.run import replay
from turnkeep.replay.terms import Terms
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep.tokens.memo import Memo

CASES = [
    pytest.param(profile, limit, marks=[] if limit == 20_000 else [pytest.mark.prove])
    for profile in PROFILE_NAMES
    for limit in (20_000, 40_000, 100_000)
]


def strings(value):
    if isinstance(value, str):
        yield value
    for below in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from strings(below)


@pytest.mark.parametrize(("profile", "limit"), CASES)
async def test_every_request_is_valid_and_fits(transcripts, profile, limit):
    """By the checker, and by counting all the strings of each request."""
    counter = Memo(EstimateCounter())
    over = []

    def look(request):
        texts = [*strings([request["system"], request["tools"], request["messages"]])]
        if request["overflow"] is None and sum(counter.count_texts(texts)) > limit:
            over.append((request["session"], request["call"]))

    recordings = list(read_recordings(map(str, transcripts)))
    terms = Terms(get_profile(profile), price_row("anthropic-5m"), counter)
    policy = parse_policy(f"coding:max_tokens={limit}")
    [outcomes] = await replay(recordings, [policy], terms, look, facts=False)
    for outcome in outcomes:
        assert (outcome.session, outcome.invalid, outcome.over_budget, outcome.overflows) == (
            outcome.session, 0, 0, 0,
        )  # fmt: skip
    assert over == []
    assert sum(outcome.checkpoints for outcome in outcomes) >= 15


async def test_every_reference_recalls_the_original(transcripts):
    """As found in the texts of requests, from the recorded log."""
    terms = Terms(get_profile("anthropic"), price_row("anthropic-5m"), Memo(EstimateCounter()))
    policy = parse_policy("coding:max_tokens=40000")
    count = 0
    for recording in read_recordings(map(str, transcripts)):
        found = set()
        originals = {entry.ref: text_of(entry.item) for entry in recording.entries}
        async for outgoing in policy.play(recording, terms):
            if outgoing.checkpoint:
                assert outgoing.report["tokens_after"] < outgoing.report["tokens_before"]
                text = json.dumps([message.body for message in outgoing.messages])
                found |= {ref for ref in references(text) if ref in originals}
        for ref in found:
            said = await answer(
                {"ref": f"#{ref.seq}.{ref.index}"}, recording.entries, cap=10**9,
                count=lambda texts: [len(text) for text in texts],
            )  # fmt: skip
            assert not said.failed
            assert originals[ref].strip() in said.text
            count += 1
    assert count > 500


PROFILES = [
    name if name == "anthropic" else pytest.param(name, marks=pytest.mark.prove)
    for name in PROFILE_NAMES
]
"""The strictest provider; the others with the long proofs."""


@pytest.mark.parametrize("profile", PROFILES)
async def test_summaries_are_valid_and_fit(transcripts, profile):
    """With an extract in place of a model, and each is charged."""
    pytest.importorskip("turnkeep_memory_summarize")
    counter = Memo(EstimateCounter())
    terms = Terms(get_profile(profile), price_row("anthropic-5m"), counter)
    recordings = list(read_recordings(map(str, transcripts)))
    named = 'coding:max_tokens=20000,pipeline=["compact","summarize"]'
    policy = parse_policy(named, summarizer=ExtractiveModel(counter=counter))
    [outcomes] = await replay(recordings, [policy], terms, facts=False)
    for outcome in outcomes:
        assert (outcome.session, outcome.invalid, outcome.over_budget, outcome.overflows) == (
            outcome.session, 0, 0, 0,
        )  # fmt: skip
    assert sum(outcome.summaries for outcome in outcomes) >= 15
    assert all((outcome.summary_cost > 0) == (outcome.summaries > 0) for outcome in outcomes)
