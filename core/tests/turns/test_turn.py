"""One turn: what happens is kept as it happens, and comes back as a request."""

import pytest

from turnkeep import (
    ContentError,
    Event,
    Keeper,
    Message,
    ToolCall,
    ToolResult,
    Usage,
)
from turnkeep.stores.memory import MemoryStore

TOOLS = [{"name": "look", "description": "Look around."}, {"name": "delete"}]


def user(text="Hi"):
    return Message(role="user", content=text)


def call(name="look", id="c1", **arguments):
    return ToolCall(tool_call_id=id, name=name, arguments=arguments)


@pytest.fixture
def keeper():
    return Keeper(store=MemoryStore())


async def kept(keep, session_id="s"):
    return [
        item for event in (await keep.sessions.get(session_id)).events for item in event.content
    ]


def openai_answer(text=None, calls=()):
    return {
        "choices": [
            {
                "finish_reason": "stop",
                "message": {
                    "role": "assistant",
                    "content": text,
                    "tool_calls": [
                        {
                            "id": call_id,
                            "type": "function",
                            "function": {"name": name, "arguments": arguments},
                        }
                        for call_id, name, arguments in calls
                    ]
                    or None,
                },
            }
        ],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
    }


async def test_a_whole_turn(keeper):
    """Input, calls, results and the answer are kept in order, with their authors and usage."""
    async with keeper as keep:
        async with keep.turn("s", execution_id="run-1") as turn:
            await turn.add(user())
            request = await turn.request(instructions="Be brief.", tools=TOOLS)
            assert [m["role"] for m in request.to_openai_chat()["messages"]] == ["system", "user"]
            step = await turn.add_response(openai_answer(calls=[("c1", "look", '{"at": 1}')]))
            assert not step.done
            for wanted in step.tool_calls:
                await turn.add_result(wanted, {"seen": wanted.arguments["at"]})
            step = await turn.add_response(openai_answer("Done."))
            assert (step.done, step.text) == (True, "Done.")
        events = (await keep.sessions.get("s")).events
    assert [event.author for event in events] == ["user", "assistant", "tool", "assistant"]
    assert {event.execution_id for event in events} == {"run-1"}
    assert events[1].usage == Usage(input_tokens=100, output_tokens=7, cached_tokens=64)
    assert events[2].content == [ToolResult(tool_call_id="c1", name="look", content=[{"seen": 1}])]


async def test_each_step_is_kept_when_it_returns(keeper):
    """Another reader sees what was added at once."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user("a"))
        assert await kept(keep) == [user("a")]
        await turn.add_response(call())
        assert await kept(keep) == [user("a"), call()]


async def test_the_next_turn_goes_on(keeper):
    """A turn begins with everything the session holds."""
    async with keeper as keep:
        async with keep.turn("s") as turn:
            await turn.add(user("a"))
            await turn.add_response("b")
        async with keep.turn("s") as turn:
            await turn.add(user("c"))
            body = (await turn.request()).to_openai_chat()
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]


async def test_consecutive_items_of_one_author_are_one_event(keeper):
    """Parallel calls are one event; their results another."""
    async with keeper as keep, keep.turn("s") as turn:
        events = await turn.add(
            user(), call(id="1"), call(id="2"),
            ToolResult(tool_call_id="1", name="look"), ToolResult(tool_call_id="2", name="look"),
            Message(role="assistant", content="ok"),
        )  # fmt: skip
    assert [(event.author, len(event.content), event.seq) for event in events] == [
        ("user", 1, 1), ("assistant", 2, 2), ("tool", 2, 3), ("assistant", 1, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "status", "content"),
    [
        ("text", "success", ["text"]),
        (None, "success", []),
        ([1, 2], "success", [[1, 2]]),
        (ValueError("no such place"), "error", ["ValueError: no such place"]),
    ],
)
async def test_results_take_any_json_and_errors(keeper, value, status, content):
    """A text, any JSON, nothing, or the exception that the tool raised."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        step = await turn.add_response(call())
        event = await turn.add_result(step.tool_calls[0], value)
    assert (event.content[0].status, event.content[0].content) == (status, content)


async def test_a_call_is_answered_once(keeper):
    """A second result, and one for a call never made, are refused."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        await turn.add_response(call())
        await turn.add_result(call(), "1")
        with pytest.raises(ContentError, match="not open"):
            await turn.add_result(call(), "2")


async def test_a_result_that_is_not_json_is_refused_and_nothing_is_written(keeper):
    """The turn goes on with a value that can be kept."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        await turn.add_response(call())
        with pytest.raises(ContentError, match=r"content\[0\]\.content\[0\]\.x is nan"):
            await turn.add_result(call(), {"x": float("nan")})
        await turn.add_result(call(), "fine")
    assert turn.context.items[-1].content == ["fine"]


async def test_a_cut_answer_is_kept_and_not_sent(keeper):
    """A partial answer is in the log, not in the next request."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        step = await turn.add_response("Once upon", partial=True)
        body = (await turn.request()).to_openai_chat()
    assert step.event.partial
    assert [m["role"] for m in body["messages"]] == ["user"]


async def test_an_unknown_answer_is_refused(keeper):
    """What is no answer of a known shape is a ContentError, and nothing is kept."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        for nonsense in ({"foo": 1}, 7, None, [1], Event()):
            with pytest.raises(ContentError):
                await turn.add_response(nonsense)
        assert await kept(keep) == [user()]


