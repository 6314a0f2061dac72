"""Contents that are hard to fit: pictures, huge texts, what is no JSON, and templates that reach too far."""

import sys
from pathlib import Path

import pytest

from turnkeep import (
    ContentError,
    ImagePart,
    Message,
    Opaque,
    TextPart,
    ToolResult,
)
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.formats.profile import render_context
from turnkeep.optimize.compact import fill
from turnkeep.optimize.plan import Plan, Replace
from turnkeep.optimize.view import groups_of
from turnkeep.testing.optimizers.bench import Bench, prepared
from turnkeep.testing.optimizers.scenes import Scene, numbered

sys.path.insert(0, str(Path(__file__).parent))
from limited_sessions import (  # a folder put on the path above
    LONG,
    PICTURE,
    asked,
    call,
    keeper,
    result,
    steps,
    user,
)


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


async def test_a_rule_is_filled_from_the_call_that_a_result_answers():
    """Of parallel calls with one id that is the latest one still open, as recall pairs them."""
    calls = [call(0, path=path) for path in ("a.py", "b.py")]
    log = [user(), *calls, result(0, f"of b {LONG}"), result(0, f"of a {LONG}"), *steps(6)[1:]]
    compact = {"keep_recent": 1, "rules": {"read_file": "Was {path}."}}
    request, _ = await asked(log, limit=8_000, pipeline=["compact"], compact=compact)
    told = [item.content[0] for item in request.items if isinstance(item, ToolResult)]
    assert [text.partition(".py")[0] for text in told[:2]] == ["Was b", "Was a"]


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


async def test_parts_of_text_and_picture_keep_their_text_as_it_fits():
    """Of a message with both, the words stay and the picture is named."""
    picture = ImagePart(data=PICTURE, media_type="image/png")
    seen = Message(role="user", content=[TextPart(text="The red one."), picture])
    items = [seen, Message(role="assistant", content="Yes."), user("Go on.")]
    request, _ = await asked(items, limit=300, optimizers=[])
    assert "The red one." in str(request.items[0].content)
    assert "1 pictures or files" in str(request.items[0].content)


def _bench(profile, entries, limit):
    scene = Scene(profile, entries, entries, limit)
    return Bench(scene), scene


async def test_what_is_not_sent_is_no_beginning():
    """Another provider's own item stands first after `fit`: a text stands in for what went."""
    said = [Message(role="user", content="hi"), Message(role="assistant", content="hi")]
    foreign = Opaque(provider="anthropic", kind="search_result", data={}, role="user")
    items = [*said * 3, said[0], foreign, said[1], said[0]]
    entries = numbered(items)
    bench, scene = _bench("openai-chat", entries, 1)
    for limit in range(bench.floor(), bench.ask.tokens):
        rewrite = await Bench(scene._replace(limit=limit)).rewrite()
        kept = scene.items if rewrite is None else [each.item for each in rewrite.entries]
        assert prepared(kept).report("openai-chat").repairs == []


async def test_a_result_without_a_call_is_no_beginning():
    """Repair leaves it out, so it keeps nothing from being taken out before it."""
    orphan = ToolResult(tool_call_id="a", name="read_file", content=[])
    hi = Message(role="user", content="hi")
    entries = numbered([Message(role="user", content="Earlier steps: #1.0"), orphan, hi])
    entries[0] = entries[0]._replace(form="cover")
    bench, scene = _bench("openai-chat", entries, 1)
    rewrite = await Bench(scene._replace(limit=bench.floor())).rewrite()
    assert [each.item for each in rewrite.entries][-1] == hi


def test_what_the_user_says_in_a_providers_own_form_is_left_alone():
    """Audio beside the current message, or in its place, is fixed like a message."""
    audio = Opaque(provider="openai-chat", kind="input_audio", data={}, role="user")
    hi, yes = Message(role="user", content="hi"), Message(role="assistant", content="yes")
    for items, fixed in (
        ([hi, yes, audio], {0, 2}),
        ([audio, yes, hi, audio, audio], {2, 3, 4}),
        ([audio, yes, audio], {2}),
    ):
        entries = numbered(items)
        found = groups_of(entries, lambda _: 1).fixed
        assert found == {entries[place].ref for place in fixed}


async def test_an_empty_message_is_a_beginning():
    """It is sent as one that says so: what stands before it may go."""
    hi, empty = (
        Message(role="user", content="Earlier steps: #1.0"),
        Message(role="user", content=[]),
    )
    foreign = Opaque(provider="gemini", kind="fileData", data={}, role="user")
    items = [hi, empty, foreign, Message(role="assistant", content="so")]
    entries = numbered(items)
    entries[0] = entries[0]._replace(form="cover")
    bench, scene = _bench("anthropic", entries, 1)
    rewrite = await Bench(scene._replace(limit=bench.floor())).rewrite()
    assert hi not in [each.item for each in rewrite.entries]
