"""OpenAI Responses: what goes out, what is read, and reasoning that keeps its partner."""

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

PROFILE = get_profile("openai-responses")
USER = Message(role="user", content="hi")
CALL = ToolCall(tool_call_id="c1", name="run", arguments={"a": "é"})
RESULT = ToolResult(tool_call_id="c1", name="run", status="error", content=["no", {"k": 1}])


def bodies(*items):
    return [message.body for message in PROFILE.render(items)]


def thought(number):
    return {
        "type": "reasoning",
        "id": f"rs_{number}",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": f"sealed {number}",
        "status": None,
    }


def said(text, name=None, **more):
    content = [{"type": "output_text", "text": text, "annotations": []}]
    about = {} if name is None else {"id": name, "status": "completed"}
    return {"type": "message", **about, "role": "assistant", "content": content, **more}


def called(number, *, known=True):
    about = {"id": f"fc_{number}", "status": "completed"} if known else {}
    return {
        "type": "function_call",
        **about,
        "call_id": f"c{number}",
        "name": "run",
        "arguments": '{"a":1}',
    }


def answered(number):
    return {"type": "function_call_output", "call_id": f"c{number}", "output": "ok"}


ASKED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [thought(1), said("let me see", "msg_1", phase="commentary"), called(1), called(2)],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
    },
}


def test_shapes():
    """Each item is an input item; texts are in parts, arguments are JSON text."""
    say = Message(role="assistant", content="one")
    mid = Message(role="system", content="mid")
    assert bodies(USER, say, CALL, RESULT, mid) == [
        ASKED,
        said("one"),
        {"type": "function_call", "call_id": "c1", "name": "run", "arguments": '{"a":"é"}'},
        {"type": "function_call_output", "call_id": "c1", "output": 'no\n{"k":1}'},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "mid"}]},
    ]


def test_instructions_take_the_leading_system_messages():
    """They are one text, in the field `instructions`."""
    leading = Message(role="developer", content="d")
    system, messages = render_context(PROFILE, [leading, USER], "be kind")
    body = PROFILE.payload(messages=messages, system=system)
    assert (body["instructions"], body["input"]) == ("be kind\n\nd", [ASKED])
    assert "instructions" not in PROFILE.payload(messages=messages)


def test_the_body():
    """Nothing is stored, tools are flat and say whether they are strict, the cache key is a hash."""
    tools = PROFILE.tools(
        [ToolDefinition(name="run", description="d"), ToolDefinition(name="say", strict=True)]
    )
    body = PROFILE.payload(
        messages=PROFILE.render([USER]),
        tools=tools,
        tool_choice={"name": "run"},
        model_id="gpt-4o",
        max_output=9,
        session_id="jo@example.com",
    )
    assert tools[0] == {
        "type": "function",
        "name": "run",
        "description": "d",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }
    assert tools[1]["strict"] is True
    assert body["tool_choice"] == {"type": "function", "name": "run"}
    assert (body["max_output_tokens"], body["store"]) == (9, False)
    assert "jo" not in body["prompt_cache_key"]
    assert "include" not in body
    assert "prompt_cache_key" not in PROFILE.payload(messages=[], session_id="s", cache=False)


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("gpt-5.2", True),
        ("openai/o3-mini", True),
        ("gpt-5-chat-latest", False),
        ("gpt-4.1", False),
        (None, False),
    ],
)
def test_sealed_reasoning_is_asked_for_where_the_model_gives_it(model, asked):
    """Other models refuse the wish; where reasoning is sent back it is always there."""
    body = PROFILE.payload(messages=PROFILE.render([USER]), model_id=model)
    assert ("include" in body) is asked
    items = PROFILE.parse_response(RESPONSE).items
    body = PROFILE.payload(messages=PROFILE.render([USER, *items]), model_id=model)
    assert body["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (ImagePart(url="https://a/b.png", detail="low"), "input_image"),
        (ImagePart(data=histories.PNG), "input_image"),
        (ImagePart(data=histories.PNG, media_type="image/tiff"), "input_text"),
        (ImagePart(url="file:///a.png"), "input_text"),
        (FilePart(data=histories.PDF, media_type="application/pdf"), "input_file"),
        (FilePart(url="https://a/b.pdf"), "input_file"),
        (FilePart(data="", media_type="text/plain"), "input_text"),
    ],
)
def test_media(part, kind):
    """Pictures and documents have their parts, also in outputs; what has no form is named."""
    [body] = bodies(Message(role="user", content=[part]))
    assert [found["type"] for found in body["content"]] == [kind]
    output = bodies(RESULT.model_copy(update={"content": ["see", part]}))[0]["output"]
    if kind == "input_text":
        assert output.startswith("see\n[")
    else:
        assert [found["type"] for found in output] == ["input_text", kind]


