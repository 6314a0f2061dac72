"""What goes wrong in the life of a session with a limit, case by case, through the public API."""

import asyncio
import base64
from datetime import timedelta

import pytest

from turnkeep import (
    ContentError,
    ImagePart,
    Keeper,
    Message,
    PendingApproval,
    Reasoning,
    Ref,
    StoreUnavailable,
    TextPart,
    ToolCall,
    ToolResult,
    Usage,
)
from turnkeep.errors import ContextOverflow
from turnkeep.events import Checkpoint, utc_now
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.formats.profile import render_context
from turnkeep.optimize.compact import fill
from turnkeep.optimize.plan import Plan, Replace
from turnkeep.optimize.reference import references
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.faults import FaultyStore

LINE = "The parser reads src/pkg/parser.py and goes on with line {}.\n"
LONG = "".join(LINE.format(number) for number in range(100))
PICTURE = base64.b64encode(b"\x89PNG" + bytes(3_000)).decode()


def user(text="Go on.", **extra):
    return Message(role="user", content=text, **extra)


def call(number=1, name="read_file", **arguments):
    return ToolCall(tool_call_id=f"c{number}", name=name, arguments=arguments)


def result(number=1, *content, name="read_file", **extra):
    return ToolResult(tool_call_id=f"c{number}", name=name, content=list(content), **extra)


def keeper(limit=2_000, store=None, optimizers=None, **rules):
    context = {"max_tokens": limit, "arrival_cap": 0, "recall": False, **rules}
    return Keeper(store=store or MemoryStore(), context=context, optimizers=optimizers, learn=False)


async def asked(items, *, profile="openai-chat", limit=2_000, turn_fields=None, **rules):
    """Keep items in a new session, and ask for its next request; gives both."""
    async with keeper(limit, **rules) as keep, keep.turn("s") as turn:
        await turn.add(*items)
        request = await turn.request(profile=profile, **(turn_fields or {}))
        body = request.to(profile, cache=False)
        assert get_profile(profile).check(body) == []
        assert request.report(profile).expected <= limit
        return request, body


async def checkpoints(keep):
    return [
        event for event in (await keep.sessions.get("s")).events if isinstance(event, Checkpoint)
    ]


def steps(count, text=LONG):
    items = [user("Read all of it.")]
    for number in range(count):
        items += [call(number, path=f"src/{number}.py"), result(number, text)]
    return items


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


@pytest.mark.parametrize("profile", ["openai-chat", "anthropic", "openai-responses"])
@pytest.mark.parametrize("words", [[], ["What it shows:"]], ids=["pictures only", "with words"])
async def test_results_of_pictures_fit(profile, words):
    """A picture that does not fit gives way to a line that says so and how it is read back."""
    picture = ImagePart(data=PICTURE, media_type="image/png")
    items = [user()]
    for number in range(8):
        items += [call(number), result(number, *words, picture)]
    request, body = await asked(items, profile=profile, limit=1_500, optimizers=[])
    assert request.rewritten is not None
    assert "1 pictures or files" in str(body)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_messages_of_pictures_fit(profile):
    """Old messages of the user that are pictures alone give way, too."""
    picture = ImagePart(data=PICTURE, media_type="image/png")
    items = []
    for _ in range(8):
        items += [
            Message(role="user", content=[picture]),
            Message(role="assistant", content="I see."),
        ]
    await asked([*items, user()], profile=profile, limit=1_500, optimizers=[])


async def test_a_result_of_ten_megabytes_fits():
    """It is shortened to its ends, whatever step is asked first."""
    request, _ = await asked([user(), call(), result(1, "0123456789 abcdef\n" * 600_000)])
    assert len(request.items[-1].content[0]) < 20_000


async def test_what_is_shorter_than_its_stub_stays():
    """Small results are left alone, or go with their step."""
    request, _ = await asked(steps(60, "ok " * 3), limit=1_000)
    for item in request.items:
        assert not isinstance(item, ToolResult) or item.content == ["ok " * 3]


class Stating:
    def __init__(self, state=None, content="short #1.0"):
        self.state, self.content = state, content

    async def plan(self, view):
        entry = next(each for each in view.entries if isinstance(each.item, ToolResult))
        return Plan([Replace(entry, [self.content])], self.state)


@pytest.mark.parametrize(
    "state",
    [object(), {"a": {1, 2}}, float("nan"), "\ud800"],
    ids=["object", "set", "nan", "surrogate"],
)
async def test_a_state_that_is_not_json_discards_the_plan(state):
    """What cannot be stored is the step's fault and named in the report; the session goes on."""
    request, _ = await asked(steps(5), optimizers=[Stating(state)])
    assert "discarded" in str(request.rewritten["steps"])


