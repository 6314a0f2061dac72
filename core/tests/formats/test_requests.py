"""How items become requests, what is counted of them, and where caching is asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.content import (
    BlobPart,
    FilePart,
    ImagePart,
    Message,
    Opaque,
    Reasoning,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
)
from turnkeep.errors import ContentError
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.formats.profile import render_context
from turnkeep.testing import histories

OPENAI = get_profile("openai-chat")
ANTHROPIC = get_profile("anthropic")
PROFILES = [pytest.param(get_profile(name), id=name) for name in PROFILE_NAMES]

USER = Message(role="user", content="hi")
CALL = ToolCall(tool_call_id="c1", name="run", arguments={"a": "é", "b": [1]})
RESULT = ToolResult(tool_call_id="c1", name="run", status="error", content=["no", {"k": 1}])


def bodies(profile, *items):
    return [message.body for message in profile.render(items)]


def test_openai_shapes():
    """Texts, calls and results as the API reference has them; text and calls share a message."""
    say = [Message(role="assistant", content=text) for text in ("one", "two")]
    assert bodies(OPENAI, USER, *say, CALL, RESULT) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "one"},
        {
            "role": "assistant",
            "content": "two",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "run", "arguments": '{"a":"é","b":[1]}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": 'no\n{"k":1}'},
    ]
    assert bodies(OPENAI, CALL)[0]["content"] is None


def test_anthropic_shapes():
    """Roles alternate, everything is in blocks, and an error result says so."""
    thought = histories.SEALED[0]
    say = [Message(role="assistant", content=text) for text in ("one", "two")]
    assert bodies(ANTHROPIC, USER, USER, thought, *say, CALL, RESULT, USER) == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}] * 2},
        {
            "role": "assistant",
            "content": [
                thought.data,
                {"type": "text", "text": "one"},
                {"type": "text", "text": "two"},
                {
                    "type": "tool_use",
                    "id": "c1",
                    "name": "run",
                    "input": {"a": "é", "b": [1]},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c1",
                    "content": [{"type": "text", "text": 'no\n{"k":1}'}],
                    "is_error": True,
                },
                {"type": "text", "text": "hi"},
            ],
        },
    ]


@pytest.mark.parametrize("profile", PROFILES)
@given(histories.broken)
def test_any_items_are_rendered_in_their_order(profile, items):
    """Broken lists are rendered as they stand: each item's texts occur, in order."""
    texts = [text for message in profile.render(items) for text in message.texts]
    names = iter(texts)
    for item in items:
        if isinstance(item, ToolCall):
            assert item.name in names


def test_results_carry_media_where_the_provider_takes_them():
    """Anthropic has pictures in the result; OpenAI gets a user message behind all results."""
    picture = ImagePart(data=histories.PNG)
    second = ToolCall(tool_call_id="c2", name="run")
    results = [
        ToolResult(tool_call_id="c1", name="run", content=["see", picture]),
        ToolResult(tool_call_id="c2", name="run", content=[picture]),
    ]
    block = {"type": "base64", "media_type": "image/png", "data": histories.PNG}
    inner = bodies(ANTHROPIC, USER, CALL, second, *results)[2]["content"][0]["content"]
    assert inner == [{"type": "text", "text": "see"}, {"type": "image", "source": block}]
    sent = bodies(OPENAI, USER, CALL, second, *results, USER)
    assert [message["role"] for message in sent[2:]] == ["tool", "tool", "user", "user"]
    assert sent[3]["content"] == "(see the next message)"
    assert [part["type"] for part in sent[4]["content"]] == ["text", "image_url"] * 2


