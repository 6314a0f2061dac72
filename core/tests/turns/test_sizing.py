"""How large the next request will be: anchored in reports, and counted once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep import ContentError, Keeper, Message, Ref, ToolCall, Usage
from turnkeep.meta import Meta
from turnkeep.prepared import PreparedRequest
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.histories import logs
from turnkeep.tokens.correction import Correction
from turnkeep.tokens.memo import Memo

TOOL = {"name": "look", "description": "Look.", "parameters": {"type": "object"}}


class Letters:
    """Counts characters; notes how many it was asked to count."""

    name = "letters"

    def __init__(self):
        self.asked = 0

    def count_texts(self, texts):
        self.asked += len(texts)
        return [len(text) for text in texts]

    def exact(self, model):
        return model == "m"


class Provider:
    """A model behind an API whose tokenizer and hidden text we do not know."""

    def __init__(self, factor=1.3, hidden=5000, per_item=7):
        self.factor, self.hidden, self.per_item = factor, hidden, per_item

    def tokens(self, body):
        texts = [json.dumps(body.get("tools", []))]
        for message in body["messages"]:
            texts.append(message.get("content") or "")
            for call in message.get("tool_calls", ()):
                texts += [call["function"]["name"], call["function"]["arguments"]]
        return round(
            self.hidden + self.factor * sum(map(len, texts)) + self.per_item * len(body["messages"])
        )

    def answer(self, body, text="ok", calls=()):
        own = len(text) + sum(len(call.name) + len(json.dumps(call.arguments)) for call in calls)
        message = {"role": "assistant", "content": text}
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.tool_call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in calls
            ]
        usage = {
            "prompt_tokens": self.tokens(body),
            "completion_tokens": round(self.factor * own + self.per_item),
        }
        return {"choices": [{"message": message}], "usage": usage}


async def run_turn(keep, provider, *, calls=3, size=200, session_id="s"):
    """A turn of some model calls; gives for each the report and what the provider then said."""
    seen = []
    async with keep.turn(session_id) as turn:
        await turn.add(Message(role="user", content="please " * 5))
        for number in range(calls + 1):
            request = await turn.request(instructions="Be brief.", tools=[TOOL], model_id="m")
            body = request.to_openai_chat()
            seen.append((request.report(), provider.tokens(body)))
            call = ToolCall(tool_call_id=f"c{number}", name="look", arguments={"at": number})
            step = await turn.add_response(
                provider.answer(body, calls=[call] if number < calls else ())
            )
            for each in step.tool_calls:
                await turn.add_result(each, f"{number} " * (size + 37 * number % 90))
    return seen


async def test_the_first_request_is_a_guess_and_the_next_are_anchored():
    """The report holds what no log does: 5,000 hidden tokens."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep:
        seen = await run_turn(keep, Provider(), calls=8)
    first, said = seen[0]
    assert not first.anchored
    assert abs(first.expected - said) > 4000
    for report, said in seen[1:]:
        assert report.anchored
        assert said <= report.expected + report.margin
    report, said = seen[-1]
    assert report.expected == pytest.approx(said, rel=0.02)


async def test_what_was_learned_goes_on_in_the_next_program():
    """By the session's head: anchor and correction; another session begins with the prior."""
    store, provider = MemoryStore(), Provider()
    async with Keeper(store=store, counter=Letters()) as keep:
        await run_turn(keep, provider, calls=12)
    async with Keeper(store=store, counter=Letters()) as keep:
        report, said = (await run_turn(keep, provider, calls=0))[0]
        assert report.anchored
        assert report.expected == pytest.approx(said, rel=0.01)
        assert said <= report.expected + report.margin


async def test_after_a_crash_the_log_still_knows_the_report():
    """The turn that noted it died; the usage stands with its event."""
    store, provider = MemoryStore(), Provider()
    async with Keeper(store=store, counter=Letters(), turn_timeout=0.05) as keep:
        turn = await keep.turn("s").__aenter__()
        await turn.add(Message(role="user", content="Hi"))
        body = (await turn.request(model_id="m")).to_openai_chat()
        await turn.add_response(provider.answer(body, calls=[ToolCall(tool_call_id="c", name="t")]))
        turn._lease._stop_pulse()
        while True:
            async with keep.turn("s", on_conflict="wait") as after:
                await after.add(Message(role="user", content="Again"))
                request = await after.request(model_id="m")
                report = request.report()
                break
        said = provider.tokens(request.to_openai_chat())
        assert report.anchored
        assert report.expected == pytest.approx(said, rel=0.02)


