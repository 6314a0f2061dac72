"""Summaries as they should be: incremental, in form, bounded, in chunks, and counted."""

import itertools
import json

import pytest

from turnkeep import Message
from turnkeep.formats import PROFILE_NAMES
from turnkeep.model import ModelLimits
from turnkeep.optimize.recall import answer, log_entries
from turnkeep.optimize.reference import references
from turnkeep.replay.extractive import HEADINGS as EXTRACTED
from turnkeep.replay.extractive import ExtractiveModel
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep_memory_summarize.prompt import HEADINGS


class Recorded(ExtractiveModel):
    """The extractive model; it keeps what it was sent."""

    def __init__(self, **fields):
        super().__init__(**fields)
        self.requests = []
        self.settings = []

    async def generate(self, request, settings):
        self.requests.append(request.to("openai-chat"))
        self.settings.append(settings)
        return await super().generate(request, settings)


def test_the_extractive_model_knows_the_headings():
    """Those that it writes unasked are ours."""
    assert EXTRACTED == HEADINGS


async def test_what_stands_in_place(play, summary):
    """A header that says what it is, the summary, and the index, all of which can be read back."""
    game = play(summary(decisions="Use regex."))
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await game.go_on(turn, 400, until=1)
        text = game.cover
        assert text.startswith("[Earlier steps were taken out of this context; the log keeps them.")
        assert "a record, no instructions" in text
        assert "## Decisions\n- Use regex." in text
        assert (
            "Steps that were taken out, oldest first:\n#2.1 read_file src/pkg/parser_1.py" in text
        )
        entries = log_entries((await keep.sessions.get("s")).events)
        for ref in references(text):
            asked = {"ref": f"#{ref.seq}.{ref.index}"}
            found = await answer(asked, entries, cap=1_000, count=EstimateCounter().count_texts)
            assert not found.failed
    notes = game.step_report["notes"]
    assert notes["model"] == "scripted"
    assert notes["way"] == "own prompt"
    assert (notes["calls"], notes["chunks"], notes["in_the_index_only"]) == (1, 1, 0)


async def test_three_successive_summaries_read_nothing_twice(play, asked_for):
    """The inputs are disjoint; each holds the summary before it, word for word."""
    model = Recorded()
    game = play(model)
    await game.rewrites(4)
    asked = [asked_for(body) for body in model.requests]
    assert len(asked) == 4
    for one, other in itertools.combinations(asked, 2):
        assert not set(one[0]) & set(other[0])
    assert all(len(set(refs)) == len(refs) > 5 for refs, _, _ in asked)
    previous = [
        [each["text"] for each in lines if each["from"] == "summary"] for _, lines, _ in asked
    ]
    assert previous[0] == []
    assert all(len(texts) == 1 and texts[0].startswith("## Goal") for texts in previous[1:])
    # Together they have read all that was taken out, and nothing of what was kept.
    every = [ref for refs, _, _ in asked for ref in refs]
    order = [tuple(map(int, ref[1:].split("."))) for ref in every]
    assert order == sorted(order)


async def test_the_oldest_are_not_left_out(play, asked_for):
    """It begins at the beginning, and goes on where the summary before it ends."""
    model = Recorded()
    game = play(model)
    await game.rewrites(2)
    first, second = (asked_for(body)[0] for body in model.requests)
    assert first[0] == "#2.0"
    assert int(second[0][1:].split(".")[0]) == int(first[-1][1:].split(".")[0]) + 1


async def test_chunks(play, asked_for):
    """Oldest first, each with the summary so far; all of it is read, once."""
    model = Recorded(limits=ModelLimits(context_window=1_800))
    game = play(model)
    await game.rewrites()
    notes = game.step_report["notes"]
    assert notes["chunks"] == notes["calls"] == len(model.requests) > 2
    asked = [asked_for(body) for body in model.requests]
    refs = [ref for refs, _, _ in asked for ref in refs]
    assert refs[0] == "#2.0"
    assert len(set(refs)) == len(refs)
    assert [sum(each["from"] == "summary" for each in lines) for _, lines, _ in asked] == [
        0, *[1] * (len(asked) - 1),
    ]  # fmt: skip
    count = EstimateCounter().count_texts
    for body, settings in zip(model.requests, model.settings, strict=True):
        assert count([body["messages"][-1]["content"]])[0] + settings.max_output <= 1_800
    assert game.step_report["notes"]["in_the_index_only"] == 0


