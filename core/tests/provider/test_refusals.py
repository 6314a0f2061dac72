"""What a provider refuses is refused, with its status, body and sentence."""

import copy
import json

import pytest

from turnkeep import Message, ToolCall, ToolResult
from turnkeep.formats import PROFILE_NAMES
from turnkeep.formats.response import read_response
from turnkeep.testing.provider import Call, ProviderServer, Say

ALL = pytest.mark.parametrize("profile", PROFILE_NAMES)


def put(*way, to=None, drop=False, insert=False):
    """Give a change of a body: a value put, dropped or inserted at a place."""

    def change(body):
        *path, last = way
        place = body
        for step in path:
            place = place[step]
        if drop:
            del place[last]
        elif insert:
            place.insert(last, to)
        else:
            place[last] = to

    return change


M, N, C = "messages", "input", "contents"
ORPHAN = {
    M: {"role": "tool", "tool_call_id": "zz", "content": "x"},
    "block": {"type": "tool_result", "tool_use_id": "zz", "content": "x"},
    N: {"type": "function_call_output", "call_id": "zz", "output": "x"},
    C: {"functionResponse": {"name": "run", "response": {"output": "x"}}},
}
SAID = {"role": "user", "content": "between"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
RULES = [
    ("openai-chat", "R1", put(M, 4, to=ORPHAN[M], insert=True), "must be a response to a preceeding"),
    ("openai-chat", "R2", put(M, 2, drop=True), "did not have response messages: c1"),
    ("openai-chat", "R3", put(M, 2, to=SAID, insert=True), "must be followed by tool messages"),
    ("openai-chat", "R4", put(M, 0, drop=True), "the first message is of role assistant"),
    ("openai-chat", "R5", put(M, 4, drop=True), "the last message is the model's"),
    ("openai-chat", "R6", put(M, 0, "content", to=None), "expected a string, got null"),
    ("openai-chat", "R7", lambda body: body[M].extend([*body[M][1:3], SAID]), "Duplicate value"),
    ("openai-chat", "R8", put(M, 1, "tool_calls", 0, "function", "name", to="x"), "not declared"),
    ("openai-chat", "R9", put(M, 3, "reasoning_content", to="hm"), "Unknown parameter"),
    ("openai-chat", "wire", put(M, 1, "tool_calls", 0, "id", to="x" * 41), "with length 41 instead"),
    ("openai-chat", "wire", put("tools", to=[]), "empty array"),
    ("openai-chat", "wire", put(M, 0, "role", to="human"), "Invalid value: 'human'"),
    ("anthropic", "R1", put(M, 2, "content", 0, to=ORPHAN["block"], insert=True), "unexpected `tool_use_id` found"),
    ("anthropic", "R2", put(M, 2, "content", to="no"), "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: c1"),
    ("anthropic", "R3", put(M, 2, "content", 0, to={"type": "text", "text": "x"}, insert=True), "`tool_result` blocks immediately after: c1"),
    ("anthropic", "R4", put(M, 0, drop=True), 'first message must use the "user" role'),
    ("anthropic", "R5", put(M, 4, drop=True), "does not support assistant message prefill"),
    ("anthropic", "R6", put(M, 0, "content", to=" "), "must contain non-whitespace text"),
    ("anthropic", "R6", put(M, 0, "content", to=""), "text content blocks must be non-empty"),
    ("anthropic", "R7", lambda body: body[M][1]["content"].append(body[M][1]["content"][0]), "ids must be unique"),
    ("anthropic", "R8", put("tools", drop=True), "must define tools"),
    ("anthropic", "R9", put(M, 3, "content", 0, to={"type": "thinking", "thinking": "x"}, insert=True), "signature: Field required"),
    ("anthropic", "wire", put(M, 1, "content", 0, "id", to="a b"), "String should match pattern"),
    ("anthropic", "wire", put(M, 1, "role", to="user"), "roles must alternate"),
    ("anthropic", "wire", put("max_tokens", to=0), "greater than or equal to 1"),
    ("openai-responses", "R1", put(N, 3, to=ORPHAN[N], insert=True), "No tool call found for function call output with call_id zz."),
    ("openai-responses", "R2", put(N, 2, drop=True), "No tool output found for function call c1."),
    ("openai-responses", "R3", put(N, 2, to=SAID, insert=True), "stands apart"),
    ("openai-responses", "R4", put(N, 0, drop=True), "no user message"),
    ("openai-responses", "R5", put(N, 4, drop=True), "the last item is the model's"),
    ("openai-responses", "R6", put(N, 0, to={"role": "user", "content": ""}), "empty"),
    ("openai-responses", "R7", lambda body: body[N].extend([*body[N][1:3], SAID]), "the id is used at"),
    ("openai-responses", "R8", put(N, 1, "name", to="x"), "not declared"),
    ("openai-responses", "R9", put(N, 4, to=THOUGHT, insert=True), "without its required following item"),
    ("openai-responses", "R9", put(N, 1, "id", to="fc_1"), "without its required 'reasoning' item"),
    ("openai-responses", "wire", put(N, 1, "call_id", to="x" * 65), "maximum length 64"),
    ("gemini", "R1", put(C, 2, "parts", 0, to=ORPHAN[C], insert=True), "is equal to the number of function call parts"),
    ("gemini", "R2", put(C, 2, "parts", to=[{"text": "no"}]), "is equal to the number of function call parts"),
    ("gemini", "R3", put(C, 2, "parts", 0, to={"text": "x"}, insert=True), "immediately after a function call turn"),
    ("gemini", "R4", put(C, 0, drop=True), "begin with a user role"),
    ("gemini", "R5", put(C, 4, drop=True), "ends with a user role or a function response"),
    ("gemini", "R6", put(C, 0, "parts", to=[]), "contents.parts must not be empty"),
    ("gemini", "R8", put(C, 1, "parts", 0, "functionCall", "name", to="x"), "not declared"),
    ("gemini", "R9", lambda body: (body[C].pop(), body[C].pop(), body[C][1]["parts"][0].pop("thoughtSignature")), "missing a thought_signature"),
    ("gemini", "wire", put(C, 0, "name", to="x"), "Unknown name \"name\" at 'contents[0]'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "rule", "change", "sentence"),
    [pytest.param(*row, id=f"{row[0]}-{row[1]}-{place}") for place, row in enumerate(RULES)],
)
def test_rules(ask, body_of, profile, rule, change, sentence):
    """A request that breaks a rule gets 400 and the provider's sentence."""
    body = body_of(profile)
    change(body)
    with ProviderServer(default="no") as server:
        reply = ask(server, profile, body)
        [seen] = server.rejected
    assert reply.status == 400, reply.data
    assert sentence in reply.sentence
    assert (seen.rule, seen.status, seen.error) == (rule, 400, reply.sentence)
    assert seen.usage is None


@ALL
def test_valid_requests_are_accepted(ask, profile):
    """The conversation that the others spoil is answered."""
    with ProviderServer("yes") as server:
        assert ask(server, profile).status == 200
        assert server.rejected == []


def test_rules_can_be_left_out(ask, body_of):
    """A rule that is stricter than a provider in use need not be looked at."""
    body = body_of("openai-chat")
    del body[M][4]
    with ProviderServer("yes", allow={"R5"}) as server:
        assert ask(server, "openai-chat", body).status == 200


@pytest.mark.parametrize(
    ("profile", "change", "sentence", "code"),
    [
        ("openai-chat", put("model", drop=True), "Missing required parameter: 'model'.", "missing_required_parameter"),
        ("openai-chat", put("foo", to=1), "Unrecognized request argument supplied: foo", None),
        ("openai-chat", put("stream_options", to={}), "only allowed when 'stream' is enabled", None),
        ("openai-responses", put("input", drop=True), "Missing required parameter: 'input'.", "missing_required_parameter"),
        ("openai-responses", put("messages", to=[]), "Unknown parameter: 'messages'.", "unknown_parameter"),
        ("openai-responses", put("previous_response_id", to="resp_1"), "Previous response with id 'resp_1' not found.", "previous_response_not_found"),
        ("anthropic", put("max_tokens", drop=True), "max_tokens: Field required", None),
        ("anthropic", put("n", to=1), "n: Extra inputs are not permitted", None),
        ("gemini", put("messages", to=[]), 'Unknown name "messages": Cannot find field.', None),
    ],
)  # fmt: skip
def test_parameters(ask, body_of, profile, change, sentence, code):
    """Parameters that are missing or not known are named."""
    body = body_of(profile)
    change(body)
    with ProviderServer(default="no") as server:
        reply = ask(server, profile, body)
        assert server.rejected[0].rule == "parameter"
    assert reply.status == 400
    assert sentence in reply.sentence
    assert reply.json["error"].get("code", None) in {code, 400}


def test_the_version_of_anthropic(ask, body_of):
    """A request without `anthropic-version` is refused."""
    with ProviderServer("no") as server:
        reply = ask(server, "anthropic", headers={"anthropic-version": ""})
        assert reply.status == 200  # there, if empty
        body = json.dumps(body_of("anthropic")).encode()
        reply = ask(server, "openai-chat", body, path="/v1/messages")
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert "anthropic-version: header is required" in reply.sentence


def test_sealed_reasoning_of_models_that_do_not_reason(ask, body_of):
    """Only models that reason can be asked for sealed reasoning."""
    body = body_of("openai-responses") | {"model": "gpt-4o"}
    with ProviderServer("no") as server:
        body["include"] = ["reasoning.encrypted_content"]
        assert "not supported with this model" in ask(server, "openai-responses", body).sentence


@pytest.mark.parametrize(
    ("profile", "wrong", "none", "field", "word"),
    [
        ("openai-chat", 401, 401, "code", "invalid_api_key"),
        ("openai-responses", 401, 401, "code", "invalid_api_key"),
        ("anthropic", 401, 401, "type", "authentication_error"),
        ("gemini", 400, 403, "status", "INVALID_ARGUMENT"),
    ],
)
def test_keys(ask, profile, wrong, none, field, word):
    """A wrong key and a missing one are refused as the provider does; none is kept or told."""
    with ProviderServer(default="yes", api_key="right-one") as server:
        bad = ask(server, profile, key="wrong-one")
        assert (bad.status, bad.json["error"][field]) == (wrong, word)
        assert ask(server, profile).status == none
        assert ask(server, profile, key="right-one").status == 200
        assert [seen.rule for seen in server.requests] == ["auth", "auth", None]
        assert "-one" not in repr(server.requests) + bad.data.decode()


def test_the_key_of_gemini_in_the_query(ask):
    """Gemini takes the key as a parameter of the URL, too."""
    with ProviderServer("yes", api_key="right") as server:
        assert ask(server, "gemini", query="?key=right").status == 200
        assert "right" not in repr(server.requests)


@pytest.mark.parametrize(
    ("profile", "sentence", "code"),
    [
        ("openai-chat", "This model's maximum context length is 500 tokens.", "context_length_exceeded"),
        ("openai-responses", "Your input exceeds the context window of this model.", "context_length_exceeded"),
        ("anthropic", "tokens > 500 maximum", None),
        ("gemini", "exceeds the maximum number of tokens allowed (500).", None),
    ],
)  # fmt: skip
def test_the_context_window(ask, profile, sentence, code):
    """A prompt above the window is refused with the provider's sentence and code."""
    with ProviderServer(default="yes", context_window=500) as server:
        reply = ask(server, profile, [Message(role="user", content="many words " * 500)])
        assert (reply.status, server.rejected[0].rule) == (400, "context")
        server.context_window = 50_000
        assert ask(server, profile).status == 200
    assert sentence in reply.sentence
    assert reply.json["error"].get("code") in {code, 400}


@pytest.mark.parametrize("profile", ["openai-chat", "anthropic"])
def test_the_room_for_the_answer_counts(ask, body_of, profile):
    """Where the answer's limit belongs to the window, it is added."""
    body = body_of(profile) | {"max_tokens": 1000}
    with ProviderServer(default="yes", context_window=1000) as server:
        assert "1000" in ask(server, profile, body).sentence


def test_bodies_that_are_no_json(ask):
    """What cannot be read is refused."""
    with ProviderServer("no") as server:
        assert ask(server, "openai-chat", b"{").status == 400
        assert ask(server, "gemini", b"[]").status == 400


def back(ask, server, profile, body, change=lambda reply: None):
    """Send an answer back with a result, changed, and give the reply to that."""
    reply = ask(server, profile, body).json
    change(reply)
    body = copy.deepcopy(body)
    if profile == "anthropic":
        result = {"type": "tool_result", "tool_use_id": "c1", "content": "ok"}
        body[M] += [
            {"role": "assistant", "content": reply["content"]},
            {"role": "user", "content": [result]},
        ]
    elif profile == "openai-responses":
        result = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
        body[N] += [*reply["output"], result]
    else:
        part = {"functionResponse": {"name": "run", "response": {"output": "ok"}}}
        body[C] += [reply["candidates"][0]["content"], {"role": "user", "parts": [part]}]
    return ask(server, profile, body)


THINKS = Say(thinking="I had better look.", calls=[Call("run", {"a": 1}, "c1")])
SEALED = [
    ("anthropic", lambda reply: reply["content"][0].update(thinking="else"), "Invalid `signature` in `thinking` block"),
    ("anthropic", lambda reply: reply["content"][0].update(signature="else"), "Invalid `signature` in `thinking` block"),
    ("anthropic", lambda reply: reply["content"].pop(0), "Expected `thinking` or `redacted_thinking`, but found `tool_use`"),
    ("openai-responses", lambda reply: reply["output"][0].update(encrypted_content="else"), "could not be verified"),
    ("gemini", lambda reply: reply["candidates"][0]["content"]["parts"][1].update(thoughtSignature="else"), "Corrupted thought signature"),
    ("gemini", lambda reply: reply["candidates"][0]["content"]["parts"][1].pop("thoughtSignature"), "missing a thought_signature"),
]  # fmt: skip


def asking(body_of, profile):
    body = body_of(profile, [Message(role="user", content="hi")])
    if profile == "openai-responses":
        body |= {"include": ["reasoning.encrypted_content"], "store": False}
    if profile == "anthropic":
        body |= {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    if profile == "gemini":  # its calls have no ids where the answer gives none
        body["contents"][0]["parts"][0]["text"] = "hello"
    return body


@pytest.mark.parametrize("profile", ["anthropic", "openai-responses", "gemini"])
def test_reasoning_comes_back_as_it_was(ask, body_of, profile):
    """An answer with reasoning that is sent back unchanged is accepted."""
    with ProviderServer(default=_for(profile)) as server:
        assert back(ask, server, profile, asking(body_of, profile)).status == 200


@pytest.mark.parametrize(
    ("profile", "change", "sentence"), SEALED, ids=[f"{row[0]}-{n}" for n, row in enumerate(SEALED)]
)
def test_changed_reasoning_is_refused(ask, body_of, profile, change, sentence):
    """Reasoning that was changed, or left out where it is needed, is refused."""
    with ProviderServer(default=_for(profile)) as server:
        reply = back(ask, server, profile, asking(body_of, profile), change)
        assert reply.status == 400, reply.data
        assert sentence in reply.sentence


def _for(profile):
    if profile == "gemini":
        return Say(thinking=THINKS.thinking, calls=[Call("run", {"a": 1})])
    return THINKS


def test_recorded_reasoning_can_be_let_in(ask, body_of):
    """Reasoning that another server sealed is taken where seals are not looked at."""
    body = body_of("anthropic")
    block = {"type": "thinking", "thinking": "so", "signature": "of-another"}
    body[M][3]["content"].insert(0, block)
    with ProviderServer("yes", allow={"seal"}) as server:
        assert ask(server, "anthropic", body).status == 200


def test_a_session_that_turnkeep_keeps_is_accepted(ask, body_of):
    """Answers that are read and rendered again by turnkeep break no rule of any provider."""
    for profile in PROFILE_NAMES:
        items = [Message(role="user", content="hi")]
        with ProviderServer(
            default=Say("Look.", thinking="hm", calls=[Call("run", {"a": 1})])
        ) as server:
            for _ in range(3):
                parsed = read_response(
                    ask(server, profile, asking_again(body_of, profile, items)).json
                )
                items += parsed.items
                items += [
                    ToolResult(tool_call_id=item.tool_call_id, name=item.name, content=["ok"])
                    for item in parsed.items
                    if isinstance(item, ToolCall)
                ]
            assert server.rejected == []


def asking_again(body_of, profile, items):
    body = body_of(profile, items)
    if profile == "openai-responses":
        body |= {"include": ["reasoning.encrypted_content"], "store": False}
    return body
