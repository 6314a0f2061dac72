"""Repair makes any history valid, changes no valid one, and never changes its mind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.formats.profile import Profile, WireMessage, render_context, side_of
from turnkeep.repair.steps import StepBuilder
from turnkeep.repair.validity import repair, violations
from turnkeep.testing import histories

PROFILES = [pytest.param(get_profile(name), id=name) for name in PROFILE_NAMES]
any_history = histories.logs() | histories.broken
tool_sets = st.sampled_from([(), histories.TOOLS, histories.TOOLS[:1]])


def as_bytes(messages: list[WireMessage]) -> list[str]:
    return [json.dumps(message.body) for message in messages]


@pytest.mark.parametrize("profile", PROFILES)
@given(any_history, tool_sets)
def test_what_repair_leaves_is_valid(profile: Profile, log, tools):
    """Whatever a log holds, the repaired request breaks no rule of the provider."""
    assert violations(repair(log, profile, tools=tools).items, profile, tools=tools) == []


@pytest.mark.parametrize("profile", PROFILES)
@given(any_history, tool_sets)
def test_repair_of_the_repaired_changes_nothing(profile: Profile, log, tools):
    """A second repair finds nothing to do and gives the very same items."""
    once = repair(log, profile, tools=tools).items
    twice = repair(once, profile, tools=tools)
    assert twice.repairs == []
    assert all(left is right for left, right in zip(once, twice.items, strict=True))


@pytest.mark.parametrize("profile", PROFILES)
@given(st.data())
def test_repair_of_a_valid_history_is_the_identity(profile: Profile, data):
    """A valid context comes back item by item, with nothing reported."""
    thinks = profile.name in histories.SEALED_BY
    by = {"provider": profile.name} if thinks else {}
    context = data.draw(histories.valid(thinking=thinks, **by))
    assert violations(context, profile) == []
    result = repair(context, profile)
    assert result.repairs == []
    assert all(left is right for left, right in zip(context, result.items, strict=True))


@pytest.mark.parametrize("profile", PROFILES)
@given(any_history)
def test_each_request_begins_with_the_one_before(profile: Profile, log):
    """At every model call the rendered messages extend, byte for byte, those of the call before.

    The fixed "Continue." of a request that ends with an answer is there in the later one too.
    """
    builder, before, answering = StepBuilder(profile), [], False
    for item in [*log, None]:
        now = item is None or side_of(item) == "assistant"
        if now and not answering:
            request = as_bytes([m for step in builder.steps() for m in step.messages()])
            assert request[: len(before)] == before
            before = request
        answering = now
        if item is not None:
            builder.feed(item)


@pytest.mark.parametrize("profile", PROFILES)
@given(any_history)
def test_steps_render_as_the_whole_list_does(profile: Profile, log):
    """Rendering step by step and rendering the repaired list give the same messages."""
    builder = StepBuilder(profile)
    for item in log:
        builder.feed(item)
    steps = builder.steps()
    _, head = profile.system("", steps[0].items[: steps[0].leading])
    by_step = [*head, *(message for step in steps for message in step.messages())]
    assert by_step == render_context(profile, repair(log, profile).items)[1]


@pytest.mark.parametrize("profile", PROFILES)
@given(any_history)
def test_origins_point_at_what_was_fed(profile: Profile, log):
    """Each repaired item names the item it came from, each at most once, and of the same type."""
    builder = StepBuilder(profile)
    for item in log:
        builder.feed(item)
    seen = set()
    for step in builder.steps():
        for origin, item in zip(step.origins, step.items, strict=True):
            if origin >= 0:
                assert type(log[origin]) is type(item)
                assert origin not in seen
                seen.add(origin)
        assert all(-1 <= found.origin < len(log) for found in step.repairs)


@given(any_history)
def test_repair_leaves_its_input_alone(log):
    """Neither the list nor an item of it is changed."""
    before = [item.model_dump_json() for item in log]
    repair(log, get_profile("anthropic"))
    assert [item.model_dump_json() for item in log] == before