async def test_an_item_larger_than_a_chunk(play, asked_for):
    """Its two ends are read, and between them it is said how much was left out."""
    model = Recorded(limits=ModelLimits(context_window=1_800))
    game = play(model, rules={"max_tokens": 9_000})
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        huge = "FIRST words.\n" + "Some line of a long file.\n" * 600 + "LAST words."
        await game.go_on(turn, 1, text=huge)
        await game.go_on(turn, 400, until=1)
    [line] = [
        each
        for body in model.requests
        for each in asked_for(body)[1]
        if "FIRST words" in each.get("text", "") and each["from"] == "tool"
    ]
    assert line["text"].endswith("LAST words.")
    assert "characters left out: #3.0]" in line["text"]


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_every_form_of_request(play, profile):
    """A long session with many rewrites, each request valid and within the limit (see `go_on`)."""
    game = play(ExtractiveModel(), profile=profile)
    await game.rewrites(6)
    assert not any("problem" in step for report in game.reports for step in report["steps"])


async def test_usage_and_cost_stand_in_the_checkpoint(play, summary, answered):
    """Beside the conversation's own."""
    game = play(answered(summary()))
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await game.go_on(turn, 400, until=1)
        [checkpoint] = await game.checkpoints()
    assert (checkpoint.usage.input_tokens, checkpoint.usage.output_tokens) == (1_000, 100)
    assert game.step_report["cost"] == 0.25


async def test_headings_are_put_in_form(play, summary):
    """As models write them; what stands before the first is left out."""
    said = summary(decisions="Use regex.")
    for place, heading in enumerate(HEADINGS):
        said = said.replace(
            f"## {heading}",
            [f"**{heading}:**", f"# {heading.upper()}", f"{place}. {heading}"][place % 3],
        )
    game = play(f"```markdown\nHere is the summary:\n\n{said}\n```")
    await game.rewrites()
    assert "\n\n## Goal\n- Fix E4021.\n## Decisions\n- Use regex.\n## Artifacts" in game.cover
    assert "Here is" not in game.cover


async def test_references_that_a_model_made_up(play, summary):
    """They lose their sign, and so read nothing back; those that it was shown stay."""
    game = play(summary(decisions="See #2.1 and #999.0, ##998.1 too."))
    await game.rewrites()
    assert "- See #2.1 and 999.0, 998.1 too." in game.cover


async def test_the_conversations_language(play, summary):
    """Chinese with the names of files in it is Chinese, and so may the summary be."""
    text = (
        "## Goal\n- 用户想要修复解析器中的错误,并且不能修改任何测试文件。请记住这一点很重要。\n"
        + "\n".join(
            f"## {heading}\n- 解析器 src/pkg/parser_1.py 已经修复,测试 tests/test_parser.py 全部通过。"
            for heading in HEADINGS[1:]
        )
    )
    game = play(text)
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn, "请修复 src/pkg/parser.py 中的错误 E4021,不要修改测试文件。" * 4)
        await game.go_on(turn, 400, until=1)
    assert "problem" not in game.step_report
    assert "解析器" in game.cover


async def test_nothing_is_asked_for_a_small_gain(play, summary):
    """Where the steps before it have done nearly all, no model is asked."""
    game = play(options={"least": 0.9})
    game.rules["trigger"] = 0.5
    async with game.opened() as keep, keep.turn("s") as turn:
        from dataclasses import replace

        plan = game.step.plan
        game.step.plan = lambda view: plan(replace(view, trigger=view.limit))
        await game.begin(turn)
        await game.go_on(turn, 12)
    assert game.model.requests == []


async def test_pinned_items_and_the_first_message_stay(play, summary):
    """They stand beside the summary, and it is not asked to hold them."""
    game = play(ExtractiveModel())
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.begin(turn)
        await game.go_on(turn, 2)
        await turn.add(Message(role="user", content="Remember: 4711.", pinned=True))
        await game.go_on(turn, 400, until=3)
    said = [item.content for item in game.request.items if getattr(item, "role", "") == "user"]
    assert said[0].startswith("Read all of src/pkg")
    assert "Remember: 4711." in said


async def test_an_index_of_another_step_is_taken_over(play):
    """Who changes from `notes` to this step keeps the references that stood there."""
    from turnkeep import Keeper
    from turnkeep.optimize.notes import Notes, NotesOptions

    game = play(ExtractiveModel())
    async with (
        Keeper(
            store=game.store, context=game.rules, optimizers=[Notes(NotesOptions())], learn=False
        ) as keep,
        keep.turn("s") as turn,
    ):
        await game.begin(turn)
        await game.go_on(turn, 400, until=1)
        before = references(game.cover)
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.go_on(turn, 400, until=2)
    assert "## Goal" in game.cover
    assert set(before) & set(references(game.cover))


async def test_the_same_answers_give_the_same_context(play):
    """To the byte."""
    texts = []
    for _ in range(2):
        game = play(ExtractiveModel())
        await game.rewrites(3)
        texts.append([json.dumps(item.model_dump()) for item in game.request.items])
    assert texts[0] == texts[1]
