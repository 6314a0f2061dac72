"""What fails: repeated where that may help, and said in a way that says what to do."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from turnkeep.errors import ModelError, ModelOverflow, ModelRefused, ModelUnavailable
from turnkeep.model import ModelSettings, TextDelta
from turnkeep.testing.provider import Call, Fault, Say

KEY = "sk-test-0123456789abcdef"
EITHER = pytest.mark.parametrize("streamed", [False, True])


@pytest.fixture
def ask(read, asked):
    """Ask a client once, plain or streamed."""

    async def once(client, *, streamed, settings=None, text="Hello."):
        given = () if settings is None else (settings,)
        if streamed:
            return (await read(client.stream(asked(text), *given)))[1]
        return await client.generate(asked(text), *given)

    return once


@EITHER
@pytest.mark.parametrize(
    "fault",
    [Fault.rate_limit(), Fault.overloaded(), Fault.server_error(), Fault.drop()],
    ids=lambda fault: fault.kind,
)
async def test_what_passes_is_repeated(client_of, server, profile, streamed, fault, ask, waits):
    """Twice here, each wait about twice the one before, and then it is answered."""
    server.answer(fault, fault, "Hello!")
    async with client_of(profile, retries=2) as client:
        assert (await ask(client, streamed=streamed)).text == "Hello!"
    assert len(server.requests) == 3
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1.0


@EITHER
async def test_retry_after_is_waited_out(client_of, server, profile, streamed, ask, waits):
    """To the last second, and a little longer, so that not all callers come back at once."""
    server.answer(Fault.rate_limit(retry_after=7), Fault.overloaded(retry_after=11), "Hello!")
    async with client_of(profile) as client:
        await ask(client, streamed=streamed)
    assert 7 <= waits[0] <= 7.7
    assert 11 <= waits[1] <= 12.1


@EITHER
async def test_it_gives_up(client_of, server, profile, streamed, ask, waits):
    """The error says after how long to come again, and names the model."""
    server.answer(*[Fault.rate_limit(retry_after=7)] * 3)
    async with client_of(profile, retries=2) as client:
        with pytest.raises(ModelUnavailable, match=client.model_id) as caught:
            await ask(client, streamed=streamed)
    assert (caught.value.status, caught.value.retry_after) == (429, 7)
    assert (caught.value.model, len(waits)) == (client.model_id, 2)


async def test_a_wait_that_is_too_long_is_not_begun(client_of, server, profile, ask, waits):
    """Where the call's time would be over before it may be repeated."""
    server.answer(Fault.rate_limit(retry_after=100))
    async with client_of(profile) as client:
        with pytest.raises(ModelUnavailable) as caught:
            await ask(client, streamed=False, settings=ModelSettings(timeout=60))
    assert (caught.value.retry_after, waits) == (100, [])


async def test_retry_after_may_be_a_date(raw, client_of, ask):
    """As HTTP allows."""
    until = datetime.now(UTC) + timedelta(seconds=90)
    raw.head = f"503 Busy\r\nRetry-After: {format_datetime(until, usegmt=True)}"
    async with raw, client_of("anthropic", api_base=raw.url, retries=0) as client:
        with pytest.raises(ModelUnavailable) as caught:
            await ask(client, streamed=False)
    assert 0 < caught.value.retry_after <= 90


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 2030 00:00:00 +99999999999999",
        "Mon, 01 Jan 0000 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2300",
    ],
)
async def test_retry_after_may_be_no_date(raw, client_of, profile, date, ask):
    """One that there is not says nothing of when to come again."""
    raw.head = f"503 Busy\r\nRetry-After: {date}"
    async with raw, client_of(profile, api_base=raw.url, retries=0) as client:
        with pytest.raises(ModelUnavailable) as caught:
            await ask(client, streamed=False)
    assert not caught.value.retry_after


async def test_geminis_retry_delay(raw, client_of, ask):
    """It stands in the body."""
    detail = '{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}'
    raw.head, raw.kind = "429 Busy", "application/json"
    raw.chunks = [
        b'{"error": {"code": 429, "message": "Quota", "details": [%b]}}' % detail.encode()
    ]
    async with raw, client_of("gemini", api_base=raw.url, retries=0) as client:
        with pytest.raises(ModelUnavailable, match="Quota") as caught:
            await ask(client, streamed=False)
    assert caught.value.retry_after == 34.5


