"""The checkers reject a request for each rule that it breaks, and accept what is valid."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.formats import get_profile
from turnkeep.testing import histories

OPENAI = get_profile("openai-chat")
ANTHROPIC = get_profile("anthropic")


def openai_call(call_id="c1", name="run", arguments="{}"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def openai_body():
    function = {"name": "run", "parameters": {"type": "object"}}
    return {
        "tools": [{"type": "function", "function": function}],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [openai_call(), openai_call("c2")],
            },
            {"role": "tool", "tool_call_id": "c2", "content": "two"},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "assistant", "content": "done"},
            {"role": "user", "content": [{"type": "text", "text": "more"}]},
        ],
    }


def text(words):
    return {"type": "text", "text": words}


def use(call_id="c1", name="run"):
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}}


def result(call_id="c1", words="one"):
    return {"type": "tool_result", "tool_use_id": call_id, "content": [text(words)]}


def thinking():
    return {"type": "thinking", "thinking": "so", "signature": "c2ln"}


def anthropic_body():
    return {
        "max_tokens": 10,
        "system": [text("s")],
        "tools": [{"name": "run", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [text("hi")]},
            {"role": "assistant", "content": [thinking(), text("a"), use(), use("c2")]},
            {"role": "user", "content": [result("c2"), result(), text("also")]},
            {"role": "assistant", "content": "done"},
            {"role": "user", "content": "more"},
        ],
    }


def edit(body, path, value):
    """Put a value at a path; `...` deletes it."""
    *way, last = path
    place = body
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value


def change(*path, to):
    return lambda body: edit(body, path, to)


def insert(*path, item):
    def apply(body):
        *way, index = path
        place = body
        for step in way:
            place = place[step]
        place.insert(index, item)

    return apply


def swap(first, second):
    def apply(body):
        messages = body["messages"]
        messages[first], messages[second] = messages[second], messages[first]

    return apply


M = "messages"
OPENAI_MUTANTS = [
    ("R1", insert(M, 7, item={"role": "tool", "tool_call_id": "zz", "content": "x"})),
    ("R1", insert(M, 5, item={"role": "tool", "tool_call_id": "c1", "content": "again"})),
    ("R2", change(M, 4, to=...)),
    ("R2", lambda body: edit(body, (M,), body[M][:3])),
    ("R3", insert(M, 4, item={"role": "user", "content": "between"})),
    ("R3", swap(4, 5)),
    ("R4", change(M, 1, to={"role": "assistant", "content": "first"})),
    ("R4", lambda body: edit(body, (M,), body[M][:1])),
    ("R5", change(M, 6, to=...)),
    ("R6", change(M, 1, "content", to=" \n")),
    ("R6", change(M, 5, "content", to=None)),
    ("R6", change(M, 3, "content", to="")),
    ("R6", change(M, 6, "content", 0, "text", to="")),
    ("R6", change(M, 6, "content", to=[])),
    ("R7", change(M, 2, "tool_calls", 1, "id", to="c1")),
    ("R8", change(M, 2, "tool_calls", 0, "function", "name", to="other")),
    ("R8", change("tool_choice", to={"type": "function", "function": {"name": "other"}})),
    ("R9", change(M, 5, "reasoning_content", to="hm")),
    ("R9", change(M, 5, "content", to=[{"type": "thinking", "thinking": "hm"}])),
    ("wire", change(M, 1, "role", to="human")),
    ("wire", change(M, 1, "content", to=5)),
    ("wire", change(M, 1, "cache_control", to={})),
    ("wire", change(M, 2, "tool_calls", to=[])),
    ("wire", change(M, 2, "tool_calls", 0, "type", to=...)),
    ("wire", change(M, 2, "tool_calls", 0, "id", to="x" * 41)),
    ("wire", change(M, 2, "tool_calls", 0, "function", "arguments", to={})),
    ("wire", change(M, 2, "tool_calls", 0, "function", "arguments", to="[]")),
    ("wire", change(M, 2, "tool_calls", 0, "function", "arguments", to='{"a":NaN}')),
    ("wire", change(M, 2, "tool_calls", 0, "function", "name", to="a b")),
    ("wire", change(M, 3, "content", to=[{"type": "image_url", "image_url": {"url": "x"}}])),
    ("wire", change(M, 6, "content", 0, to={"type": "image_url"})),
    ("wire", change(M, to=[])),
    ("wire", lambda body: body["tools"].append(body["tools"][0])),
    ("wire", lambda body: edit(body, ("tools",), body["tools"] * 129)),
    ("wire", change("tools", 0, "function", "name", to="a b")),
    ("wire", change("tools", to=[])),
    ("wire", change("tool_choice", to="any")),
    ("wire", change("prompt_cache_key", to="x" * 65)),
]
ANTHROPIC_MUTANTS = [
    ("R1", insert(M, 2, "content", 0, item=result("zz"))),
    ("R1", insert(M, 2, "content", 0, item=result("c1"))),
    ("R2", change(M, 2, "content", 0, to=...)),
    ("R2", change(M, 2, "content", to="no results")),
    ("R3", insert(M, 2, "content", 1, item=text("between"))),
    ("R3", swap(2, 4)),
    ("R4", change(M, 0, to=...)),
    ("R5", change(M, 4, to=...)),
    ("R6", change(M, 0, "content", 0, "text", to=" ")),
    ("R6", change(M, 4, "content", to="")),
    ("R6", change(M, 4, "content", to=[])),
    ("R6", change(M, 2, "content", 0, "content", 0, "text", to="\n")),
    ("R6", change("system", 0, "text", to="")),
    ("R7", change(M, 1, "content", 3, "id", to="c1")),
    ("R8", change(M, 1, "content", 2, "name", to="other")),
    ("R8", change("tools", to=...)),
    ("R8", change("tool_choice", to={"type": "tool", "name": "other"})),
    ("R9", change(M, 1, "content", 0, "signature", to=...)),
    ("R9", lambda body: body[M][1]["content"].insert(1, body[M][1]["content"].pop(0))),
    ("R9", change(M, 3, "content", to=[thinking()])),
    ("R9", change(M, 4, "content", to=[thinking()])),
    ("wire", change(M, 3, "role", to="user")),
    ("wire", change(M, 0, "role", to="system")),
    ("wire", change(M, 0, "name", to="x")),
    ("wire", change(M, 0, "content", to=None)),
    ("wire", change(M, 0, "content", 0, to={"text": "no type"})),
    ("wire", change(M, 0, "content", 0, to={"type": "tool_use"})),
    ("wire", change(M, 3, "content", to=[{"type": "image", "source": {}}])),
    ("wire", change(M, 4, "content", to=[{"type": "image", "source": {"type": "url"}}])),
    ("wire", change(M, 1, "content", 2, "id", to="a.b")),
    ("wire", change(M, 1, "content", 2, "name", to="a b")),
    ("wire", change(M, 1, "content", 2, "input", to="{}")),
    ("wire", change(M, 2, "content", 0, "is_error", to=1)),
    ("wire", change(M, 2, "content", 0, "content", 0, to={"type": "tool_use"})),
    ("wire", change(M, to=[])),
    ("wire", change("system", to=[{"type": "image"}])),
    ("wire", lambda body: body["tools"].append(body["tools"][0])),
    ("wire", change("tools", 0, "input_schema", to={})),
    ("wire", change("tool_choice", to="auto")),
    ("wire", change("max_tokens", to=0)),
    ("wire", change(M, 0, "content", 0, "cache_control", to={"type": "forever"})),
    ("wire", change(M, 1, "content", 0, "cache_control", to={"type": "ephemeral"})),
    (
        "wire",
        change(M, 4, "content", to=[text("x") | {"cache_control": {"type": "ephemeral"}}] * 5),
    ),
]


@pytest.mark.parametrize(
    ("profile", "make"),
    [(OPENAI, openai_body), (ANTHROPIC, anthropic_body)],
    ids=lambda v: getattr(v, "name", ""),
)
def test_a_valid_request_passes(profile, make):
    """A whole request with parallel calls, results and text breaks no rule."""
    assert profile.check(make()) == []


@pytest.mark.parametrize(("rule", "mutate"), OPENAI_MUTANTS)
def test_openai_mutants_are_rejected(rule, mutate):
    """A request changed to break one rule is reported under that rule, with a place."""
    body = openai_body()
    mutate(body)
    found = OPENAI.check(body)
    assert rule in {violation.rule for violation in found}
    assert all(violation.where and violation.message for violation in found)


@pytest.mark.parametrize(("rule", "mutate"), ANTHROPIC_MUTANTS)
def test_anthropic_mutants_are_rejected(rule, mutate):
    """A request changed to break one rule is reported under that rule, with a place."""
    body = anthropic_body()
    mutate(body)
    found = ANTHROPIC.check(body)
    assert rule in {violation.rule for violation in found}
    assert all(violation.where and violation.message for violation in found)


@pytest.mark.parametrize("mutants", [OPENAI_MUTANTS, ANTHROPIC_MUTANTS])
def test_each_rule_has_a_mutant(mutants):
    """R1 to R9 and the other rules are all covered."""
    assert {rule for rule, _ in mutants} == {f"R{n}" for n in range(1, 10)} | {"wire"}


@pytest.mark.parametrize(
    ("profile", "change_it"),
    [
        (OPENAI, change(M, 0, "role", to="developer")),
        (OPENAI, change(M, 2, "content", to="let me see")),
        (OPENAI, change("tools", to=...)),
        (OPENAI, insert(M, 5, item={"role": "system", "content": "mid"})),
        (ANTHROPIC, change("system", to="plain")),
        (ANTHROPIC, change("system", to=...)),
        (ANTHROPIC, change(M, 2, "content", 0, "content", to="plain")),
        (ANTHROPIC, change(M, 2, "content", 0, "content", to=...)),
        (ANTHROPIC, change(M, 2, "content", 0, "is_error", to=True)),
        (ANTHROPIC, change(M, 1, "content", 1, to={"type": "a_block_of_tomorrow"})),
        (ANTHROPIC, insert("tools", 0, item={"type": "web_search_1", "name": "web_search"})),
        (ANTHROPIC, change(M, 1, "content", 0, to={"type": "redacted_thinking", "data": "eA=="})),
    ],
)
def test_valid_variants_pass(profile, change_it):
    """What the provider allows is not reported."""
    body = openai_body() if profile is OPENAI else anthropic_body()
    change_it(body)
    assert profile.check(body) == []


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in list(pairs):
            yield from places(below, (*path, key))


@pytest.mark.parametrize("make", [openai_body, anthropic_body])
@given(st.data())
def test_a_checker_never_fails_on_odd_bodies(make, data):
    """Any JSON in any place is answered with findings, never with an error."""
    body = make()
    path = data.draw(st.sampled_from([p for p in places(body) if p]))
    odd = data.draw(histories.json_values)
    edit(body, path, odd)
    before = copy.deepcopy(body)
    profile = OPENAI if make is openai_body else ANTHROPIC
    profile.check(body)
    assert body == before


@pytest.mark.parametrize("profile", [OPENAI, ANTHROPIC], ids=lambda p: p.name)
def test_checking_takes_linear_time(profile, work):
    """Four times the messages make four times the work."""
    small, large = _long(profile, 125), _long(profile, 500)
    assert profile.check(large) == []
    assert work(lambda: profile.check(large)) < 4.5 * work(lambda: profile.check(small))


def _long(profile, size):
    """Make a body of about so many messages, each call with an id of its own."""
    body = openai_body() if profile is OPENAI else anthropic_body()
    first = [m for m in body[M] if m["role"] != "system"]
    messages = []
    for n in range(size // len(first) + 1):
        for message in copy.deepcopy(first):
            messages.append(message)
            for call in message.get("tool_calls", ()):
                call["id"] += f"_{n}"
            if "tool_call_id" in message:
                message["tool_call_id"] += f"_{n}"
            for block in message["content"] if isinstance(message["content"], list) else ():
                for key in ("id", "tool_use_id"):
                    if key in block:
                        block[key] += f"_{n}"
        if profile is ANTHROPIC:
            messages.append({"role": "assistant", "content": "then"})
    body[M] = messages[:-1] if profile is ANTHROPIC else messages
    return body