async def test_without_learning_reports_still_anchor():
    """`learn=False` keeps nothing about models, in no head and no file."""
    store = MemoryStore()
    async with Keeper(store=store, counter=Letters(), learn=False) as keep:
        seen = await run_turn(keep, Provider(factor=1.0, per_item=5), calls=2)
        assert seen[-1][0].anchored
        notes = Meta.of(await keep.sessions.head("s")).tokens
        assert set(notes) == {"anchor", "mark", "base"}


async def test_another_model_does_not_take_the_anchor():
    """Its tokenizer and hidden text are others."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep:
        await run_turn(keep, Provider())
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Hi"))
            assert not (await turn.request(model_id="other")).report().anchored
            assert (await turn.request(model_id="m")).report().anchored


async def test_other_tools_change_what_is_expected():
    """The part that every request begins with is counted, too."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep:
        await run_turn(keep, Provider())
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Hi"))
            few = (
                await turn.request(instructions="Be brief.", tools=[TOOL], model_id="m")
            ).report()
            long = {**TOOL, "name": "more", "description": "x" * 1000}
            more = (
                await turn.request(instructions="Be brief.", tools=[TOOL, long], model_id="m")
            ).report()
            assert more.expected > few.expected + 900


async def test_a_cut_answer_anchors_without_itself():
    """What was cut off is left out of requests, and so of their size."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        body = (await turn.request(model_id="m")).to_openai_chat()
        answer = Provider().answer(body, text="x" * 3000)
        await turn.add_response(answer, partial=True)
        report = (await turn.request(model_id="m")).report()
        assert report.anchored
        assert report.expected == pytest.approx(answer["usage"]["prompt_tokens"], abs=60)


async def test_a_rewind_goes_back_to_the_report_of_then():
    """Notes about a context that is no more are void."""
    store, provider = MemoryStore(), Provider()
    async with Keeper(store=store, counter=Letters()) as keep:
        await run_turn(keep, provider, calls=1)
        seq = (await keep.sessions.head("s")).seq
        await run_turn(keep, provider, calls=5)
        await keep.sessions.rewind("s", seq)
        assert "mark" not in Meta.of(await keep.sessions.head("s")).tokens
        report, said = (await run_turn(keep, provider, calls=0))[0]
        assert report.anchored
        assert report.expected == pytest.approx(said, rel=0.02)


async def test_a_call_counts_only_what_is_new():
    """However long the session is, and also in a program that goes on with it."""
    store, provider = MemoryStore(), Provider()
    counter = Letters()
    async with Keeper(store=store, counter=counter) as keep:
        await run_turn(keep, provider, calls=100)
        before = counter.asked
        await run_turn(keep, provider, calls=1)
        assert counter.asked - before <= 12
    counter = Letters()
    async with Keeper(store=store, counter=counter) as keep:
        await run_turn(keep, provider, calls=1)
        assert counter.asked <= 20


@given(logs(), st.integers(0, 20), st.sampled_from(["openai-chat", "anthropic"]))
def test_a_running_total_equals_a_fresh_count(items, cut, profile):
    """Over turns and restarts, whatever the log holds."""
    import asyncio

    async def body():
        store = MemoryStore()
        first, rest = items[:cut], items[cut:]
        for part in (first, rest):
            async with (
                Keeper(store=store, counter=Letters(), on_pending="reject") as keep,
                keep.turn("s") as turn,
            ):
                for item in part:
                    await turn.add(item)
                    await_report = await turn.request(tools=[TOOL])
                    await_report.report(profile)
        async with Keeper(store=store, counter=Letters()) as keep, keep.turn("s") as turn:
            running = (await turn.request(tools=[TOOL])).report(profile)
            fresh = PreparedRequest.of_items(
                list(turn.context.items), tools=[TOOL], session_id="s", counter=Memo(Letters())
            ).report(profile)
            assert (running.tokens, running.overhead) == (fresh.tokens, fresh.overhead)
            assert running.repairs == fresh.repairs

    asyncio.run(body())


async def test_an_item_taken_back_is_not_counted():
    """The total is counted anew from what stands."""
    store = MemoryStore()
    async with Keeper(store=store, counter=Letters()) as keep:
        await run_turn(keep, Provider(), calls=2)
        await keep.sessions.retract("s", Ref(1, 0))
        async with keep.turn("s") as turn:
            request = await turn.request(model_id="m")
            fresh = PreparedRequest.of_items(
                list(turn.context.items), model_id="m", session_id="s", counter=Letters()
            )
            assert request.report().tokens == fresh.report().tokens


async def test_an_old_request_keeps_its_size():
    """What is added later does not change it."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        old = await turn.request()
        await turn.add(Message(role="user", content="More"))
        (await turn.request()).report()
        assert [message["content"] for message in old.to_openai_chat()["messages"]] == ["Hi"]
        assert old.report().tokens < (await turn.request()).report().tokens