@pytest.mark.parametrize("kind", ["drop", "broken"])
async def test_a_stream_that_breaks_off(client_of, server, profile, kind, asked, waits):
    """What came is kept as a partial answer, and the call is not repeated."""
    text = "one two three four five six seven eight nine ten " * 50
    fault = getattr(Fault, kind)(after_events=8)
    server.answer(Say(text, fault=fault))
    pieces = []
    async with client_of(profile) as client:
        with pytest.raises(ModelUnavailable) as caught:
            async for piece in client.stream(asked("Count.")):
                pieces.append(piece)
    said = "".join(piece.text for piece in pieces)
    assert 0 < len(said) < len(text)
    assert caught.value.partial.partial
    assert caught.value.partial.text == said
    assert (len(server.requests), waits) == (1, [])


@pytest.mark.parametrize("profile", ["openai-chat", "anthropic", "openai-responses", "gemini"])
async def test_a_stream_that_ends_early(raw, client_of, profile, asked, server, read):
    """The connection ends in good order, but the answer does not: that is cut off, too."""
    server.answer("one two three four five six seven eight nine ten")
    async with raw:
        whole = await _recorded(server, profile)
        raw.chunks = whole[: len(whole) // 2]
        async with client_of(profile, api_base=raw.url) as client:
            with pytest.raises(ModelUnavailable, match="broke off") as caught:
                await read(client.stream(asked("Count.")))
    assert caught.value.partial.text.startswith("one")


async def _recorded(server, profile):
    """The events of the server's next answer, as they come over the wire."""
    import httpx

    paths = {
        "openai-chat": "/v1/chat/completions",
        "anthropic": "/v1/messages",
        "openai-responses": "/v1/responses",
        "gemini": "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    }
    user = {"role": "user", "content": "Count."}
    bodies = {
        "openai-chat": {"model": "gpt-4o-mini", "stream": True, "messages": [user]},
        "anthropic": {"model": "claude-x", "stream": True, "max_tokens": 9, "messages": [user]},
        "openai-responses": {"model": "gpt-5", "stream": True, "input": [user]},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "Count."}]}]},
    }
    headers = {"anthropic-version": "2023-06-01", "x-api-key": KEY, "x-goog-api-key": KEY}
    headers["authorization"] = f"Bearer {KEY}"
    async with httpx.AsyncClient(headers=headers) as http:
        reply = await http.post(server.url + paths[profile], json=bodies[profile])
    assert reply.status_code == 200, reply.text
    return [
        event + b"\n\n" for event in reply.content.replace(b"\r\n", b"\n").split(b"\n\n") if event
    ]


@EITHER
async def test_a_request_that_is_too_long(client_of, server, profile, streamed, ask):
    """The model's window is told apart from all other refusals."""
    server.context_window = 50
    server.default = "never"
    async with client_of(profile) as client:
        with pytest.raises(ModelOverflow, match="max_tokens"):
            await ask(client, streamed=streamed, text="long " * 400)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "the request exceeds the available context size, try increasing it",
    ],
)
async def test_ways_to_say_that_it_is_too_long(raw, client_of, profile, said, ask):
    """Anthropic's of old models, and llama.cpp's."""
    raw.head, raw.kind = "400 No", "application/json"
    raw.chunks = [json.dumps({"error": {"message": said}}).encode()]
    async with raw, client_of(profile, api_base=raw.url) as client:
        with pytest.raises(ModelOverflow):
            await ask(client, streamed=False)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "sk-hush…0123456789"},
        {"api_key": "sk-hush\n0123456789"},
        {"headers": {"X-Key": "sk-hush-é-0123456789"}},
        {"headers": {"X-Key": "sk-hush\n0123456789"}},
    ],
)
async def test_what_http_does_not_allow(client_of, server, profile, options, ask, waits):
    """Is refused before anything is sent, and not repeated in the message."""
    server.default = "never"
    async with client_of(profile, **options) as client:
        with pytest.raises(ModelRefused, match="nothing was sent") as caught:
            await ask(client, streamed=False)
    assert "hush" not in repr(caught.value)
    assert (server.requests, waits) == ([], [])


