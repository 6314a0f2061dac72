"""The checkers of OpenAI Responses and Gemini reject a request for each rule that it breaks."""

import copy
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnkeep.formats import get_profile
from turnkeep.testing import histories

RESPONSES = get_profile("openai-responses")
GEMINI = get_profile("gemini")


def said(words, role="user"):
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": words}]}


def call(call_id="c1", name="run", **more):
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}", **more}


def output(call_id="c1", words="one"):
    return {"type": "function_call_output", "call_id": call_id, "output": words}


def thought(number=1):
    name = f"rs_{number}"
    return {"type": "reasoning", "id": name, "summary": [], "encrypted_content": "c2ln"}


def responses_body():
    return {
        "instructions": "s",
        "tools": [{"type": "function", "name": "run", "parameters": {"type": "object"}}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "input": [
            said("hi"),
            thought(),
            call(id="fc_1", status="completed"),
            call("c2"),
            output("c2", [{"type": "input_text", "text": "two"}]),
            output(),
            thought(2),
            {**said("done", "assistant"), "id": "msg_1", "status": "completed"},
            said("more"),
        ],
    }


def model(*parts):
    return {"role": "model", "parts": list(parts)}


def user(*parts):
    return {"role": "user", "parts": list(parts)}


def text(words):
    return {"text": words}


def function(call_id="c1", name="run", **more):
    return {"functionCall": {"id": call_id, "name": name, "args": {}}, **more}


def response(call_id="c1", words="one", name="run"):
    inner = {"id": call_id, "name": name, "response": {"output": words}}
    return {"functionResponse": inner}


def gemini_body():
    return {
        "systemInstruction": {"parts": [text("s")]},
        "tools": [{"functionDeclarations": [{"name": "run", "parameters": {"type": "object"}}]}],
        "contents": [
            user(text("hi")),
            model({"text": "so", "thought": True}, text("done")),
            user(text("more")),
            model(text("a"), function(thoughtSignature="c2ln"), function("c2")),
            user(response("c2", "two"), response()),
            model(function("c3", thoughtSignature="c2ln")),
            user(response("c3")),
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


IN, C, P = "input", "contents", "parts"
RESPONSES_MUTANTS = [
    ("R1", insert(IN, 9, item=output("zz"))),
    ("R1", insert(IN, 6, item=output())),
    ("R2", change(IN, 5, to=...)),
    ("R2", lambda body: edit(body, (IN,), body[IN][:4])),
    ("R3", insert(IN, 5, item=said("between"))),
    ("R3", lambda body: body[IN].insert(8, body[IN].pop(5))),
    ("R4", change(IN, 0, to=...)),
    ("R4", change(IN, to=[said("s", "system")])),
    ("R5", change(IN, 8, to=...)),
    ("R6", change(IN, 0, "content", 0, "text", to=" \n")),
    ("R6", change(IN, 0, "content", to=[])),
    ("R6", change(IN, 0, "content", to="")),
    ("R6", change(IN, 5, "output", to="")),
    ("R6", change(IN, 4, "output", 0, "text", to="")),
    ("R6", change(IN, 7, "content", 0, "text", to="")),
    ("R6", change("instructions", to=" ")),
    ("R7", change(IN, 3, "call_id", to="c1")),
    ("R8", change(IN, 2, "name", to="other")),
    ("R8", change("tool_choice", to={"type": "function", "name": "other"})),
    ("R9", change(IN, 1, to=...)),
    ("R9", change(IN, 6, to=...)),
    ("R9", change(IN, 7, to=...)),
    ("R9", change(IN, 1, "encrypted_content", to=...)),
    ("R9", change(IN, 1, "id", to=...)),
    ("R9", insert(IN, 9, item=thought(3))),
    ("wire", change(IN, 0, "role", to="tool")),
    ("wire", change(IN, 0, to="hi")),
    ("wire", change(IN, 0, "content", 0, "type", to="output_text")),
    ("wire", change(IN, 7, "content", 0, "type", to="input_text")),
    ("wire", change(IN, 0, "content", to=[{"type": "input_image"}])),
    ("wire", change(IN, 2, "id", to="call_1")),
    ("wire", change(IN, 2, "call_id", to="x" * 65)),
    ("wire", change(IN, 2, "call_id", to="")),
    ("wire", change(IN, 2, "arguments", to="[]")),
    ("wire", change(IN, 2, "arguments", to={})),
    ("wire", change(IN, 2, "name", to="a b")),
    ("wire", change(IN, 5, "type", to="custom_tool_call_output")),
    ("wire", change(IN, 7, to={"type": "item_reference", "id": "msg_1"})),
    ("wire", change(IN, to=[])),
    ("wire", lambda body: body["tools"].append(body["tools"][0])),
    ("wire", lambda body: edit(body, ("tools",), body["tools"] * 129)),
    ("wire", change("tools", 0, "name", to="a b")),
    ("wire", change("tools", to=[])),
    ("wire", change("tools", 0, "parameters", to=[])),
    ("wire", change("tool_choice", to="any")),
    ("wire", change("max_output_tokens", to=0)),
    ("wire", change("prompt_cache_key", to="x" * 65)),
]
GEMINI_MUTANTS = [
    ("R1", insert(C, 6, P, 1, item=response("zz"))),
    ("R1", insert(C, 4, P, 2, item=response())),
    ("R1", insert(C, 3, item=user(response("c9")))),
    ("R2", change(C, 4, P, 0, to=...)),
    ("R2", lambda body: edit(body, (C,), body[C][:6])),
    ("R3", insert(C, 4, P, 0, item=text("between"))),
    ("R3", insert(C, 4, item=user(text("between")))),
    ("R4", change(C, 0, to=...)),
    ("R5", insert(C, 7, item=model(text("end")))),
    ("R6", change(C, 0, P, 0, "text", to=" ")),
    ("R6", change(C, 1, P, 1, "text", to="")),
    ("R6", change(C, 0, P, to=[])),
    ("R6", change(C, 4, P, 0, "functionResponse", "response", to={"output": "\n"})),
    ("R6", change("systemInstruction", P, 0, "text", to="")),
    ("R7", change(C, 5, P, 0, "functionCall", "id", to="c1")),
    ("R8", change(C, 3, P, 1, "functionCall", "name", to="other")),
    (
        "R8",
        change(
            "toolConfig",
            to={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["other"]}},
        ),
    ),
    ("R9", change(C, 3, P, 1, "thoughtSignature", to=...)),
    ("R9", change(C, 5, P, 0, "thoughtSignature", to=...)),
    ("R9", change(C, 3, P, 1, to=...)),
    ("R9", change(C, 3, P, 1, "thoughtSignature", to="msg abc")),
    ("R9", change(C, 1, P, 0, "text", to=5)),
    ("R9", change(C, 0, P, 0, "thoughtSignature", to="c2ln")),
    ("wire", change(C, 1, "role", to="assistant")),
    ("wire", change(C, 0, "name", to="x")),
    ("wire", change(C, 0, P, 0, to={})),
    ("wire", change(C, 0, P, 0, to={"text": "x", "inlineData": {}})),
    ("wire", change(C, 0, P, 0, to={"inlineData": {"mimeType": "image/png"}})),
    ("wire", change(C, 0, P, 0, to={"fileData": {}})),
    ("wire", change(C, 0, P, 0, to=function())),
    ("wire", change(C, 1, P, 1, to=response())),
    ("wire", insert(C, 2, item=model(text("again")))),
    ("wire", change(C, 3, P, 1, "functionCall", "args", to="{}")),
    ("wire", change(C, 3, P, 1, "functionCall", "name", to="9a")),
    ("wire", change(C, 4, P, 0, "functionResponse", "name", to="other")),
    ("wire", change(C, 4, P, 0, "functionResponse", "name", to=...)),
    ("wire", change(C, 4, P, 0, "functionResponse", "response", to="two")),
    ("wire", change(C, 4, P, 0, "functionResponse", P, to=[{"text": "x", "fileData": {}}])),
    ("wire", change(C, to=[])),
    ("wire", change("systemInstruction", to={"parts": []})),
    ("wire", lambda body: body["tools"].append(body["tools"][0])),
    ("wire", change("tools", 0, "functionDeclarations", 0, "parametersJsonSchema", to={})),
    ("wire", change("tools", 0, "functionDeclarations", 0, "name", to="a b")),
    ("wire", change("tools", to={})),
    ("wire", change("toolConfig", to={"functionCallingConfig": {"mode": "auto"}})),
    ("wire", change("generationConfig", to={"maxOutputTokens": 0})),
]
BOTH = [(RESPONSES, responses_body), (GEMINI, gemini_body)]


@pytest.mark.parametrize(("profile", "make"), BOTH, ids=lambda v: getattr(v, "name", ""))
def test_a_valid_request_passes(profile, make):
    """A whole request with parallel calls, results, reasoning and text breaks no rule."""
    assert profile.check(make()) == []


@pytest.mark.parametrize(("rule", "mutate"), RESPONSES_MUTANTS)
def test_responses_mutants_are_rejected(rule, mutate):
    """A request changed to break one rule is reported under that rule, with a place."""
    body = responses_body()
    mutate(body)
    found = RESPONSES.check(body)
    assert rule in {violation.rule for violation in found}
    assert all(violation.where and violation.message for violation in found)


@pytest.mark.parametrize(("rule", "mutate"), GEMINI_MUTANTS)
def test_gemini_mutants_are_rejected(rule, mutate):
    """A request changed to break one rule is reported under that rule, with a place."""
    body = gemini_body()
    mutate(body)
    found = GEMINI.check(body)
    assert rule in {violation.rule for violation in found}
    assert all(violation.where and violation.message for violation in found)


@pytest.mark.parametrize("mutants", [RESPONSES_MUTANTS, GEMINI_MUTANTS])
def test_each_rule_has_a_mutant(mutants):
    """R1 to R9 and the other rules are all covered."""
    assert {rule for rule, _ in mutants} == {f"R{n}" for n in range(1, 10)} | {"wire"}


@pytest.mark.parametrize(
    ("profile", "change_it"),
    [
        (RESPONSES, change("instructions", to=...)),
        (RESPONSES, change("tools", to=...)),
        (RESPONSES, change(IN, 0, "content", to="plain")),
        (RESPONSES, change(IN, 0, "type", to=...)),
        (RESPONSES, insert(IN, 0, item=said("s", "developer"))),
        (RESPONSES, insert(IN, 9, item=said("mid", "system"))),
        (RESPONSES, change(IN, 7, "content", 0, to={"type": "refusal", "refusal": "no"})),
        (RESPONSES, insert(IN, 7, item={"type": "web_search_call", "id": "ws_1"})),
        (RESPONSES, insert("tools", 0, item={"type": "web_search"})),
        (RESPONSES, change("tool_choice", to={"type": "function", "name": "run"})),
        (RESPONSES, insert(IN, 1, item=thought(0))),
        (GEMINI, change("systemInstruction", to=...)),
        (GEMINI, change("tools", to=...)),
        (GEMINI, insert("tools", 0, item={"googleSearch": {}})),
        (GEMINI, change("toolConfig", to={})),
        (GEMINI, change(C, 1, P, 1, to={"text": "", "thoughtSignature": "c2ln"})),
        (GEMINI, change(C, 1, P, 1, to={"executableCode": {"code": "1"}})),
        (GEMINI, insert(C, 7, item=user(text("next")))),
        (GEMINI, change(C, 4, P, 0, "functionResponse", "response", to={"error": "no"})),
        (GEMINI, change(C, 4, P, 0, "functionResponse", "response", to={"any": ""})),
        (
            GEMINI,
            change(
                C,
                4,
                P,
                0,
                "functionResponse",
                P,
                to=[{"inlineData": {"mimeType": "image/png", "data": histories.PNG}}],
            ),
        ),
    ],
)
def test_valid_variants_pass(profile, change_it):
    """What the provider allows is not reported."""
    body = responses_body() if profile is RESPONSES else gemini_body()
    change_it(body)
    assert profile.check(body) == []


def test_gemini_asks_older_turns_for_no_signature():
    """Only the turn at hand is validated; what the user said last begins it."""
    body = gemini_body()
    del body[C][5][P][0]["thoughtSignature"]
    assert {found.rule for found in GEMINI.check(body)} == {"R9"}
    body[C].append(user(text("next")))
    assert GEMINI.check(body) == []


def test_gemini_asks_older_models_for_no_signature():
    """A body that names a model before Gemini 3 needs none."""
    body = gemini_body()
    for content in body[C]:
        for part in content[P]:
            part.pop("thoughtSignature", None)
    assert {found.rule for found in GEMINI.check(body)} == {"R9"}
    assert GEMINI.check({**body, "model": "gemini-2.5-flash"}) == []


def test_gemini_pairs_by_name_where_there_are_no_ids():
    """Calls and responses without ids are counted, and matched by the names of their functions."""
    body = gemini_body()
    for content in body[C]:
        for part in content[P]:
            for kind in ("functionCall", "functionResponse"):
                part.get(kind, {}).pop("id", None)
    assert GEMINI.check(body) == []
    body[C][4][P].pop()
    assert [found.rule for found in GEMINI.check(body)] == ["R2"]
    body[C][4][P] += [response(), response()]
    for part in body[C][4][P]:
        part["functionResponse"].pop("id", None)
    assert [found.rule for found in GEMINI.check(body)] == ["R1"]


RECORDED = [
    # github.com/vercel/ai/issues/7099, openai-node 1567
    (RESPONSES, lambda body: edit(body, (IN,), [said("hi"), thought()]), "required following item"),
    # github.com/continuedev/continue/issues/10018 and 11466, openai-agents-python 2727
    (RESPONSES, change(IN, 1, to=...), "function_call was provided without its required"),
    (RESPONSES, change(IN, 6, to=...), "message was provided without its required"),
    # github.com/openai/openai-agents-python/issues/673
    (RESPONSES, change(IN, 5, to=...), "No tool output found for function call"),
    # github.com/agentscope-ai/AgentTeams/issues/299
    (RESPONSES, change(IN, 2, to=...), "No tool call found for function call output"),
    # github.com/vercel/ai/issues/7543
    (
        RESPONSES,
        change(IN, 1, "encrypted_content", to=None),
        "Items are not persisted when `store`",
    ),
    # github.com/jeremychone/rust-genai/pull/119
    (
        RESPONSES,
        change(IN, 7, "content", 0, "type", to="input_text"),
        "Supported values are: 'output_text' and 'refusal'",
    ),
    # github.com/nodetool-ai/nodetool/pull/4252
    (RESPONSES, change(IN, 2, "id", to="call_1"), "Expected an ID that begins with 'fc'"),
    # github.com/AnswerDotAI/fastllm/issues/45
    (RESPONSES, change(IN, 2, "call_id", to="x" * 116), "Expected a string with maximum length 64"),
    # github.com/google-gemini/gemini-cli/issues/16415, and 3814
    (GEMINI, change(C, 4, P, 0, to=...), "number of function response parts is equal"),
    # github.com/google-gemini/gemini-cli/issues/26486, qwen-code 606
    (GEMINI, insert(C, 3, item=model(text("x"))), "comes immediately after a user turn"),
    # github.com/vercel/ai/issues/3775
    (GEMINI, change(C, 1, P, to=[]), "contents.parts must not be empty"),
    # github.com/router-for-me/CLIProxyAPI/issues/1292
    (GEMINI, change(C, 1, P, 1, to={}), "required oneof field 'data' must have one"),
    # github.com/block/goose/issues/5792
    (GEMINI, change(C, 3, P, 1, "thoughtSignature", to=...), "is missing a thought_signature"),
    # github.com/GoogleCloudPlatform/generative-ai/pull/368
    (
        GEMINI,
        insert(C, 4, item=user(text("x"))),
        "function response turn comes immediately after a function call turn",
    ),
]


@pytest.mark.parametrize(("profile", "mutate", "sentence"), RECORDED)
def test_recorded_errors_of_the_providers_are_foreseen(profile, mutate, sentence):
    """What the API is known to have refused is reported, in the words it used."""
    body = responses_body() if profile is RESPONSES else gemini_body()
    mutate(body)
    assert any(sentence in found.message for found in profile.check(body))


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in list(pairs):
            yield from places(below, (*path, key))


@pytest.mark.parametrize(("profile", "make"), BOTH, ids=lambda v: getattr(v, "name", ""))
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_checker_never_fails_on_odd_bodies(profile, make, data):
    """Any JSON in any place is answered with findings, never with an error."""
    body = make()
    path = data.draw(st.sampled_from([p for p in places(body) if p]))
    edit(body, path, data.draw(histories.json_values))
    before = copy.deepcopy(body)
    profile.check(body)
    assert body == before


def test_checking_takes_linear_time(work):
    """Four times the contents make four times the work."""

    def responses(rounds):
        items = [item for n in range(rounds) for item in (call(f"c{n}"), output(f"c{n}"))]
        return {"input": [said("hi"), *items]}

    def gemini(rounds):
        contents = [user(text("hi"))]
        for n in range(rounds):
            contents.append(model(function(f"c{n}", thoughtSignature="c2ln")))
            contents.append(user(response(f"c{n}")))
        return {"contents": contents}

    for profile, make in ((RESPONSES, responses), (GEMINI, gemini)):
        small, large = make(250), make(1_000)
        assert profile.check(large) == []
        once, four_times = (work(partial(profile.check, body)) for body in (small, large))
        assert four_times < 4.4 * once
