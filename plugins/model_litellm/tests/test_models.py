"""Whose a model is, in which form it is asked, and what the price map knows of it."""

import base64
import binascii
import json
import socket
import struct

import pytest

from turnkeep.content import Usage
from turnkeep.errors import ModelError, ModelUnavailable
from turnkeep.model import ModelLimits
from turnkeep_model_litellm import LitellmClient, LitellmOptions
from turnkeep_model_litellm.library import library
from turnkeep_model_litellm.prices import cost_of
from turnkeep_model_litellm.target import find_target


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("openai/gpt-4o-mini", "openai-chat"),
        ("gpt-5", "openai-chat"),
        ("azure/my-deployment", "openai-chat"),
        ("groq/llama-3.3-70b-versatile", "openai-chat"),
        ("openrouter/anthropic/claude-sonnet-4.5", "openai-chat"),
        ("openai/a-model-of-mine", "openai-chat"),
        ("anthropic/claude-sonnet-4-5", "anthropic"),
        ("claude-opus-4-5", "anthropic"),
        ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic"),
        ("bedrock/amazon.nova-pro-v1:0", "openai-chat"),
        ("vertex_ai/claude-sonnet-4-5@20250929", "anthropic"),
        ("gemini/gemini-2.5-flash", "gemini"),
        ("vertex_ai/gemini-2.5-pro", "gemini"),
        ("gemini/gemma-3-27b-it", "openai-chat"),
    ],
)
def test_the_form_follows_the_model(model, profile):
    """The provider's own where LiteLLM knows the way, else OpenAI Chat."""
    assert LitellmClient(model).profile == profile


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"])
def test_chat_for_all(model):
    """LiteLLM translates, if it is to."""
    assert LitellmClient(model, api="chat").profile == "openai-chat"


def test_responses_where_there_are():
    """And a sentence where not."""
    assert LitellmClient("openai/gpt-5", api="responses").profile == "openai-responses"
    with pytest.raises(ModelError, match=r"no Responses API of 'cohere'.*auto"):
        _ = LitellmClient("cohere/command-r", api="responses").profile


def test_another_litellm(monkeypatch):
    """One that cannot be asked as this one is refused with a sentence, not in a call."""
    find = find_target("anthropic/claude-sonnet-4-5", LitellmOptions())
    whole = type(find.config)
    for kind in whole.__mro__:
        if "sign_request" in vars(kind):
            monkeypatch.delattr(kind, "sign_request")
    with pytest.raises(ModelError, match=r"sign_request.*install litellm"):
        find_target("anthropic/claude-sonnet-4-5", LitellmOptions())


@pytest.mark.parametrize("model", ["my-model", "nobody/some-model"])
async def test_a_model_of_nobody(model, capsys):
    """The sentence says how to write it; nothing is printed."""
    with pytest.raises(ModelError, match=rf"{model}.*provider/name"):
        await LitellmClient(model).load()
    assert capsys.readouterr() == ("", "")


async def test_no_model():
    """The sentence says where to name one."""
    with pytest.raises(ModelError, match=r"\[model\] id"):
        await LitellmClient("").load()


def test_limits():
    """Of the price map; of a model that it does not hold, none."""
    assert LitellmClient("anthropic/claude-sonnet-4-5").limits == ModelLimits(
        context_window=200_000, max_output=64_000
    )
    assert LitellmClient("openai/gpt-4o-mini").limits == ModelLimits(
        context_window=128_000, max_output=16_384
    )
    assert LitellmClient("openai/a-model-of-mine").limits == ModelLimits()


USAGE = Usage(
    input_tokens=1000,
    output_tokens=200,
    cached_tokens=300,
    cache_write_tokens=400,
    reasoning_tokens=50,
)


@pytest.mark.parametrize("model", ["openai/gpt-5", "claude-sonnet-4-5", "gemini/gemini-2.5-flash"])
def test_cost(model):
    """What is read from the cache, written to it, fresh, and answered, each at its price."""
    target = find_target(model, LitellmOptions())
    price = library().get_model_info(target.name, custom_llm_provider=target.provider)
    written = price.get("cache_creation_input_token_cost") or price["input_cost_per_token"]
    fresh = 300 if price.get("cache_creation_input_token_cost") else 700
    usage = USAGE if fresh == 300 else USAGE.model_copy(update={"cache_write_tokens": 0})
    wanted = fresh * price["input_cost_per_token"] + 300 * price["cache_read_input_token_cost"]
    wanted += (700 - fresh) * written if fresh == 300 else 0
    wanted += 200 * price["output_cost_per_token"]
    assert cost_of(target, usage) == pytest.approx(wanted)


