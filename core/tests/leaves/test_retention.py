"""Retention: of what a call quotes, what its request still holds, and how."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.content import Message, ToolCall, ToolDefinition, ToolResult
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.prices import PriceRow
from turnkeep.replay.policies import Everything, Outgoing, TutorialWindow
from turnkeep.replay.recording import Recording
from turnkeep.replay.report import as_json
from turnkeep.replay.run import replay, total
from turnkeep.replay.terms import Terms
from turnkeep.testing.letters import Letters

ROW = PriceRow("row", write=2, read=0.1, output=5, minimum=0, step=1, lifetime=10, lookback=20)
LONG = "\n".join(f"{number} lines of src/file_{number}.py" for number in range(10_000, 10_400))


class Scripted:
    """Sends, at the last call, the given items in place of what was said."""

    label = "scripted"

    def __init__(self, *items, overflow=None):
        self.items = items
        self.overflow = overflow

    async def play(self, recording, terms):
        for number, place in enumerate(recording.calls):
            last = number == len(recording.calls) - 1
            items = self.items if last else recording.items[:place]
            overflow = self.overflow if last else None
            yield Outgoing([], terms.profile.render(items), 0, overflow=overflow)


def user(text):
    return Message(role="user", content=text)


def said(text):
    return Message(role="assistant", content=text)


def call(name="1", **arguments):
    return ToolCall(tool_call_id=name, name="look", arguments=arguments)


def result(text, name="1"):
    return ToolResult(tool_call_id=name, name="look", content=[text])


# Items 1.0 to 4.0, then an answer that quotes a path in a call and two numbers in its text.
RECORDING = Recording.of_items(
    "r",
    [
        user("Start with 11111."),
        call(x="go"),
        result(f"found src/main.py and 22222\n{LONG}"),
        said("The numbers are 11111 and 22222."),
        call("2", path="src/main.py"),
    ],
    [ToolDefinition(name="look")],
)


def terms(profile="openai-chat", price=ROW):
    return Terms(get_profile(profile), price, Letters())


async def judged(*items, profile="openai-chat", recording=RECORDING, price=ROW, **fields):
    policies = [Scripted(*items, **fields)]
    [[outcome]] = await replay([recording], policies, terms(profile, price))
    return outcome


async def figures(*items, **fields):
    found = await judged(*items, **fields)
    return found.visible, found.original, found.in_place, found.missing


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_everything_shows_every_fact(profile):
    """Three facts are quoted, one of them in arguments; all stand in original text."""
    found = await judged(*RECORDING.items[:3], profile=profile)
    assert (found.facts, found.argument_facts, found.misses) == (3, 1, 0)
    assert (found.visible, found.original, found.in_place, found.missing) == (3, 3, 3, 0)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_what_is_left_out_is_not_there(profile):
    """Without the result, its path and number are gone, and the call misses its path."""
    assert await figures(user("Start with 11111."), profile=profile) == (1, 1, 1, 1)


async def test_a_word_list_shows_facts_but_not_their_text():
    """They are visible, not original."""
    words = user("Names: src/main.py, 22222")
    assert await figures(RECORDING.items[0], words) == (3, 1, 3, 0)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_a_reference_recalls_what_its_item_holds(profile):
    """Under a stub of the result (#3.0) or an index line of its call (#2.0) facts are in place."""
    for text in ("found …, whole: #3.0", "#2.0 look go"):
        assert await figures(RECORDING.items[0], user(text), profile=profile) == (1, 1, 3, 0)


async def test_a_reference_to_another_item_recalls_nothing():
    """Nor does one to an item that is not there, to a later one, or that stands in what was said."""
    assert await figures(RECORDING.items[0], user("#1.0 #9.0 #3.1 #5.0")) == (1, 1, 1, 1)
    items = [user("about #2.0"), user("id_of_thing"), call(), result("x"), call(a="id_of_thing")]
    assert await figures(items[0], recording=Recording.of_items("r", items)) == (0, 0, 0, 1)


async def test_a_reference_is_no_number():
    """`22222` does not stand in `#22222.0`, nor in a longer token, nor a name in a path."""
    assert await figures(user("#22222.0 122222 lib/src/main.py/x a11111")) == (0, 0, 0, 1)


async def test_the_beginning_and_end_of_a_cut_result_are_original_text():
    """A stub of a few hundred characters is not, though it is the same words."""
    whole = RECORDING.items[2].content[0]
    cut = f"{whole[:2_000]}\n[… cut …]\n{whole[-2_000:]}"
    stub = f"{whole[:150]}\n[… #3.0 …]\n{whole[-100:]}"
    assert await figures(RECORDING.items[0], call(), result(cut)) == (3, 3, 3, 0)
    assert await figures(RECORDING.items[0], call(), result(stub)) == (3, 1, 3, 0)
    wanted = Recording.of_items(
        "r", [user("x"), call(), result(whole), said("file_10399.py 10399")]
    )
    assert await figures(user("x"), call(), result(cut), recording=wanted) == (1, 1, 1, 0)


async def test_a_request_that_cannot_be_sent_shows_nothing():
    """An overflow is a miss of all."""
    found = await judged(*RECORDING.items[:3], overflow="too much")
    assert (found.visible, found.in_place, found.missing, found.misses) == (0, 0, 1, 1)


async def test_a_miss_costs_a_call_and_what_it_looks_up():
    """The cached prefix is read again, and 1,500 tokens are written: by hand."""
    found = await judged(user("Start with 11111."))
    [[whole]] = await replay([RECORDING], [Everything()], terms())
    last = found.tokens_sent - whole.tokens_sent + whole.peak_tokens
    assert (found.misses, found.miss_cost) == (1, pytest.approx(0.1 * last + 2 * 1_500))
    [row] = as_json([[found]], [whole], terms())["policies"]
    assert row["all_in_cost"] == round((found.cost + found.miss_cost) / whole.cost, 4)


async def test_a_miss_without_a_cache_sends_all_again():
    """Where nothing is read from a cache, the further call costs a whole request more."""
    plain = replace(ROW, read=1, write=1)
    found = await judged(user("Start with 11111."), price=plain)
    [[before]] = await replay([RECORDING], [Everything()], terms("openai-chat", plain))
    last = found.tokens_sent - before.tokens_sent + before.peak_tokens
    assert (found.misses, found.miss_cost) == (1, last + 1_500)


async def test_shares_pool_over_sessions():
    """All facts count alike; where none is quoted there is no share."""
    idle = Recording.of_items("idle", [user("hi"), said("ho")])
    policies = [Scripted(user("Start with 11111.")), Everything()]
    played = await replay([RECORDING, idle, RECORDING], policies, terms())
    report = as_json(played, played[1], terms())
    [sums, _] = report["policies"]
    assert (sums["retention"], sums["original"], sums["in_place"], sums["regret"]) == (
        round(1 / 3, 4), round(1 / 3, 4), round(1 / 3, 4), 1.0,
    )  # fmt: skip
    assert (total(played[0]).facts, sums["facts"], sums["argument_facts"]) == (6, 6, 2)
    assert [row["retention"] for row in report["sessions"]][1] is None


WORDS = st.sampled_from(
    [
        "src/a.py",
        "src/b.py",
        "get_user_id",
        "C:\\new\\table",
        "x:\n",
        "\\n",
        '"',
        "12345",
        "#12345.0",
        "é",
        "{}",
    ]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)


@st.composite
def steps(draw):
    """A call or two with results, an answer, or a user's word."""
    kind = draw(st.sampled_from(["calls", "said", "user"]))
    if kind != "calls":
        return [draw(st.builds(said if kind == "said" else user, TEXTS))]
    names = [f"{draw(st.integers(0, 10**9))}-{number}" for number in range(draw(st.integers(1, 2)))]
    calls = [call(name, **draw(st.dictionaries(st.just("a_long_key"), TEXTS))) for name in names]
    return [*calls, *(result(draw(TEXTS), name) for name in names)]


@given(st.lists(steps(), max_size=8), st.sampled_from(PROFILE_NAMES))
def test_sending_everything_retains_everything(made, profile):
    """In any recording of which nothing has to be left out; a window sees no more than that."""
    items = [user("begin"), *(item for step in made for item in step)]
    recording = Recording.of_items("r", items, [ToolDefinition(name="look")])
    played = replay([recording], [Everything(), TutorialWindow(2)], terms(profile))
    [[whole], [window]] = asyncio.run(played)
    assert whole.facts == whole.visible == whole.original == whole.in_place
    assert whole.missing == whole.misses == 0
    assert window.facts == whole.facts >= window.visible
