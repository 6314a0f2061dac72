"""Gemini: what goes out, what is read, and signatures that stay on their parts."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnkeep.content import (
    FilePart,
    ImagePart,
    Message,
    Opaque,
    Reasoning,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
    Usage,
)
from turnkeep.errors import ContentError
from turnkeep.formats import detect, get_profile
from turnkeep.formats.profile import render_context
from turnkeep.formats.response import read_response
from turnkeep.repair.validity import repair, violations
from turnkeep.testing import histories

PROFILE = get_profile("gemini")
PLACEHOLDER = "skip_thought_signature_validator"
USER = Message(role="user", content="hi")
CALL = ToolCall(tool_call_id="c1", name="run", arguments={"a": 1})
RESULT = ToolResult(tool_call_id="c1", name="run", content=["ok"])


def bodies(*items):
    return [message.body for message in PROFILE.render(items)]


def user(*parts):
    return {"role": "user", "parts": list(parts)}


def model(*parts):
    return {"role": "model", "parts": list(parts)}


def call(name="c1", signature=None):
    about = {} if signature is None else {"thoughtSignature": signature}
    return {"functionCall": {"id": name, "name": "run", "args": {"a": 1}}, **about}


def result(name="c1", **response):
    return {
        "functionResponse": {"id": name, "name": "run", "response": response or {"output": "ok"}}
    }


PARTS = [
    {"text": "hm", "thought": True},
    {"text": "let me see"},
    call("c1", "c2ln"),
    call("c2"),
]
RESPONSE = {
    "candidates": [{"content": model(*PARTS), "finishReason": "STOP", "index": 0}],
    "usageMetadata": {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 15,
    },
    "responseId": "r1",
}


def test_shapes():
    """Contents of parts; results stand apart from other input, system text within is wrapped."""
    say = Message(role="assistant", content="one")
    mid = Message(role="system", content="mid")
    error = ToolResult(tool_call_id="c2", name="run", status="error", content=["no", {"k": 1}])
    second = CALL.model_copy(update={"tool_call_id": "c2"})
    assert bodies(USER, say, CALL, second, RESULT, error, mid, USER) == [
        user({"text": "hi"}),
        model({"text": "one"}, call("c1", PLACEHOLDER), call("c2")),
        user(result(), result("c2", error='no\n{"k":1}')),
        user({"text": "<system>\nmid\n</system>"}, {"text": "hi"}),
    ]


def test_the_body():
    """System text, functions, choice and limit have their fields; the URL names the model."""
    leading = Message(role="developer", content="d")
    system, messages = render_context(PROFILE, [leading, USER], "be kind")
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    tools = PROFILE.tools([ToolDefinition(name="run", description="d", parameters=schema)])
    body = PROFILE.payload(
        messages=messages,
        system=system,
        tools=tools,
        tool_choice={"name": "run"},
        model_id="gemini-3-pro",
        max_output=9,
        session_id="s",
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "be kind"}, {"text": "d"}]},
        "contents": [user({"text": "hi"})],
        "tools": [
            {"functionDeclarations": [{"name": "run", "description": "d", "parameters": schema}]}
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["run"]}},
        "generationConfig": {"maxOutputTokens": 9},
    }
    for choice, mode in (("auto", "AUTO"), ("none", "NONE"), ("required", "ANY")):
        body = PROFILE.payload(messages=messages, tools=tools, tool_choice=choice)
        assert body["toolConfig"] == {"functionCallingConfig": {"mode": mode}}


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "parameters"),
        ({"properties": {"a": {"type": "array", "items": {"type": "integer"}}}}, "parameters"),
        (
            {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}},
            "parameters",
        ),
        ({"type": "object", "properties": {}}, "parametersJsonSchema"),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "additionalProperties": False,
            },
            "parametersJsonSchema",
        ),
        (
            {"type": "object", "properties": {"a": {"type": ["string", "null"]}}},
            "parametersJsonSchema",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "enum": [1]}}},
            "parametersJsonSchema",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "format": "uri"}}},
            "parametersJsonSchema",
        ),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}, "parametersJsonSchema"),
    ],
)
def test_schemas_that_the_api_would_refuse_go_out_as_json_schema(schema, field):
    """What is within its subset is sent as such, everything else unchanged in the other field."""
    definition = ToolDefinition(name="run", parameters=schema)
    [tool] = PROFILE.tools([definition])
    [function] = tool["functionDeclarations"]
    assert function == {"name": "run", field: {"type": "object", **schema}}
    body = {"contents": [user({"text": "x"})], "tools": [tool]}
    assert PROFILE.tools(PROFILE.parse_request(body).tools) == [tool]


def test_the_type_names_of_this_api_are_read_as_those_of_json_schema():
    """Other providers know them in small letters only."""
    schema = {"type": "OBJECT", "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING"}}}}
    tools = [{"functionDeclarations": [{"name": "run", "parameters": schema}]}]
    [tool] = PROFILE.parse_request({"contents": [], "tools": tools}).tools
    assert json.dumps(tool.parameters) == json.dumps(schema).lower()


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (ImagePart(url="https://a/b.png"), {"fileData": {"mimeType": "image/png", "fileUri": "https://a/b.png"}}),
        (ImagePart(url="https://a/b"), {"fileData": {"fileUri": "https://a/b"}}),
        (ImagePart(data=histories.PNG), {"inlineData": {"mimeType": "image/png", "data": histories.PNG}}),
        (ImagePart(data=histories.PNG, media_type="image/gif"), {"text": "[image: image/gif]"}),
        (ImagePart(url="file:///a.png"), {"text": "[image: file:///a.png]"}),
        (FilePart(data=histories.PDF, media_type="application/pdf"), {"inlineData": {"mimeType": "application/pdf", "data": histories.PDF}}),
        (FilePart(data=histories.PDF, media_type="application/zip"), {"text": "[file: application/zip]"}),
        (FilePart(data="", media_type="text/plain"), {"text": "[file: text/plain]"}),
    ],
)  # fmt: skip
def test_media(part, sent):
    """Pictures and documents have their parts; what has no form is named."""
    assert bodies(Message(role="user", content=[part])) == [user(sent)]


def test_results_carry_media_in_their_parts():
    """Inline pictures stand in the response; files by address are named in its text."""
    picture = ImagePart(data=histories.PNG)
    sent = {"inlineData": {"mimeType": "image/png", "data": histories.PNG}}
    for content, text in (
        (["see", picture], "see"),
        ([picture], "(see the parts of this response)"),
        (["see", picture, FilePart(url="https://a/b.pdf")], "see\n[file: https://a/b.pdf]"),
    ):
        answer = RESULT.model_copy(update={"content": content})
        [_, _, body] = bodies(USER, CALL, answer)
        assert body["parts"][0]["functionResponse"]["response"] == {"output": text}
        assert body["parts"][0]["functionResponse"]["parts"] == [sent]


def test_a_response_is_read():
    """Parts become items, the signature stays with its call, thoughts are output."""
    items, usage, finish, partial = PROFILE.parse_response(RESPONSE)
    assert items == [
        Reasoning(provider="gemini", data=PARTS[0]),
        Message(role="assistant", content="let me see"),
        ToolCall(
            tool_call_id="c1",
            name="run",
            arguments={"a": 1},
            gemini={"part": {"thoughtSignature": "c2ln"}},
        ),
        ToolCall(tool_call_id="c2", name="run", arguments={"a": 1}),
    ]
    assert usage == Usage(input_tokens=10, output_tokens=5, cached_tokens=4, reasoning_tokens=2)
    assert (finish, partial) == ("STOP", False)
    assert detect(RESPONSE) == "gemini"
    assert PROFILE.parse_response(model(*PARTS)).items == items


def test_objects_of_an_sdk_are_read():
    """Names with underscores, bytes and fields left empty, as `model_dump` gives them."""
    parts = [
        {"text": "hm", "thought": True, "function_call": None},
        {"text": "let me see", "thought": None, "thought_signature": None},
        {"function_call": call()["functionCall"], "thought_signature": b"sig", "text": None},
        {"function_call": {**call("c2")["functionCall"], "partial_args": None}},
    ]

    class Sdk:
        def model_dump(self):
            content = {"role": "model", "parts": parts}
            usage = {"prompt_token_count": 10, "cached_content_token_count": None}
            return {
                "candidates": [{"content": content, "finish_reason": "STOP"}],
                "usage_metadata": usage,
            }

    parsed = read_response(Sdk())
    assert parsed.items == PROFILE.parse_response(RESPONSE).items
    assert (parsed.usage.input_tokens, parsed.finish) == (10, "STOP")


def test_a_blocked_prompt_is_refused():
    """There is no answer; the reason is told."""
    with pytest.raises(ContentError, match=r"no answer .blocked: SAFETY"):
        PROFILE.parse_response({"promptFeedback": {"blockReason": "SAFETY"}})


def test_an_answer_goes_back_as_it_came():
    """Thoughts, texts and calls with their signatures, byte for byte."""
    items = PROFILE.parse_response(RESPONSE).items
    assert json.dumps(bodies(USER, *items)[1]) == json.dumps(model(*PARTS))


def test_the_signature_goes_with_its_call():
    """Where the signed call is removed, the first that is left gets the placeholder."""
    other = call("c1", "c2ln")
    other["functionCall"]["name"] = "gone"
    items = PROFILE.parse_response(model(other, call("c2"))).items
    log = [USER, *items, RESULT, RESULT.model_copy(update={"tool_call_id": "c2"})]
    done = repair(log, PROFILE, tools=["run"]).items
    assert bodies(*done)[1] == model(call("c2", PLACEHOLDER))
    assert violations(done, PROFILE) == []


def test_each_step_of_foreign_history_has_one_placeholder():
    """On the first call of each step, in older turns too, so that nothing moves in the cache."""
    log = [USER, CALL, CALL, RESULT, RESULT, CALL, RESULT, USER, CALL, RESULT]
    done = repair(log, PROFILE).items
    signed = [
        part.get("thoughtSignature")
        for body in bodies(*done)
        for part in body["parts"]
        if "functionCall" in part
    ]
    assert signed == [PLACEHOLDER, None, PLACEHOLDER, PLACEHOLDER]


@pytest.mark.parametrize("model_id", ["gemini-2.5-flash", "models/gemini-1.5-pro"])
def test_models_before_gemini_3_get_no_placeholder(model_id):
    """They ask for no signature; one that they gave goes back, and what is shared stays."""
    messages = PROFILE.render([USER, *PROFILE.parse_response(RESPONSE).items, CALL, USER, CALL])
    before = json.dumps([message.body for message in messages])
    body = PROFILE.payload(messages=messages, model_id=model_id)
    text = json.dumps(body)
    assert (PLACEHOLDER in text, "c2ln" in text) == (False, True)
    assert PLACEHOLDER in json.dumps(PROFILE.payload(messages=messages, model_id="gemini-3-pro"))
    assert json.dumps([message.body for message in messages]) == before


def test_models_before_gemini_3_get_media_behind_the_responses():
    """They refuse media within; what is shared stays as it is."""
    picture = ImagePart(data=histories.PNG)
    messages = PROFILE.render([USER, CALL, RESULT.model_copy(update={"content": ["see", picture]})])
    before = json.dumps([message.body for message in messages])
    sent = PROFILE.payload(messages=messages, model_id="gemini-2.5-pro")["contents"]
    blob = {"inlineData": {"mimeType": "image/png", "data": histories.PNG}}
    assert sent[2:] == [user(result(output="see")), user(blob)]
    assert json.dumps([message.body for message in messages]) == before
    assert PROFILE.check({"contents": sent, "model": "gemini-2.5-pro"}) == []


def test_a_signature_alone_is_kept():
    """A stream may end with an empty text that is signed; it goes back, and is no empty text."""
    sealed = {"text": "", "thoughtSignature": "c2ln"}
    items = PROFILE.parse_response(model({"text": "done"}, sealed)).items
    assert items[1] == Opaque(provider="gemini", kind="signature", data=sealed)
    done = repair([USER, *items, USER], PROFILE)
    assert done.repairs == []
    assert bodies(*done.items)[1] == model({"text": "done"}, sealed)
    assert violations(done.items, PROFILE) == []


def test_calls_without_ids_stay_without():
    """They are told apart here by ids of ours, which are not sent, nor with their responses."""
    bare = {"functionCall": {"name": "run", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    body = {
        "candidates": [{"content": model(bare, {"functionCall": bare["functionCall"]})}],
        "responseId": "r1",
    }
    items = PROFILE.parse_response(body).items
    assert [item.tool_call_id for item in items] == ["call-r1-1", "call-r1-2"]
    results = [RESULT.model_copy(update={"tool_call_id": item.tool_call_id}) for item in items]
    log = [USER, *items, *results, *items, *results]
    sent = bodies(*repair(log, PROFILE).items)
    answer = {"functionResponse": {"name": "run", "response": {"output": "ok"}}}
    assert sent[1:3] == sent[3:5] == [body["candidates"][0]["content"], user(answer, answer)]
    assert PROFILE.check({"contents": sent}) == []


@pytest.mark.parametrize(
    ("response", "status", "content"),
    [
        ({"output": "ok"}, "success", ["ok"]),
        ({"result": "ok"}, "success", ["ok"]),
        ({"output": {"a": 1}}, "success", [{"a": 1}]),
        ({"result": [1]}, "success", [[1]]),
        ({"error": "no"}, "error", ["no"]),
        ({"error": {"code": 5}}, "error", [{"code": 5}]),
        ({"temperature": 5, "unit": "C"}, "success", [{"temperature": 5, "unit": "C"}]),
    ],
)
def test_responses_of_functions_come_back_as_they_were(response, status, content):
    """Under output, result or error, or as an object of their own."""
    contents = [user({"text": "hi"}), model(call("c1", "c2ln")), user(result(**response))]
    items = PROFILE.parse_request({"contents": contents}).contents
    assert (items[2].status, items[2].content, items[2].name) == (status, content, "run")
    assert bodies(*items) == contents


@st.composite
def conversations(draw):
    """Make contents as the API gives and takes them: signed steps, thoughts, parallel calls."""
    contents, number = [user({"text": "hi"})], 0
    for _ in range(draw(st.integers(1, 3))):
        parts = [{"text": "hm", "thought": True}] if draw(st.booleans()) else []
        for text in draw(st.lists(st.sampled_from(["a", "b"]), max_size=2)):
            signed = {"thoughtSignature": "dHh0"} if draw(st.booleans()) else {}
            parts.append({"text": text, **signed})
        names = []
        for first in range(draw(st.integers(0 if parts else 1, 3))):
            number += 1
            names.append(f"c{number}")
            parts.append(call(names[-1], "c2ln" if first == 0 else None))
        contents.append(model(*parts))
        if names:
            contents.append(user(*map(result, names)))
        if not names or draw(st.booleans()):
            contents.append(user({"text": "next"}))
    return contents


@settings(max_examples=100, deadline=None)
@given(conversations())
def test_a_request_of_the_api_comes_back_as_it_was(contents):
    """Read and rendered, every part is the same, byte for byte."""
    request = PROFILE.parse_request({"contents": contents})
    assert json.dumps(bodies(*request.contents)) == json.dumps(contents)
    sent = bodies(*repair(request.contents, PROFILE).items)
    assert PROFILE.check({"contents": sent}) == []


def test_requests_of_others():
    """Media, parts that ours cannot hold, code and tools of the provider are read and go back."""
    clip = {
        "fileData": {"fileUri": "https://a/b", "mimeType": "video/mp4"},
        "videoMetadata": {"fps": 1},
    }
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    picture = {"inlineData": {"mimeType": "image/png", "data": histories.PNG}}
    body = {
        "model": "models/gemini-3-pro",
        "system_instruction": {"parts": [{"text": "s"}, {"text": "t"}]},
        "contents": [
            {"parts": [{"text": "see"}, picture, clip]},
            model(code, {"text": "done", "thoughtSignature": "c2ln"}),
            user({"text": "next"}),
        ],
        "tools": [{"googleSearch": {}}, {"function_declarations": [{"name": "run"}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}},
    }
    request = PROFILE.parse_request(body)
    assert (request.instructions, request.model_id) == ("s", "gemini-3-pro")
    assert request.contents == [
        Message(role="system", content="t"),
        Message(
            role="user",
            content=[TextPart(text="see"), ImagePart(data=histories.PNG, media_type="image/png")],
        ),
        Opaque(provider="gemini", kind="fileData", data=clip, role="user"),
        Opaque(provider="gemini", kind="executableCode", data=code),
        Message(role="assistant", content="done", gemini={"part": {"thoughtSignature": "c2ln"}}),
        Message(role="user", content="next"),
    ]
    assert bodies(*request.contents[1:]) == [
        user({"text": "see"}, picture, clip),
        *body["contents"][1:],
    ]
    assert PROFILE.tools(request.tools)[1] == {"googleSearch": {}}
    assert request.tool_choice == body["toolConfig"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "contents"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [user(5)]}, "contents[0].parts[0]"),
        ({"contents": [user({})]}, "contents[0].parts[0]"),
        ({"contents": [model({"functionCall": {}})]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [], "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_with_its_path(body, path):
    """The error names the place of the fault."""
    with pytest.raises(ContentError) as caught:
        PROFILE.parse_request(body)
    assert caught.value.path == path


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in list(pairs):
            yield from places(below, (*path, key))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_odd_responses_are_read_or_refused(data):
    """Any JSON in any place leads to items or to ContentError; what is read can be sent."""
    body = copy.deepcopy(RESPONSE)
    *way, last = data.draw(st.sampled_from([path for path in places(body) if path]))
    place = body
    for step in way:
        place = place[step]
    place[last] = data.draw(histories.json_values)
    try:
        items = PROFILE.parse_response(body).items
    except ContentError as error:
        assert str(error)
        return
    assert violations(repair([USER, *items], PROFILE).items, PROFILE) == []


def chunk(*parts, finish=None, **more):
    return {"candidates": [{"content": model(*parts), "finishReason": finish, "index": 0}], **more}


STREAM = [
    chunk({"text": "h", "thought": True}),
    chunk({"text": "m", "thought": True}),
    chunk({"text": "let me "}, usageMetadata={"promptTokenCount": 10}),
    chunk({"text": "see"}),
    chunk(PARTS[2]),
    chunk(PARTS[3], {"text": ""}),
    chunk(finish="STOP", usageMetadata=RESPONSE["usageMetadata"]),
]


def test_a_finished_stream_is_one_answer():
    """Texts that run on are one, thoughts another; the last usage counts."""
    assert read_response(STREAM) == PROFILE.parse_response(RESPONSE)


def test_a_stream_cut_anywhere_is_partial():
    """With what had come."""
    for cut in range(1, len(STREAM)):
        assert read_response(STREAM[:cut]).partial
    assert read_response(STREAM[:3]).items[1].content == "let me "


def test_signed_texts_are_not_joined():
    """A signature ends the text that it is on."""
    signed = {"text": "b", "thoughtSignature": "c2ln"}
    stream = [chunk({"text": "a"}), chunk(signed), chunk({"text": "c"}, finish="STOP")]
    items = read_response(stream).items
    assert bodies(USER, *items)[1] == model({"text": "a"}, signed, {"text": "c"})


def test_a_blocked_stream_is_refused():
    """A prompt that was blocked has no answer, also in a stream."""
    with pytest.raises(ContentError, match="no answer"):
        read_response([{"promptFeedback": {"blockReason": "SAFETY"}}])


def test_other_providers_do_not_see_it():
    """Signatures and thoughts are in no other provider's request."""
    log = [USER, *PROFILE.parse_response(RESPONSE).items]
    for name in ("openai-chat", "anthropic", "openai-responses"):
        profile = get_profile(name)
        text = json.dumps([m.body for m in profile.render(repair(log, profile).items)])
        assert not any(word in text for word in ("c2ln", "hm", "thought", PLACEHOLDER))


@pytest.mark.parametrize(
    ("name", "sent"),
    [("run", "run"), ("a b", "a_b"), ("9a", "_9a"), ("x.y-z", "x.y-z"), ("", "unknown")],
)
def test_names_that_the_api_refuses_are_replaced(name, sent):
    """They begin with a letter or _, and hold letters, digits, _, . and -."""
    assert PROFILE.allowed_name(name) == sent
    assert len(PROFILE.allowed_name("x" * 99)) == 64