@pytest.mark.parametrize(
    ("part", "openai", "anthropic"),
    [
        (ImagePart(url="https://a/b.png", detail="low"), "image_url", "image"),
        (ImagePart(data=histories.PNG, media_type="image/tiff"), "image_url", "text"),
        (ImagePart(url="file:///a.png"), "image_url", "text"),
        (FilePart(data=histories.PDF, media_type="application/pdf"), "file", "document"),
        (FilePart(data="aGk=", media_type="text/plain", name="n"), "file", "document"),
        (FilePart(data="aGk=", media_type="application/zip"), "file", "text"),
        (FilePart(url="https://a/b.pdf"), "text", "document"),
    ],
)
def test_media_have_the_providers_form_or_a_text(part, openai, anthropic):
    """What a provider has no form for becomes a text that names it, without its bytes."""
    message = Message(role="user", content=[part])
    for profile, kind in ((OPENAI, openai), (ANTHROPIC, anthropic)):
        found = bodies(profile, message)[0]["content"][0]
        assert found["type"] == kind
        if kind == "text":
            assert found["text"].startswith(f"[{part.type}: ")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_blob_must_be_resolved_first(profile):
    """A part whose bytes are elsewhere cannot be sent, and the error says what to do."""
    blob = BlobPart(seq=3, index=0, part=1, size=70_000)
    with pytest.raises(ContentError, match=r"event 3, item 0, part 1.*original"):
        profile.render([Message(role="user", content=[blob])])


def test_instructions_and_leading_system_messages():
    """OpenAI gets messages, Anthropic blocks of its system field; blank ones are left out."""
    leading = [Message(role="developer", content="d")]
    none, messages = OPENAI.system("be kind", leading)
    assert none is None
    assert [m.body["role"] for m in messages] == ["system", "developer"]
    blocks, messages = ANTHROPIC.system("be kind", leading)
    assert [block["text"] for block in blocks] == ["be kind", "d"]
    assert messages == []
    assert ANTHROPIC.system(" ", [])[0] is None
    assert OPENAI.system(" ", [])[1] == []
    assert ANTHROPIC.system_texts(blocks).texts == ("be kind", "d")


def test_tools_and_choice():
    """Definitions and the choice have each provider's form."""
    tool = ToolDefinition(name="run", description="d", parameters={"properties": {}})
    body = OPENAI.payload(
        messages=OPENAI.render([USER]), tools=OPENAI.tools([tool]), tool_choice={"name": "run"}
    )
    assert body["tools"][0]["function"] == {
        "name": "run",
        "description": "d",
        "parameters": {"properties": {}},
    }
    assert body["tool_choice"] == {"type": "function", "function": {"name": "run"}}
    for choice, sent in (
        ("required", {"type": "any"}),
        ({"name": "x"}, {"type": "tool", "name": "x"}),
    ):
        body = ANTHROPIC.payload(
            messages=ANTHROPIC.render([USER]),
            tools=ANTHROPIC.tools([tool]),
            tool_choice=choice,
            cache=False,
        )
        assert body["tool_choice"] == sent
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {}}


def test_anthropic_infers_tools_for_old_calls():
    """Calls without declared tools bring minimal definitions, by first use, and no choice."""
    log = [USER, CALL, RESULT, CALL.model_copy(update={"name": "else"}), RESULT]
    body = ANTHROPIC.payload(messages=ANTHROPIC.render(log), cache=False)
    assert [tool["name"] for tool in body["tools"]] == ["run", "else"]
    assert body["tool_choice"] == {"type": "none"}
    assert "tools" not in ANTHROPIC.payload(messages=ANTHROPIC.render([USER]))
    assert "tools" not in OPENAI.payload(messages=OPENAI.render(log))