async def test_state_is_replaced_and_travels_with_its_event(keeper):
    """The log carries the state, the next turn finds it."""
    async with keeper as keep:
        async with keep.turn("s") as turn:
            await turn.set_state({"cart": [1]})
        async with keep.turn("s") as turn:
            assert turn.state == {"cart": [1]}
        assert (await keep.sessions.get("s")).events[0].state == {"cart": [1]}


async def test_interrupted_calls_are_closed_by_the_next_input(keeper):
    """A call left open gets the error result that its outcome is unknown; requests stay valid."""
    async with keeper as keep:
        async with keep.turn("s") as turn:
            await turn.add(user())
            await turn.add_response([call(id="1"), call(id="2")])
            await turn.add_result(call(id="1"), "ok")
        async with keep.turn("s") as turn:
            assert [c.tool_call_id for c in turn.open_calls] == ["2"]
            await turn.add(user("again"))
            assert turn.open_calls == []
            report = (await turn.request(tools=TOOLS)).report()
    results = [item for item in turn.context.items if isinstance(item, ToolResult)]
    assert (results[1].status, results[1].content) == ("error", ["interrupted, outcome unknown"])
    assert report.repairs == []


async def test_an_interrupted_call_can_still_be_answered(keeper):
    """Whoever resumes may give the result instead."""
    async with keeper as keep:
        async with keep.turn("s") as turn:
            await turn.add(user())
            await turn.add_response(call())
        async with keep.turn("s") as turn:
            await turn.add_result(turn.open_calls[0], "late")
            await turn.add(user("next"))
    assert [item.content for item in turn.context.items if isinstance(item, ToolResult)] == [
        ["late"]
    ]


async def test_a_reused_call_id_is_made_distinct_in_requests(keeper):
    """Providers reuse ids; the request holds each once, the log what was said."""
    async with keeper as keep, keep.turn("s") as turn:
        for _ in range(2):
            await turn.add(user())
            await turn.add_response(call(id="same"))
            await turn.add_result(call(id="same"), "r")
        request = await turn.request(tools=TOOLS)
        ids = [
            m["tool_call_id"] for m in request.to_openai_chat()["messages"] if m["role"] == "tool"
        ]
        assert len(set(ids)) == 2
        assert [repair.rule for repair in request.report().repairs] == ["R7"]


async def test_requests_weigh_what_they_hold(keeper):
    """A report has tokens, the part for structure, and says that the count is an estimate."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user("word " * 1000))
        report = (await turn.request(instructions="x", tools=TOOLS)).report("anthropic")
    assert 1000 < report.tokens < 2000
    assert 0 < report.overhead < report.tokens
    assert (report.counter, report.exact) == ("estimate", False)


async def test_somebody_elses_session_is_not_found(keeper):
    """A turn that names another user finds nothing."""
    async with keeper as keep:
        async with keep.turn("s", user_id="ann") as turn:
            await turn.add(user())
        with pytest.raises(KeyError, match="no session"):
            async with keep.turn("s", user_id="bob"):
                pass


@pytest.mark.parametrize("value", [{"pw": "hunter2", "x": {1}}, b"secret", object(), [{1: 2}]])
async def test_a_result_of_another_type_is_refused_without_showing_it(keeper, value):
    """ContentError with the path; what the value was stays out of it."""
    async with keeper as keep, keep.turn("s") as turn:
        await turn.add(user())
        step = await turn.add_response(call())
        with pytest.raises(ContentError, match="content") as caught:
            await turn.add_result(step.tool_calls[0], value)
    assert "hunter2" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_adding_nothing_writes_nothing(keeper):
    """No session is begun, no turn opened."""
    async with keeper as keep:
        async with keep.turn("s") as turn:
            assert await turn.add() == []
        assert await keep.sessions.get("s") is None


async def test_notes_of_an_import_survive_a_race_to_open(keeper):
    """Somebody imported the session between loading and opening: its header stays."""
    from turnkeep.formats.jsonl import SessionFile
    from turnkeep.transfer import import_session

    async with keeper as keep:
        async with keep.turn("s") as turn:
            await import_session(keep.sessions.store, SessionFile("s", header={"source": "there"}))
            await turn.add(user())
        [info], _ = await keep.sessions.list()
    assert info.header == {"source": "there"}


@pytest.mark.parametrize("nonsense", ["Hi", {"type": "message"}, None, Event()])
async def test_what_is_no_item_is_refused(keeper, nonsense):
    """With a sentence, before anything is written."""
    async with keeper as keep:
        async with keep.turn("s") as turn:
            with pytest.raises(ContentError, match="no item"):
                await turn.add(nonsense)
        assert await keep.sessions.get("s") is None


async def test_events_of_a_turn_are_events_like_any_other(keeper):
    """Made without validation, they equal what is read back, and can be copied and dumped."""
    async with keeper as keep:
        async with keep.turn("s") as turn:
            [event] = await turn.add(user())
        assert (await keep.sessions.get("s")).events == [event]
        assert Event.model_validate_json(event.model_dump_json()).content == event.content
        assert repr(event.model_copy(update={"author": "x"})).startswith("Event(type='event'")
        assert Event(author="user", content=[user()]).model_fields_set <= event.model_fields_set