async def test_a_rewritten_context_is_sized_by_its_change():
    """What the last report held beside our count is still there after a checkpoint."""
    from turnkeep.context import Context
    from turnkeep.events import Checkpoint, Event, Placed
    from turnkeep.sizing import Counted, Sizing
    from turnkeep.tokens.learned import Learned

    sizing = Sizing(Letters(), Learned())
    said = Message(role="user", content="x" * 10_000)
    context = Context([Event(content=[said]).stored_as(1)])
    usage = Usage(input_tokens=17_000, output_tokens=50)
    answer = [Message(role="assistant", content="y" * 50)]
    counted = Counted(10_004, 0, "way")
    sizing.reported(
        usage, context=context, answer=answer, seq=2, upto=1, model="m", counted=counted
    )
    kept = Checkpoint(contents=[Placed(seq=1, index=0, item=Message(role="user", content="short"))])
    for notes in (None, sizing.notes()):
        after = Context([kept.stored_as(3)], base=3)
        if notes is not None:  # in the next program
            sizing = Sizing(Letters(), Learned())
            sizing.resume(after, notes)
        size = sizing.size(after, model="m", counted=Counted(9, 0, "way"))
        assert size.anchored
        assert size.expected == pytest.approx(17_000 - 1.05 * 9_995, rel=0.01)
        assert size.margin < 2_500


async def turn_of(keep, provider, text="Hi"):
    """A turn of one answer; gives its first report."""
    async with keep.turn("s") as turn:
        await turn.add(Message(role="user", content=text))
        request = await turn.request(model_id="m")
        body = request.to_openai_chat()
        await turn.add_response(provider.answer(body))
        return request.report()


@pytest.mark.parametrize(
    "notes",
    [
        [1],
        "x",
        7,
        {"anchor": ["m", 1, 2, 10**400, 5, None, 0]},
        {"anchor": ["m", 1, 2, 1e308, 5, None, 0]},
        {"anchor": ["m", True, 2, 3, 5, ["x"], 0]},
        {"models": {"m|letters": {"weights": [10**400, 1, 1]}}},
        {"models": {"m|letters": {**Correction().dump(), "scale": 1e308}}},
        {"models": [1], "mark": [1, 2], "base": "x"},
        {"mark": ["1|openai-chat|letters|m|", 1, 1, [-5, -5, -5]], "base": 0},
        {"deep": [[[[]]]] * 3},
    ],
)
async def test_odd_notes_break_no_turn(notes):
    """Of another version, or by another hand: they are begun anew."""
    store = MemoryStore()
    async with Keeper(store=store, counter=Letters()) as keep:
        await turn_of(keep, Provider())
        head = await keep.sessions.head("s")
        meta = json.dumps({"tokens": notes}).encode()
        await store.append("s", [], expected=head.revision, commit_id=b"x", meta=meta)
        report = await turn_of(keep, Provider())
        assert 0 <= report.expected < 10**7
        assert 0 <= report.margin < 10**7
        assert isinstance(Meta.of(await keep.sessions.head("s")).tokens, dict)