async def test_a_key_of_the_environment_with_a_newline(client_of, server, ask, waits, monkeypatch):
    """It is not repeated in the message either."""
    monkeypatch.setenv("OPENAI_API_KEY", "hush-0123456789abcdef\n")
    async with client_of("openai-responses", api_key=None) as client:
        with pytest.raises(ModelRefused, match="nothing was sent") as caught:
            await ask(client, streamed=True)
    assert "hush" not in repr(caught.value)
    assert (server.requests, waits) == ([], [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere/hush.pem"),
        ("ALL_PROXY", "socks5://user:hush@127.0.0.1:1"),
        ("HTTP_PROXY", "hush bar:x"),
    ],
)
async def test_proxies_and_certificates_that_there_are_not(
    client_of, name, value, ask, waits, monkeypatch
):
    """Are told as what they are: nothing was sent."""
    monkeypatch.setenv(name, value)
    async with client_of("anthropic", api_base="http://example.test") as client:
        with pytest.raises(ModelRefused, match="nothing was sent") as caught:
            await ask(client, streamed=False)
    assert "hush" not in repr(caught.value)
    assert waits == []


@EITHER
async def test_a_wrong_key(client_of, server, profile, streamed, ask):
    """Refused at once, and the key is not in the message."""
    key = "sk-wrong-0123456789abcdef"
    async with client_of(profile, api_key=key) as client:
        with pytest.raises(ModelRefused, match="api_key") as caught:
            await ask(client, streamed=streamed)
    assert caught.value.status in (400, 401)  # Gemini's is 400
    assert len(server.requests) == 1
    assert key not in repr(caught.value) + repr(client) + repr(vars(client))


async def test_a_key_that_the_provider_repeats(raw, client_of, profile, ask, monkeypatch):
    """Neither a given key, nor one of the environment, nor anything that looks like one."""
    monkeypatch.setenv("SOME_API_KEY", "hush-hush-0123456789")
    raw.head, raw.kind = "401 No", "application/json"
    said = f"Incorrect API key: {KEY}, hush-hush-0123456789, sk-other-99999 or Bearer abcdefg12345"
    raw.chunks = [json.dumps({"error": {"message": said}}).encode()]
    async with raw, client_of(profile, api_base=raw.url) as client:
        with pytest.raises(ModelRefused, match="Incorrect API key") as caught:
            await ask(client, streamed=False)
    for secret in (KEY, "hush-hush", "sk-other", "abcdefg"):
        assert secret not in str(caught.value)


@EITHER
async def test_no_key_at_all(client_of, server, profile, streamed, ask, monkeypatch):
    """Said before or after asking, but as a refusal."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    async with client_of(profile, api_key=None) as client:
        with pytest.raises(ModelRefused, match=client.model_id):
            await ask(client, streamed=streamed)


@pytest.mark.parametrize("profile", ["anthropic", "openai-responses"])
async def test_without_a_key_nothing_is_sent(client_of, server, profile, ask, monkeypatch):
    """The sentence says that none was given."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for key in (None, "", " "):
        async with client_of(profile, api_key=key) as client:
            with pytest.raises(ModelRefused, match="no API key was given"):
                await ask(client, streamed=False)
    assert server.requests == server.rejected == []


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_an_empty_answer(raw, client_of, profile, body, ask, waits):
    """Status 200 without an answer: cannot be read, and is not asked for again."""
    raw.kind, raw.chunks = "application/json", [body]
    async with raw, client_of(profile, api_base=raw.url) as client:
        with pytest.raises(ModelError, match="cannot be read"):
            await ask(client, streamed=False)
    assert (len(raw.requests), waits) == (1, [])


@EITHER
async def test_garbage(client_of, server, profile, streamed, ask, waits):
    """An answer that is none: asking the same way again would not help."""
    server.answer(Fault.garbage())
    async with client_of(profile) as client:
        with pytest.raises(ModelError) as caught:
            await ask(client, streamed=streamed)
    assert not isinstance(caught.value, ModelUnavailable | ModelRefused)
    assert waits == []


async def test_a_used_up_quota(raw, client_of, ask, waits):
    """Is a refusal, though it is told as a limit of the rate: waiting does not help."""
    raw.head, raw.kind = "429 Busy", "application/json"
    raw.chunks = [b'{"error": {"message": "You are out.", "code": "insufficient_quota"}}']
    async with raw, client_of("openai-responses", api_base=raw.url) as client:
        with pytest.raises(ModelRefused, match="billing"):
            await ask(client, streamed=False)
    assert (len(raw.requests), waits) == (1, [])


@EITHER
async def test_a_response_that_failed(raw, client_of, streamed, ask):
    """OpenAI Responses says so in an answer with status 200."""
    failed = {"object": "response", "status": "failed", "output": []}
    failed["error"] = {"code": "server_error", "message": "It broke."}
    raw.chunks = [json.dumps(failed).encode()]
    if streamed:
        raw.chunks = []
        raw.say({"type": "response.failed", "response": failed})
    async with raw, client_of("openai-responses", api_base=raw.url, retries=0) as client:
        with pytest.raises(ModelUnavailable, match="It broke"):
            await ask(client, streamed=streamed)


