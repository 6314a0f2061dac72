"""What repair does to each fault, one by one."""

import pytest

from turnkeep.content import Item, Message, ToolCall, ToolResult
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.formats.profile import Profile, leading_run
from turnkeep.repair.steps import GO_ON, NO_START, StepBuilder
from turnkeep.repair.validity import repair, violations
from turnkeep.testing import histories

PROFILES = [pytest.param(get_profile(name), id=name) for name in PROFILE_NAMES]


def user(text: str = "hi") -> Message:
    return Message(role="user", content=text)


def answer(text: str) -> Message:
    return Message(role="assistant", content=text)


def call(call_id: str, name: str = "run") -> ToolCall:
    return ToolCall(tool_call_id=call_id, name=name)


def result(call_id: str, text: str = "ok", name: str = "run") -> ToolResult:
    return ToolResult(tool_call_id=call_id, name=name, content=[text])


OPENAI = get_profile("openai-chat")
ANTHROPIC = get_profile("anthropic")


def rules(log: list[Item], profile: Profile = OPENAI, **options) -> list[str]:
    return [found.rule for found in repair(log, profile, **options).repairs]


def test_an_orphaned_result_is_left_out():
    """R1: a result without a call of this step is not sent, and that is reported."""
    log = [user(), result("a"), answer("x"), result("a"), user()]
    assert repair(log, OPENAI).items == [user(), answer("x"), user()]
    assert rules(log) == ["R1", "R1"]


def test_a_second_result_is_left_out():
    """R1: a call is answered once, by its first result."""
    done = repair([user(), call("a"), result("a", "1"), result("a", "2")], OPENAI)
    assert done.items == [user(), call("a"), result("a", "1")]


def test_a_call_without_result_gets_an_error():
    """R2: an unanswered call gets a fixed error result."""
    done = repair([user(), call("a")], OPENAI)
    assert done.items[-1] == ToolResult(
        tool_call_id="a", name="run", status="error", content=["no result was recorded"]
    )
    assert [found.rule for found in done.repairs] == ["R2"]


def test_results_come_in_the_order_of_their_calls():
    """R3: results out of order, with a user message between, are gathered; nothing is reported."""
    log = [user(), call("a"), call("b"), result("b"), user("wait"), result("a")]
    done = repair(log, OPENAI)
    assert done.items == [user(), call("a"), call("b"), result("a"), result("b"), user("wait")]
    assert done.repairs == []


def test_a_late_result_does_not_change_the_past():
    """A result that comes after the next answer is left out: the call was answered as missing."""
    log = [user(), call("a"), user("go on"), answer("well"), result("a", "late")]
    texts = [item.content for item in repair(log, OPENAI).items if isinstance(item, ToolResult)]
    assert texts == [["no result was recorded"]]


def test_text_between_calls_is_moved_before_them():
    """R3: the calls of one answer stay one group, its text stands before them."""
    log = [user(), call("a"), answer("and"), call("b"), result("a"), result("b")]
    assert repair(log, ANTHROPIC).items[1:4] == [answer("and"), call("a"), call("b")]
    assert rules(log, ANTHROPIC) == ["R3"]


@pytest.mark.parametrize(
    "first", [[], [answer("x"), user()], [Message(role="system", content="s")]]
)
def test_a_request_begins_with_a_user_message(first):
    """R4: where no user message comes first, a fixed one is put in."""
    done = repair(first, OPENAI)
    assert user(NO_START) in done.items
    assert violations(done.items, OPENAI) == []


def test_a_request_that_ends_with_an_answer_goes_on():
    """R5: a fixed user message follows, in this request and where the history goes on."""
    assert repair([user(), answer("x")], OPENAI).items[-1] == user(GO_ON)
    assert rules([user(), answer("x")]) == ["R5"]
    assert rules([user(), answer("x"), user()]) == []


def test_empty_texts_are_replaced_or_left_out():
    """R6: each kind of empty text has its fixed form."""
    log = [user(" "), answer(""), call("a"), result("a", "\n"), answer(""), user()]
    texts = [getattr(item, "content", None) for item in repair(log, OPENAI).items]
    assert texts == ["(empty)", None, ["(no output)"], "(no answer)", "hi"]
    assert rules(log) == ["R6", "R6", "R6", "R6", "R6"]