async def test_a_report_out_of_this_world_is_not_taken():
    """And teaches nothing."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        body = (await turn.request(model_id="m")).to_openai_chat()
        answer = Provider().answer(body)
        answer["usage"]["prompt_tokens"] = 10**15
        await turn.add_response(answer)
        assert not (await turn.request(model_id="m")).report().anchored


async def test_a_counter_that_fails_costs_no_answer():
    """It was paid for: it is stored, whatever counting does."""

    class Failing(Letters):
        fails = False

        def count_texts(self, texts):
            if self.fails:
                raise OSError("gone")
            return super().count_texts(texts)

    counter = Failing()
    async with Keeper(store=MemoryStore(), counter=counter) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="hello"))
        body = (await turn.request(model_id="m")).to_openai_chat()
        counter.fails = True
        step = await turn.add_response(Provider().answer(body, text="hello"))
        assert step.event.seq == 2
        assert (await keep.sessions.get("s")).events[1].usage is not None


async def test_another_way_of_counting_has_a_correction_of_its_own():
    """Its factor would be wrong by as much as the counts differ."""

    class Double(Letters):
        name = "double"

        def count_texts(self, texts):
            return [2 * len(text) for text in texts]

    store, provider = MemoryStore(), Provider()
    async with Keeper(store=store, counter=Double()) as keep:
        await run_turn(keep, provider, calls=30)
    async with Keeper(store=store, counter=Letters()) as keep:
        seen = await run_turn(keep, provider, calls=15)
    report, said = seen[0]  # anchored in what the provider said, whatever counted then
    assert report.anchored
    assert report.expected == pytest.approx(said, rel=0.05)
    for report, said in seen[5:]:
        assert said <= report.expected + report.margin
        assert report.expected == pytest.approx(said, rel=0.05)


async def test_an_answer_that_was_not_stored_anchors_nothing():
    """The item that takes its place in the log is counted."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        body = (await turn.request(model_id="m")).to_openai_chat()
        bad = Provider().answer(body, calls=[ToolCall(tool_call_id="c", name="t")])
        bad["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = '{"x": 1e999}'
        with pytest.raises(ContentError):
            await turn.add_response(bad)
        await turn.add(Message(role="user", content="x" * 30_000))
        report = (await turn.request(model_id="m")).report()
        assert not report.anchored
        assert report.expected > 30_000


async def test_what_comes_between_request_and_answer_is_counted():
    """A message that steers the model while it streams was not in the reported request."""
    provider = Provider()
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        body = (await turn.request(model_id="m")).to_openai_chat()
        await turn.add(Message(role="user", content="steer " * 2000))
        call = ToolCall(tool_call_id="c", name="t")
        step = await turn.add_response(provider.answer(body, calls=[call]))
        await turn.add_result(step.tool_calls[0], "ok")
        request = await turn.request(model_id="m")
        report, said = request.report(), provider.tokens(request.to_openai_chat())
        assert report.expected == pytest.approx(said, rel=0.3)
        assert report.expected > 12_000


async def test_after_a_retraction_what_was_reported_with_it_does_not_count():
    """The request is a guess again, not one of the size of then."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep:
        await turn_of(keep, Provider(), text="x" * 20_000)
        await keep.sessions.retract("s", Ref(1, 0))
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Hi"))
            report = (await turn.request(model_id="m")).report()
            assert not report.anchored
            assert report.expected < 1000


async def test_a_request_of_a_context_that_is_no_more_touches_no_other():
    """A turn that is entered again has another context; old requests are of the old one."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep:
        turn = keep.turn("s")
        async with turn:
            for text in ("old question", "old 2", "old 3"):
                await turn.add(Message(role="user", content=text))
            old = await turn.request(model_id="m")
        await keep.sessions.rewind("s", 0)
        async with turn:
            for text in ("new question", "new 2", "new 3", "new 4"):
                await turn.add(Message(role="user", content=text))
            new = await turn.request(model_id="m")
            old.report()
            sent = [message["content"] for message in new.to_openai_chat()["messages"]]
        assert sent == ["new question", "new 2", "new 3", "new 4"]


async def test_a_request_keeps_the_size_that_it_had():
    """Asked for after its answer has come, too."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        request = await turn.request(model_id="m")
        before = request.report()
        await turn.add_response(Provider().answer(request.to_openai_chat()))
        assert request.report() == before


async def test_without_further_reports_a_call_still_looks_only_at_what_is_new(monkeypatch):
    """A provider that stops to report, or a stream that does not."""
    from turnkeep.context import Context

    looked = []
    since = Context.since

    def counting(self, place):
        found = since(self, place)
        looked.append(len(found))
        return found

    monkeypatch.setattr(Context, "since", counting)
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        body = (await turn.request(model_id="m")).to_openai_chat()
        await turn.add_response(Provider().answer(body))
        for number in range(60):
            await turn.add(Message(role="user", content=f"and {number} " * 20))
            (await turn.request(model_id="m")).report()
            await turn.add_response(f"ok {number} " * 20)
    assert max(looked) <= 3


async def test_ever_new_tools_leave_no_ever_new_tallies():
    """What is remembered of a session is bounded."""
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        for number in range(20):
            request = await turn.request(tools=[{**TOOL, "name": f"t{number}"}], model_id="m")
            request.report()
        assert len(turn._weighing._tallies) <= 4
        for number in range(30):
            (await turn.request(model_id=f"m{number}")).report()
        assert "models" not in turn._weighing.notes()


@pytest.mark.parametrize("stays", [True, False])
async def test_whether_thinking_stays_in_the_context_is_learned(stays):
    """Both are reported as output; one provider sends it again, another does not."""
    provider = Provider(factor=1.0)
    thought = 0
    async with Keeper(store=MemoryStore(), counter=Letters()) as keep, keep.turn("s") as turn:
        await turn.add(Message(role="user", content="Hi"))
        missed = []
        for number in range(30):
            request = await turn.request(model_id="m")
            body = request.to_openai_chat()
            call = ToolCall(tool_call_id=f"c{number}", name="look", arguments={"at": number})
            answer = provider.answer(body, calls=[call])
            answer["usage"]["prompt_tokens"] += thought if stays else 0
            missed.append(request.report().expected - answer["usage"]["prompt_tokens"])
            answer["usage"]["completion_tokens"] += 2000
            thought += 2000
            step = await turn.add_response(answer)
            await turn.add_result(step.tool_calls[0], "x" * 500)
        assert all(abs(miss) < 150 for miss in missed[10:])