def test_an_hour_of_cache_costs_more():
    """Anthropic reports how long what was written is kept."""
    target = find_target("claude-sonnet-4-5", LitellmOptions())
    ages = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 400}
    hour = Usage.model_validate({**USAGE.model_dump(), "cache_creation": ages})
    assert cost_of(target, hour) - cost_of(target, USAGE) == pytest.approx(400 * (6e-6 - 3.75e-6))


def test_the_cost_of_an_unknown_model():
    """Is not known; nor is that of a call without usage."""
    for model in ("gemini/a-gemini-of-mine", "openrouter/anthropic/claude-of-mine", "groq/mine"):
        assert cost_of(find_target(model, LitellmOptions()), USAGE) is None
    assert cost_of(find_target("openai/a-model-of-mine", LitellmOptions()), USAGE) is None
    assert cost_of(find_target("openai/gpt-5", LitellmOptions()), None) is None


AWS = {
    "aws_access_key_id": "AKIAEXAMPLEEXAMPLE00",
    "aws_secret_access_key": "example-secret-example",
    "aws_region_name": "eu-central-1",
}
CLAUDE = "bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
EVENTS = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 5}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Sun"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ny."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]  # fmt: skip


def frame(payload, **headers):
    """A frame of an AWS event stream (Amazon Transcribe's guide, "Event stream encoding")."""
    packed = b""
    for name, value in headers.items():
        key = f":{name.replace('_', '-')}".encode()
        packed += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    head = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    whole = head + struct.pack(">I", binascii.crc32(head)) + packed + payload
    return whole + struct.pack(">I", binascii.crc32(whole))


def framed(event):
    """An event of Anthropic's as Bedrock sends it."""
    inner = base64.b64encode(json.dumps(event).encode()).decode()
    return frame(json.dumps({"bytes": inner}).encode(), message_type="event", event_type="chunk")


async def test_claude_on_bedrock_streams(raw, asked, read, monkeypatch):
    """Signed, in Anthropic's form with its cache marks, and read from AWS's own framing."""
    whole = b"".join(map(framed, EVENTS))
    raw.kind = "application/vnd.amazon.eventstream"
    raw.chunks = [whole[start : start + 50] for start in range(0, len(whole), 50)]
    monkeypatch.setattr(socket, "getaddrinfo", None)  # no list is fetched from anywhere
    async with raw, LitellmClient(CLAUDE, api_base=raw.url, extra=AWS) as client:
        pieces, answer = await read(client.stream(asked("How is the weather?")))
    assert [piece.text for piece in pieces] == ["Sun", "ny."]
    assert (answer.text, answer.usage.output_tokens) == ("Sunny.", 3)
    [(head, body)] = raw.requests
    assert "invoke-with-response-stream" in head
    assert "authorization: aws4-hmac-sha256" in head.lower()
    assert body["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert body["anthropic_version"]


async def test_bedrock_breaks_off(raw, asked, read):
    """An exception within its stream is the error that it names."""
    said = json.dumps({"message": "Too many requests"}).encode()
    broken = frame(said, message_type="exception", exception_type="throttlingException")
    raw.kind = "application/vnd.amazon.eventstream"
    raw.chunks = [framed(event) for event in EVENTS[:3]] + [broken]
    async with raw, LitellmClient(CLAUDE, api_base=raw.url, extra=AWS) as client:
        with pytest.raises(ModelUnavailable, match="Too many requests") as caught:
            await read(client.stream(asked("How is the weather?")))
    assert (caught.value.status, caught.value.partial.text) == (429, "Sun")


@pytest.mark.parametrize("model", ["deepseek/deepseek-chat", "mistral/mistral-large-latest"])
async def test_other_providers_speak_chat(raw, model, asked, read):
    """What they do not know is not sent; a reason to stop that never came is not made up."""

    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}

    thought = chunk({"role": "assistant", "reasoning_content": "July."})
    raw.say(thought, chunk({"content": "Sunny."}))
    async with raw, LitellmClient(model, api_base=raw.url, api_key="k" * 9, max_output=9) as client:
        with pytest.raises(ModelUnavailable) as caught:
            await read(client.stream(asked("How is the weather?")))
        assert caught.value.partial.text == "Sunny."
        raw.say(chunk({}, "stop"), "[DONE]")
        pieces, answer = await read(client.stream(asked("How is the weather?")))
    assert "".join(piece.text for piece in pieces) in ("July.Sunny.", "Sunny.")
    assert (answer.text, answer.finish, answer.usage) == ("Sunny.", "stop", None)
    sent = raw.requests[0][1]
    assert sent["max_tokens"] == 9
    assert "prompt_cache_key" not in sent or "mistral" not in model