@pytest.mark.parametrize(
    "content",
    [object(), "\ud800 half", float("inf"), b"bytes"],
    ids=["object", "surrogate", "infinite", "bytes"],
)
async def test_a_content_that_is_not_json_discards_the_plan(content):
    """The same for what a plan would put in an item's place."""
    request, _ = await asked(steps(5), optimizers=[Stating(content=content)])
    assert "discarded" in str(request.rewritten["steps"])


@pytest.mark.parametrize(
    "template",
    [
        "{missing}",
        "{path.__class__}",
        "{path[0]}",
        "{0}",
        "{}",
        "{path!r:>10}",
        "{path:>1000000000}",
        "{path!s}",
    ],
)
async def test_a_template_that_reaches_too_far_is_passed_over(template):
    """Only plain names of arguments are filled in; the result keeps its ends instead."""
    request, body = await asked(
        steps(12), limit=6_000, compact={"keep_recent": 1, "rules": {"read_file": template}}
    )
    assert "class" not in str(body["messages"]).replace("src", "")
    assert fill(template, {"path": "a"}) is None


@pytest.mark.parametrize("template", ["{", "}", "{path", "{path!x}", "a{b}c}"])
async def test_a_template_that_is_broken_is_no_failure(template):
    """The step goes on without it."""
    request, _ = await asked(
        steps(12), limit=6_000, compact={"keep_recent": 1, "rules": {"read_file": template}}
    )
    assert "failed" not in str(request.rewritten["steps"])


async def test_a_huge_argument_in_a_template_is_cut():
    """What an argument brings along is one short line."""
    items = [user()]
    for number in range(12):
        items += [call(number, path="x\n" * 50_000), result(number, LONG)]
    request, _ = await asked(
        items, limit=8_000, compact={"keep_recent": 1, "rules": {"read_file": "Was {path}"}}
    )
    stubs = [i for i in request.items if isinstance(i, ToolResult) and "Was x" in i.content[0]]
    assert all(len(item.content[0]) < 300 and "\n" not in item.content[0] for item in stubs)


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


async def test_half_a_surrogate_pair_is_refused_before():
    """It never gets into a session, so no rewrite meets it."""
    async with keeper() as keep, keep.turn("s") as turn:
        await turn.add(user())
        for bad in (user("\ud800"), result(1, "a\udfff")):
            with pytest.raises(ContentError):
                await turn.add(bad)
        assert turn.context.items == [user()]


async def test_a_discarded_step_leaves_the_context_whole():
    """Nothing of a plan that breaks a rule is left: what was said last is still there."""

    class Beheading:
        async def plan(self, view):
            from turnkeep.optimize.plan import Cover

            taken = [group for group in view.groups if group.coverable][:1]
            return Plan([Cover(group, group) for group in taken])

    items = [user("hi"), Message(role="assistant", content="hello"), user("Now read.")]
    items += [*steps(4)[1:], Message(role="assistant", content="So."), user("And now?")]
    request, _ = await asked(items, limit=1_000, optimizers=[Beheading()])
    assert request.items[-1] == items[-1]
    system, messages = render_context(get_profile("openai-chat"), list(request.items))
    assert get_profile("openai-chat").check({"messages": [each.body for each in messages]}) == []


async def test_a_picture_that_goes_does_not_take_the_limit_along():
    """Pictures count more with us than with the provider; what is left is reckoned anew."""
    picture = ImagePart(data=PICTURE, media_type="image/png")
    items = [user(), call(1, content=LONG[:400]), result(1, "seen", picture)]
    async with keeper(400, optimizers=[]) as keep, keep.turn("s") as turn:
        await turn.add(*items)
        request = await turn.request(profile="gemini")
        assert request.report("gemini").expected <= 400


async def test_an_item_that_weighs_nothing_can_go():
    """What the provider does not get at all is no reason for a rewrite to fail."""
    from turnkeep import Opaque

    foreign = Opaque(provider="gemini", kind="x", data={}, role="user")
    async with keeper(400, optimizers=[]) as keep, keep.turn("s") as turn:
        await turn.add(foreign, user("hi"), call(), result(1, LONG), user(LONG[:100]))
        assert (await turn.request()).report().expected <= 400


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


async def test_parts_of_text_and_picture_keep_their_text_as_it_fits():
    """Of a message with both, the words stay and the picture is named."""
    picture = ImagePart(data=PICTURE, media_type="image/png")
    seen = Message(role="user", content=[TextPart(text="The red one."), picture])
    items = [seen, Message(role="assistant", content="Yes."), user("Go on.")]
    request, _ = await asked(items, limit=300, optimizers=[])
    assert "The red one." in str(request.items[0].content)
    assert "1 pictures or files" in str(request.items[0].content)