def marked(value, path=()):
    if isinstance(value, dict):
        if "cache_control" in value:
            yield path
        for key, below in value.items():
            yield from marked(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from marked(below, (*path, index))


def test_markers_stand_at_system_and_latest_message():
    """Anthropic is asked to cache the system text and everything; OpenAI gets a hashed key."""
    system, messages = render_context(ANTHROPIC, [USER, CALL, RESULT], "be kind")
    tools = ANTHROPIC.tools(histories.TOOLS)
    body = ANTHROPIC.payload(messages=messages, system=system, tools=tools)
    assert list(marked(body)) == [("system", 0), ("messages", 2, "content", 0)]
    assert ANTHROPIC.breakpoints(tools, system, messages) == (3, 6)
    body = ANTHROPIC.payload(messages=messages, tools=tools)
    assert next(marked(body)) == ("tools", 2)
    key = OPENAI.payload(messages=OPENAI.render([USER]), session_id="jo@example.com")
    assert "jo" not in key["prompt_cache_key"]
    assert "prompt_cache_key" not in OPENAI.payload(messages=OPENAI.render([USER]))


def test_a_long_step_gets_one_more_marker():
    """Over 20 new blocks the end of the request before is marked; a checkpoint's end too."""
    calls = [CALL.model_copy(update={"tool_call_id": f"c{n}"}) for n in range(2, 13)]
    results = [RESULT.model_copy(update={"tool_call_id": f"c{n}"}) for n in range(2, 13)]
    log = [USER, CALL, RESULT, *calls, *results]
    messages = ANTHROPIC.render(log)
    assert ANTHROPIC.breakpoints((), None, messages) == (2, 24)
    assert ANTHROPIC.breakpoints((), None, messages[:3]) == (2,)
    assert ANTHROPIC.breakpoints((), None, messages, stable=1) == (0, 2, 24)
    body = ANTHROPIC.payload(messages=messages, system=[{"type": "text", "text": "s"}], stable=1)
    assert len(list(marked(body))) == 4
    assert ANTHROPIC.check(body) == []


@given(histories.valid(thinking=True), st.booleans(), st.integers(0, 3))
def test_markers_change_nothing_else(context, instructed, stable):
    """Without its markers a body is the same as one that asks for no cache; sources stay clean."""
    system, messages = render_context(ANTHROPIC, context, "be kind" if instructed else "")
    before = json.dumps([system, [m.body for m in messages]])
    body = ANTHROPIC.payload(messages=messages, system=system, stable=stable)
    plain = ANTHROPIC.payload(messages=messages, system=system, cache=False)
    places = list(marked(body))
    assert len(places) <= 4
    body = json.loads(json.dumps(body))
    for path in places:
        block = body
        for step in path:
            block = block[step]
        del block["cache_control"]
    assert body == json.loads(json.dumps(plain))
    assert json.dumps([system, [m.body for m in messages]]) == before


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_counted(profile):
    """Texts, call names, arguments and results are counted; structure has figures above 0."""
    messages = profile.render([USER, CALL, RESULT])
    texts = [text for message in messages for text in message.texts]
    assert texts == ["hi", "run", '{"a":"é","b":[1]}', 'no\n{"k":1}']
    assert all(message.overhead >= 4 for message in messages)
    picture = profile.render([Message(role="user", content=[ImagePart(url="https://a/b")])])
    assert picture[0].overhead > 1_000
    tools = profile.tool_texts(histories.TOOLS)
    assert "read_file" in tools.texts
    assert tools.overhead > 0
    assert profile.tool_texts([]).overhead == 0


def test_foreign_provider_data_is_not_sent():
    """Reasoning and data of other providers leave no trace, and split no message."""
    foreign = Reasoning(provider="openai-responses", data={"id": "rs"})
    other = Opaque(provider="gemini", kind="code", data={"type": "x"})
    say = Message(role="assistant", content="a")
    for profile in (OPENAI, ANTHROPIC):
        assert bodies(profile, USER, say, foreign, other, CALL) == bodies(profile, USER, say, CALL)


def test_a_participants_name_is_passed_on():
    """The extra field `name` of a message goes to OpenAI, which has such a field."""
    assert bodies(OPENAI, Message(role="user", content="x", name="jo"))[0]["name"] == "jo"


def test_an_unknown_profile_is_named_with_those_there_are():
    """The error suggests the nearest name and lists all."""
    with pytest.raises(ContentError, match=r"did you mean 'anthropic'.*openai-chat, anthropic"):
        get_profile("antropic")


def test_assistant_media_become_text():
    """No provider takes pictures in an answer of the model: a text stands for them."""
    answer = Message(role="assistant", content=[TextPart(text="see"), ImagePart(url="https://a/b")])
    assert bodies(OPENAI, answer)[0]["content"] == "see\n[image: https://a/b]"
    assert len(bodies(ANTHROPIC, answer)[0]["content"]) == 2
