"""What goes wrong in the life of a session with a limit, case by case, through the public API."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from turnkeep import (
    PendingApproval,
    Reasoning,
    Ref,
    StoreUnavailable,
    ToolResult,
    Usage,
)
from turnkeep.errors import ContextOverflow
from turnkeep.events import utc_now
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.optimize.reference import references
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore

sys.path.insert(0, str(Path(__file__).parent))
from limited_sessions import (  # a folder put on the path above
    LINE,
    LONG,
    asked,
    call,
    checkpoints,
    keeper,
    result,
    steps,
    user,
)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_the_last_step_alone_is_above_the_limit(profile):
    """A result that is larger than the limit is shortened in the newest step, and can be recalled."""
    request, body = await asked([user(), call(), result(1, LONG * 3)], profile=profile)
    assert request.rewritten["reason"] == "limit"
    assert "left out: #" in str(body)
    assert LINE.format(0) in request.items[-1].content[0]


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_ten_huge_results_at_once_fit(profile):
    """Parallel calls keep all their results, each of them shortened."""
    calls = [call(number, path=str(number)) for number in range(10)]
    request, _ = await asked(
        [user(), *calls, *[result(number, LONG) for number in range(10)]], profile=profile
    )
    kept = [item for item in request.items if isinstance(item, ToolResult)]
    assert len(kept) == 10
    assert all(references(item.content[0]) for item in kept)


async def test_instructions_and_tools_above_the_limit_overflow():
    """What nothing can shrink is named with its size, and the session goes on as it was."""
    async with keeper(300) as keep, keep.turn("s") as turn:
        await turn.add(user())
        with pytest.raises(ContextOverflow, match="instructions and tools") as caught:
            await turn.request(instructions=LONG, tools=[{"name": "look"}])
        assert caught.value.session_id == "s"
        assert caught.value.floor[0][1] > 300
        assert turn.context.items == [user()]
        await turn.request(instructions="Short.")


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_long_instructions_are_counted_once(profile):
    """A rewrite leaves room for instructions of half the limit, not for twice of them."""
    request, _ = await asked(
        steps(6), profile=profile, limit=4_000, turn_fields={"instructions": LONG[:5_000]}
    )
    report = request.rewritten
    assert report["tokens_after"] == request.report(profile).tokens


@pytest.mark.parametrize("limit", [1, 2, 10])
async def test_a_limit_below_any_request_overflows(limit):
    """However small the limit is, the error is about it."""
    async with keeper(limit) as keep, keep.turn("s") as turn:
        await turn.add(user("hello there, how are you?"))
        with pytest.raises(ContextOverflow):
            await turn.request()


async def test_all_items_pinned_overflow():
    """Pinned items are named as what cannot be made smaller."""
    items = [item.model_copy(update={"pinned": True}) for item in steps(4)]
    async with keeper(500) as keep, keep.turn("s") as turn:
        await turn.add(*items)
        with pytest.raises(ContextOverflow, match="unpin"):
            await turn.request()
        assert turn.context.items == items


@pytest.mark.parametrize("profile", PROFILE_NAMES)
@pytest.mark.parametrize(
    "tail",
    [
        [call(90), call(91), result(90, LONG)],
        [result(90, LONG)],
        [call(90), user("Never mind."), call(91), result(90, LONG), result(91, LONG)],
        [call(90), result(90, LONG), result(90, LONG)],
        [call(1), result(1, LONG), call(1), result(1, "again")],
        [call(90), call(90), result(90, LONG), result(90, "second")],
    ],
    ids=["no result", "no call", "late", "twice", "id of before", "id twice at once"],
)
async def test_broken_logs_fit(tail, profile):
    """Whatever a crash or another program left, the rewritten request is valid and fits."""
    await asked([*steps(4), *tail], profile=profile)


async def test_a_late_result_after_a_rewrite_is_left_out():
    """The call is gone from the context, so its result does not stand there without it."""
    async with keeper(optimizers=[]) as keep, keep.turn("s") as turn:
        await turn.add(*steps(3), call(90), user("Never mind."), *steps(4)[1:])
        await turn.request()
        await turn.add(result(90, "late"))
        request = await turn.request()
        body = request.to_openai_chat(cache=False)
        assert get_profile("openai-chat").check(body) == []


async def test_a_pending_approval_comes_before_any_rewrite():
    """A session over its limit that waits for a decision says so, and stores no checkpoint."""
    async with keeper() as keep, keep.turn("s") as turn:
        await turn.add(*steps(5))
        await turn.add_response([call(90, name="delete")], needs_approval={"delete"})
        with pytest.raises(PendingApproval):
            await turn.request()
        assert await checkpoints(keep) == []
        await turn.decide(turn.pending[0], approved=False)
        await turn.request()
        assert len(await checkpoints(keep)) == 1


async def rewritten_session(keep):
    async with keep.turn("s") as turn:
        await turn.add(*steps(5))
        request = await turn.request()
        assert request.rewritten is not None
        await turn.add_response("Done.")


async def test_a_fork_before_the_checkpoint_has_the_whole():
    """The copy holds what was said until then, and is rewritten on its own."""
    async with keeper() as keep:
        await rewritten_session(keep)
        [found] = await checkpoints(keep)
        await keep.sessions.fork("s", "copy", at=found.seq - 1)
        async with keep.turn("copy") as turn:
            assert turn.context.base == 0
            assert turn.context.items == steps(5)
            assert (await turn.request()).rewritten is not None


async def test_a_rewind_before_the_checkpoint_passes_it_over():
    """After it the context is the whole again, as it stood."""
    async with keeper() as keep:
        await rewritten_session(keep)
        [found] = await checkpoints(keep)
        await keep.sessions.rewind("s", found.seq - 1)
        async with keep.turn("s") as turn:
            assert turn.context.base == 0
            assert turn.context.items == steps(5)


async def test_what_is_retracted_is_gone_from_a_rewritten_context():
    """A checkpoint that may hold it does not count any more."""
    secret = "s3cret-" * 30
    async with keeper() as keep:
        async with keep.turn("s") as turn:
            await turn.add(user(secret), *steps(5))
            assert (await turn.request()).rewritten is not None
        await keep.sessions.retract("s", Ref(1, 0))
        async with keep.turn("s") as turn:
            assert "s3cret" not in str((await turn.request()).to_openai_chat())


async def test_another_model_in_the_middle_fits_too():
    """The provider changes from call to call: each request is valid in its form, and fits."""
    async with keeper() as keep, keep.turn("s") as turn:
        await turn.add(user())
        for number, profile in enumerate(PROFILE_NAMES * 2):
            request = await turn.request(profile=profile, model_id=f"some-{profile}")
            assert get_profile(profile).check(request.to(profile, cache=False)) == []
            assert request.report(profile).expected <= 2_000
            await turn.add_response(
                [
                    Reasoning(provider=profile, data={"type": "thinking", "thinking": "so"}),
                    call(number, path=str(number)),
                ]
            )
            await turn.add(result(number, LONG[:3_000]))


async def test_other_tools_in_the_middle_fit_too():
    """A tool that is declared no more takes its calls along, a new one is counted."""
    big = {"name": "new", "description": LONG[:3_000]}
    async with keeper() as keep, keep.turn("s") as turn:
        await turn.add(*steps(5))
        await turn.request(tools=[{"name": "read_file"}])
        request = await turn.request(tools=[big])
        body = request.to_openai_chat(cache=False)
        assert get_profile("openai-chat").check(body) == []
        assert request.report().expected <= 2_000


@pytest.mark.parametrize("fault", ["refuse", "lose answer", "cancel before", "cancel after"])
async def test_a_checkpoint_whose_append_fails_is_there_once_or_not_at_all(fault):
    """The next request, in this turn or another, is rewritten once and fits."""
    store = FaultyStore(MemoryStore())
    async with keeper(store=store) as keep:
        try:
            async with keep.turn("s") as turn:
                await turn.add(*steps(5))
                store.plan = [fault]
                try:
                    await turn.request()
                except (StoreUnavailable, asyncio.CancelledError):
                    await turn.request()
        except asyncio.CancelledError:
            pass
        async with keep.turn("s") as turn:
            request = await turn.request()
            assert request.report().tokens <= 2_000
        assert len(await checkpoints(keep)) == 1


async def test_a_checkpoint_whose_append_hangs_can_be_cancelled():
    """A program that gives up waiting finds the old context or the new one."""
    store = FaultyStore(MemoryStore())
    async with keeper(store=store) as keep:
        with pytest.raises(asyncio.CancelledError):
            async with keep.turn("s") as turn:
                await turn.add(*steps(5))
                store.plan = ["hang"]
                asking = asyncio.create_task(turn.request())
                while store.appends < 2:
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.sleep(0)
                store.release.set()
                await asking
        async with keep.turn("s") as turn:
            assert (await turn.request()).report().tokens <= 2_000
        assert len(await checkpoints(keep)) == 1


async def test_a_clock_that_is_set_back_rewrites_nothing():
    """Idle time is never negative, and a jump back is no pause."""
    now = utc_now()
    store = MemoryStore(clock=lambda: now)
    async with keeper(4_000, store=store) as keep:
        async with keep.turn("s") as turn:
            await turn.add(*steps(1))
            assert (await turn.request()).rewritten is None
            await turn.add_response("So.")
        now -= timedelta(days=1)
        async with keep.turn("s") as turn:
            await turn.add(user())
            assert (await turn.request()).rewritten is None


@pytest.mark.parametrize("tokens", [None, 0, 1, 10**9])
async def test_an_absurd_report_of_tokens_never_makes_a_request_impossible(tokens):
    """What a provider reports may be missing or nonsense; the next requests fit by our counts."""
    async with keeper(4_000) as keep, keep.turn("s") as turn:
        await turn.add(user())
        for number in range(4):
            request = await turn.request()
            assert request.report().tokens <= 8_000
            usage = None if tokens is None else Usage(input_tokens=tokens)
            await turn.add_response(openai(call(number, path="a"), usage))
            await turn.add(result(number, LONG))


def openai(asked_for, usage):
    function = {"name": asked_for.name, "arguments": '{"path":"a"}'}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": asked_for.tool_call_id, "type": "function", "function": function}],
    }
    body = {"choices": [{"finish_reason": "tool_calls", "message": message}]}
    if usage is not None:
        body["usage"] = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": 5,
            "total_tokens": usage.input_tokens + 5,
        }
    return body


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_an_empty_history_is_a_request(profile):
    """Nothing was said yet, and nothing is rewritten."""
    async with keeper() as keep, keep.turn("s") as turn:
        request = await turn.request(profile=profile)
        assert request.rewritten is None
        assert get_profile(profile).check(request.to(profile)) == []


async def test_what_was_recalled_is_not_stubbed_again_at_once():
    """Reading back and shortening do not chase each other: the newest answer stays readable."""
    async with keeper(3_000, recall=True, arrival_cap=800) as keep, keep.turn("s") as turn:
        await turn.add(*steps(8))
        recalls = rewrites = 0
        for number in range(100, 112):
            request = await turn.request(tools=[{"name": "read_file"}])
            rewrites += request.rewritten is not None
            await turn.add_response([call(number, name="recall", ref="#3.0")])
            request = await turn.request(tools=[{"name": "read_file"}])
            rewrites += request.rewritten is not None
            last = request.items[-1]
            assert isinstance(last, ToolResult)
            recalls += LINE.format(0) in last.content[0]
        assert recalls == 12
        assert rewrites <= 14


async def test_what_is_known_of_the_old_context_is_not_noted_for_the_new_one():
    """A turn that ends right behind a checkpoint leaves no counts of what stood before it."""
    store = FaultyStore(MemoryStore())
    async with keeper(store=store, optimizers=[]) as keep:
        with pytest.raises(asyncio.CancelledError):
            async with keep.turn("s") as turn:
                await turn.add(*steps(5))
                store.plan = ["cancel after"]
                await turn.request()
        async with keep.turn("s") as turn:
            assert turn.context.base
            assert (await turn.request()).report().tokens <= 2_000