def test_a_reused_id_is_renamed_with_its_result():
    """R7: later uses of an id get the next free one, and their results follow."""
    log = [user()]
    for text in ("1", "2", "3"):
        log += [call("a"), result("a", text)]
    log += [call("a__2"), result("a__2", "4")]
    found = [
        (item.tool_call_id, item.content)
        for item in repair(log, OPENAI).items
        if isinstance(item, ToolResult)
    ]
    assert found == [("a", ["1"]), ("a__2", ["2"]), ("a__3", ["3"]), ("a__2__2", ["4"])]
    assert rules(log) == ["R7", "R7", "R7"]


def test_parallel_calls_with_one_id_are_told_apart():
    """R7: a result belongs to the latest open call with its id."""
    log = [user(), call("a"), call("a"), result("a", "second"), result("a", "first")]
    found = [i.content for i in repair(log, OPENAI).items if isinstance(i, ToolResult)]
    assert found == [["first"], ["second"]]


@pytest.mark.parametrize(
    ("profile", "raw", "sent"),
    [
        (ANTHROPIC, "functions.read:0", "functions_read_0"),
        (ANTHROPIC, "", "call"),
        (OPENAI, "functions.read:0", "functions.read:0"),
        (OPENAI, "x" * 45, "x" * 40),
    ],
)
def test_ids_that_a_provider_refuses_are_replaced(profile, raw, sent):
    """R7: the id is brought into the provider's form, the same for call and result."""
    done = repair([user(), call(raw), result(raw)], profile)
    assert [item.tool_call_id for item in done.items[1:]] == [sent, sent]


def test_calls_of_undeclared_tools_are_removed():
    """R8: call and result go, and what is left is still a whole step."""
    log = [user(), call("a", "gone"), result("a", name="gone"), call("b"), result("b")]
    done = repair(log, ANTHROPIC, tools=["run"])
    assert done.items == [user(), answer("(no answer)"), user(GO_ON), call("b"), result("b")]
    assert [found.rule for found in done.repairs] == ["R8", "R6", "R5"]


def test_thinking_keeps_its_place_and_bytes():
    """R9: reasoning of the provider is replayed as it is; that of another is left out."""
    own, foreign = histories.SEALED[0], histories.SEALED[0].model_copy(update={"provider": "x"})
    log = [user(), foreign, answer("first"), own, call("a"), result("a")]
    assert repair(log, ANTHROPIC).items[1:3] == [own, answer("first")]
    assert [item.type for item in repair(log, OPENAI).items].count("reasoning") == 0


def test_interleaved_thinking_is_not_moved():
    """R9: an answer that begins with thinking keeps its order, as the provider demands."""
    one, two = histories.SEALED
    log = [user(), one, answer("a"), two, call("a"), result("a")]
    assert repair(log, ANTHROPIC).items == log


def test_later_system_messages_stay_in_place():
    """Only the leading run of system messages goes to the front."""
    system = Message(role="system", content="s")
    log = [system, user(), answer("x"), system, user()]
    assert repair(log, OPENAI).items == log
    assert len(leading_run(log)) == 1
    assert ANTHROPIC.render(log[3:])[0].body["content"][0]["text"] == "<system>\ns\n</system>"


def test_closed_steps_are_kept_by_identity():
    """The step a request was built from is the one that stays, with its rendering."""
    builder = StepBuilder(OPENAI)
    builder.feed(user())
    sent = builder.current()
    rendered = sent.messages()
    builder.feed(answer("x"))
    assert builder.closed == [sent]
    assert builder.closed[0].messages() is rendered


@pytest.mark.parametrize("profile", PROFILES)
def test_repair_takes_linear_time(profile, work):
    """Four times the history makes four times the work, also where one id is reused."""

    def play(rounds: int) -> None:
        done = repair([user()] + [call("a"), result("a")] * rounds, profile)
        profile.check(profile.payload(messages=profile.render(done.items)))

    assert work(lambda: play(1_000)) < 4.4 * work(lambda: play(250))