@EITHER
async def test_a_prompt_that_is_blocked(raw, client_of, streamed, ask):
    """Gemini gives no candidates then: an answer without items, stopped by a filter."""
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "g"}
    raw.chunks = [json.dumps(blocked).encode()]
    if streamed:
        raw.chunks = []
        raw.say(blocked)
    async with raw, client_of("gemini", api_base=raw.url) as client:
        answer = await ask(client, streamed=streamed)
    assert (answer.items, answer.finish) == ([], "content_filter")
    assert answer.provider["finish"] == "PROHIBITED_CONTENT"


@EITHER
async def test_nothing_is_printed(client_of, server, profile, streamed, ask, capfd, caplog):
    """Not by LiteLLM either, which likes to give hints."""
    server.answer(Fault.garbage(), Fault.rate_limit(), Fault.drop(), "Hello!")
    async with client_of(profile) as client:
        with pytest.raises(ModelError):
            await ask(client, streamed=streamed)
        await ask(client, streamed=streamed)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize(
    "event",
    ["[1]", "no json", '{"choices": ["x"]}', '{"type": "content_block_delta", "delta": 7}', "{}"],
)
async def test_events_of_odd_shapes(raw, client_of, profile, event, ask):
    """Are garbage, too, and never another exception."""
    raw.say(event)
    async with raw, client_of(profile, api_base=raw.url, retries=0) as client:
        with pytest.raises(ModelError):
            await ask(client, streamed=True)


@EITHER
async def test_nothing_listens(client_of, profile, streamed, ask, waits):
    """Repeated, and then said with the option to look at."""
    async with client_of(profile, api_base="http://127.0.0.1:9", retries=1) as client:
        with pytest.raises(ModelUnavailable, match="api_base"):
            await ask(client, streamed=streamed)
    assert len(waits) == 1


@EITHER
async def test_the_time_is_over(client_of, server, profile, streamed, ask):
    """Whatever the provider is doing then."""
    server.answer(Fault.hang())
    async with client_of(profile) as client:
        with pytest.raises(ModelUnavailable, match=r"within 0.2 s.*timeout"):
            await ask(client, streamed=streamed, settings=ModelSettings(timeout=0.2))


@pytest.mark.prove
async def test_the_time_is_over_in_a_stream(client_of, server, profile, asked):
    """What came until then is kept; the reader's own time does not count against it twice."""
    server.answer(Say("one two three four five six seven", fault=Fault.hang(after_events=7)))
    pieces = []
    async with client_of(profile) as client:
        with pytest.raises(ModelUnavailable, match="timeout") as caught:
            async for piece in client.stream(asked("Count."), ModelSettings(timeout=2)):
                pieces.append(piece)
    assert caught.value.partial.text == "".join(piece.text for piece in pieces)


async def test_a_cancelled_call_is_gone(client_of, server, profile, asked):
    """The provider sees the connection close."""
    began, gone = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hang(seen):
        loop.call_soon_threadsafe(began.set)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            loop.call_soon_threadsafe(gone.set)
            raise

    server.answer(hang)
    async with client_of(profile) as client:
        task = asyncio.ensure_future(client.generate(asked("Hello.")))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_stream_that_is_left_is_gone(client_of, server, raw, profile, how, asked):
    """Whether its task is cancelled or the stream is closed: the connection is."""
    server.answer("one two three four five six seven eight nine ten")
    first = asyncio.Event()
    async with raw:
        whole = await _recorded(server, profile)
        raw.chunks, raw.stays = whole[: len(whole) // 2], True
        async with client_of(profile, api_base=raw.url) as client:
            stream = client.stream(asked("Count."))

            async def reading():
                async for piece in stream:
                    assert isinstance(piece, TextDelta)
                    first.set()
                    if how == "closed":
                        await stream.aclose()
                        return

            task = asyncio.ensure_future(reading())
            await first.wait()
            if how == "cancelled":
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await raw.left.wait()


async def test_broken_arguments_are_kept(client_of, server, asked):
    """A call whose arguments are no JSON is an answer, not an error."""
    server.answer(Say(calls=[Call("weather", '{"city": ')]))
    async with client_of("openai-chat") as client:
        [call] = (await client.generate(asked("Hello."))).tool_calls
    assert call.name == "weather"