def test_a_response_is_read():
    """Items, usage with what was cached and thought, and the end."""
    items, usage, finish, partial = PROFILE.parse_response(RESPONSE)
    assert [item.type for item in items] == ["reasoning", "message", "tool_call", "tool_call"]
    assert items[0].data == RESPONSE["output"][0]
    assert (items[1].content, items[2].arguments) == ("let me see", {"a": 1})
    assert usage == Usage(
        input_tokens=10, output_tokens=5, cached_tokens=4, cache_write_tokens=2, reasoning_tokens=2
    )
    assert (finish, partial) == ("completed", False)
    assert detect(RESPONSE) == "openai-responses"


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
def test_a_response_that_met_its_limit_is_an_answer(reason):
    """As with other providers; its reason is told. A call that was cut off is none."""
    about = {"status": "incomplete", "incomplete_details": {"reason": reason}}
    parsed = read_response({**RESPONSE, **about})
    assert (parsed.partial, parsed.finish) == (False, reason)
    cut = {**called(1), "status": "incomplete", "arguments": '{"a'}
    parsed = read_response({**RESPONSE, **about, "output": [said("so", "msg_1"), cut]})
    assert parsed.partial
    assert read_response({**RESPONSE, "status": "in_progress"}).partial


def test_a_failed_response_is_refused():
    """With its code, without its text."""
    body = {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "secret"}}
    with pytest.raises(ContentError, match=r"failed: server_error$"):
        PROFILE.parse_response(body)


def test_an_answer_goes_back_as_it_came():
    """With ids, status, phase and reasoning, byte for byte."""
    items = PROFILE.parse_response(RESPONSE).items
    assert json.dumps(bodies(*items)) == json.dumps(RESPONSE["output"])


def test_ids_are_sent_with_their_reasoning_only():
    """Without the reasoning the items stay, and the API has no ids to miss it by."""
    items = PROFILE.parse_response(RESPONSE).items
    assert bodies(*items[1:]) == [
        said("let me see", phase="commentary"),
        called(1, known=False),
        called(2, known=False),
    ]


def test_reasoning_goes_with_its_follower():
    """Where the item is gone that reasoning belongs to, neither it nor ids that need it are sent."""
    thinks, _, first, second = PROFILE.parse_response(RESPONSE).items
    assert bodies(thinks, first, second) == [called(1, known=False), called(2, known=False)]


def test_reasoning_between_calls_stays_between_them():
    """Repair moves reasoning before the calls; the request has it where the API put it."""
    output = [thought(1), called(1), thought(2), called(2)]
    items = PROFILE.parse_response({**RESPONSE, "output": output}).items
    results = [ToolResult(tool_call_id=f"c{n}", name="run", content=["ok"]) for n in (1, 2)]
    done = repair([USER, *items, *results], PROFILE).items
    assert [item.type for item in done[1:5]] == ["reasoning", "reasoning", "tool_call", "tool_call"]
    assert bodies(*done) == [ASKED, *output, answered(1), answered(2)]
    assert violations(done, PROFILE) == []


def test_removing_a_call_removes_its_reasoning():
    """R8 and R9: a call of an undeclared tool goes, with the reasoning that led to it."""
    other = {**called(1), "name": "gone"}
    output = [thought(1), other, thought(2), called(2)]
    items = PROFILE.parse_response({**RESPONSE, "output": output}).items
    results = [ToolResult(tool_call_id=f"c{n}", name="run", content=["ok"]) for n in (1, 2)]
    log = [USER, *items, *results]
    done = repair(log, PROFILE, tools=["run"]).items
    assert bodies(*done) == [ASKED, thought(2), called(2), answered(2)]


