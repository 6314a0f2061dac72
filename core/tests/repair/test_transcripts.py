"""Real sessions: at every model call the repaired request is valid, and extends the one before."""

import json
from collections import Counter

import pytest

from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.formats.jsonl import read_sessions
from turnkeep.formats.profile import side_of
from turnkeep.repair.steps import StepBuilder
from turnkeep.repair.validity import repair


def items_of(path):
    with path.open(encoding="utf-8", newline="\n") as lines:
        [session] = read_sessions(lines, path.name)
    return [item for event in session.events for item in event.content]


PROFILES = [
    name if name == "anthropic" else pytest.param(name, marks=pytest.mark.prove)
    for name in PROFILE_NAMES
]
"""The strictest provider; the others with the long proofs."""


@pytest.mark.parametrize("name", PROFILES)
def test_every_request_of_every_transcript_is_valid(name, transcripts):
    """No violation at any model-call position, and each request is a prefix of the next."""
    profile, calls = get_profile(name), 0
    for path in transcripts:
        builder, answering, before = StepBuilder(profile), False, []
        for item in [*items_of(path), None]:
            now = item is None or side_of(item) == "assistant"
            if now and not answering:
                calls += 1
                steps = builder.steps()
                first = steps[0]
                system, messages = profile.system("", first.items[: first.leading])
                messages += [message for step in steps for message in step.messages()]
                body = profile.payload(messages=messages, system=system)
                assert profile.check(body) == [], path.name
                texts = [json.dumps(message.body) for message in messages]
                assert texts[: len(before)] == before, path.name
                before = texts
            answering = now
            if item is not None:
                builder.feed(item)
    assert calls > len(transcripts)


@pytest.mark.parametrize("name", PROFILE_NAMES)
def test_what_repair_does_to_the_transcripts(name, transcripts):
    """Only unanswered calls, empty texts and final answers are repaired: these logs are sound."""
    done = Counter()
    for path in transcripts:
        done.update(found.rule for found in repair(items_of(path), get_profile(name)).repairs)
    assert set(done) <= {"R2", "R5", "R6"}