def test_items_of_the_providers_tools_go_with_their_reasoning():
    """They cannot be sent without an id, so they are left out where the reasoning is."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    output = [thought(1), search, thought(2), said("so", "msg_2")]
    items = PROFILE.parse_response({**RESPONSE, "output": output}).items
    assert bodies(*items) == output
    assert bodies(*items[1:]) == output[2:]


def test_reasoning_that_is_not_sealed_is_left_out():
    """The provider stores nothing, so it could not find it by its id."""
    output = [{**thought(1), "encrypted_content": None}, called(1)]
    items = PROFILE.parse_response({**RESPONSE, "output": output}).items
    assert bodies(*items) == [called(1, known=False)]


def test_reasoning_from_elsewhere_stands_before_the_next_item():
    """Without links it goes back where it is, if anything of the answer follows."""
    own = Reasoning(provider="openai-responses", data=thought(1))
    assert bodies(own, CALL)[0] == thought(1)
    assert bodies(USER, own, USER) == [ASKED, ASKED]


@st.composite
def answers(draw):
    """Make what the API gives and takes back: runs of reasoning, texts and calls, and results."""
    items, number = [ASKED], 0
    for _ in range(draw(st.integers(1, 3))):
        calls = []
        for kind in draw(st.lists(st.sampled_from(["thought", "said", "called"]), max_size=4)):
            number += 1
            if kind == "thought":
                items += [thought(number), said("so", f"msg_{number}")]
            elif kind == "said":
                items.append(said("so"))
            else:
                items += [thought(number), called(number)]
                calls.append(number)
        items += [answered(call) for call in calls]
        items.append(ASKED)
    return items


@settings(max_examples=100, deadline=None)
@given(answers())
def test_a_request_of_the_api_comes_back_as_it_was(items):
    """Read and rendered, repaired or not, every item is the same, byte for byte."""
    request = PROFILE.parse_request({"input": items})
    assert json.dumps(bodies(*request.contents)) == json.dumps(items)
    done = repair(request.contents, PROFILE)
    calls = [m.body for m in PROFILE.render(done.items)]
    assert PROFILE.check({"input": calls, "store": False}) == []


def test_requests_of_others():
    """Plain texts, parts, custom tools, tools of the provider and unknown items are read."""
    audio = {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    custom = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": '{"a":1}'}
    result = {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"}
    picture = {"type": "input_image", "detail": "auto", "image_url": "https://a/b"}
    body = {
        "model": "gpt-5",
        "instructions": "s",
        "input": [
            {"role": "user", "content": "hi"},
            {"role": "user", "content": [{"type": "input_text", "text": "see"}, picture, audio]},
            search,
            custom,
            result,
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        ],
        "tools": [{"type": "web_search"}, {"type": "function", "name": "run", "strict": True}],
        "tool_choice": {"type": "function", "name": "run"},
    }
    request = PROFILE.parse_request(body)
    assert request.contents == [
        USER,
        Message(role="user", content=[TextPart(text="see"), ImagePart(url="https://a/b")]),
        Opaque(provider="openai-responses", kind="input_audio", data=audio, role="user"),
        Opaque(provider="openai-responses", kind="web_search_call", data=search),
        ToolCall(
            tool_call_id="c1",
            name="patch",
            arguments={"__raw__": '{"a":1}'},
            openai_responses={"custom": True},
        ),
        ToolResult(tool_call_id="c1", name="patch", content=["done"]),
        Message(role="assistant", content="no", refusal=True),
    ]
    assert (request.instructions, request.model_id) == ("s", "gpt-5")
    assert request.tool_choice == {"name": "run"}
    sent = bodies(*request.contents)
    assert sent[3:6] == [search, custom, result]
    assert sent[2]["content"] == [audio]
    assert sent[6]["content"] == [{"type": "refusal", "refusal": "no"}]
    assert PROFILE.tools(request.tools)[0] == {"type": "web_search"}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [], "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": [], "tools": [{"name": "x"}]}, "tools[0].type"),
    ],
)
def test_a_malformed_request_is_refused_with_its_path(body, path):
    """Also one whose history only the provider has."""
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


def event(kind, number=None, **more):
    about = {} if number is None else {"output_index": number}
    return {"type": f"response.{kind}", **about, **more}


STREAM = [
    event("created", response={"id": "resp_1", "status": "in_progress", "output": []}),
    event("output_item.added", 0, item={"type": "reasoning", "id": "rs_1", "summary": []}),
    event("output_item.done", 0, item=thought(1)),
    event("output_item.added", 1, item={**said("", "msg_1"), "content": []}),
    event("output_text.delta", 1, delta="let me "),
    event("output_text.delta", 1, delta="see"),
    event("output_item.done", 1, item=said("let me see", "msg_1", phase="commentary")),
    event("output_item.added", 2, item={**called(1), "arguments": ""}),
    event("function_call_arguments.delta", 2, delta='{"a"'),
    event("function_call_arguments.delta", 2, delta=":1}"),
    event("output_item.done", 2, item=called(1)),
    event("output_item.done", 3, item=called(2)),
]


@pytest.mark.parametrize("output", [RESPONSE["output"], []])
def test_a_finished_stream_is_one_answer(output):
    """The last event holds it; where that leaves the output out, the items that came do."""
    end = event("completed", response={**RESPONSE, "output": output})
    assert read_response([*STREAM, end]) == PROFILE.parse_response(RESPONSE)


def test_a_stream_cut_anywhere_is_partial():
    """With what had come, also in pieces."""
    for cut in range(1, len(STREAM) + 1):
        assert read_response(STREAM[:cut]).partial
    assert read_response(STREAM[:5]).items[1].content == "let me "
    assert read_response(STREAM[:9]).items[2].arguments == {"__raw__": '{"a"'}


def test_other_providers_do_not_see_it():
    """What this API's reader kept on items is in no other provider's request."""
    log = [USER, *PROFILE.parse_response(RESPONSE).items]
    for name in ("openai-chat", "anthropic", "gemini"):
        profile = get_profile(name)
        text = json.dumps([m.body for m in profile.render(repair(log, profile).items)])
        assert not any(word in text for word in ("rs_1", "fc_1", "msg_1", "sealed", "phase"))
