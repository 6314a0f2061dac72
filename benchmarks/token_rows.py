"""Recorded sessions with what providers reported, played as a turn would go through them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from turnkeep.content import Item, Usage
from turnkeep.context import Context
from turnkeep.events import Checkpoint, Event, Placed, author_of
from turnkeep.formats.jsonl import SessionFile
from turnkeep.formats.openai_chat import PROFILE
from turnkeep.prepared import PreparedRequest
from turnkeep.sizing import texts_of
from turnkeep.tally import Way, weigh
from turnkeep.tokens.formulas import formula_for
from turnkeep.tokens.learned import Learned
from turnkeep.tokens.memo import Memo
from turnkeep.transfer import read_file, tools_of
from turnkeep.weighing import Weighing

TRANSCRIPTS = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "transcripts"


class Row(NamedTuple):
    """One report against what was expected of it."""

    family: str
    session: str
    item: int
    reported: int
    expected: int
    margin: int
    grown: int | None
    plain: int
    corrected: int
    quarter: int
    after_compaction: bool

    @property
    def miss(self) -> float:
        """% of the report by which it was missed."""
        return abs(self.expected - self.reported) / self.reported * 100

    @property
    def covered(self) -> bool:
        """Whether the margin was enough."""
        return self.reported <= self.expected + self.margin


def recordings() -> dict[str, list[SessionFile]]:
    """Give the recorded sessions with usage, by family (the folder's name)."""
    found: dict[str, list[SessionFile]] = defaultdict(list)
    for path in sorted(TRANSCRIPTS.glob("*/*.jsonl")):
        [session] = read_file(str(path))
        if session.header.get("usage"):
            found[path.parent.name].append(session)
    return found


def answers(items: list[Item], usage: list[list[int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Give where each reported answer begins and ends, with its row."""
    for place, row in enumerate(usage):
        start = row[0]
        stop = usage[place + 1][0] if place + 1 < len(usage) else len(items)
        end = start
        while end < stop and author_of(items[end]) == "assistant":
            end += 1
        yield start, end, row


def play(family: str, session: SessionFile, counter: Memo, learned: Learned) -> list[Row]:
    """Go through a session as a turn does, and note what was expected of each request."""
    items = [item for event in session.events for item in event.content]
    compactions = {each["item_index"] for each in session.header.get("compactions", [])}
    model = model_of(session)
    tools = tools_of(session.header, session.session_id)
    context, weighing = Context(), Weighing(counter, learned)
    seq = done = 0
    rows: list[Row] = []
    before: list[int] | None = None
    compacted = False
    add_from = 0

    def add(found: list[Item], **fields: Any) -> None:
        nonlocal seq
        seq += 1
        author = author_of(found[0]) if found else "assistant"
        event = Event.of_items(found, author=author, execution_id=None, **fields)
        context.add(event.stored_as(seq))

    for start, end, row in answers(items, session.header["usage"]):
        for place in range(done, start):
            if place in compactions:
                seq += 1
                kept = Checkpoint(contents=[Placed(seq=seq, index=0, item=items[place])])
                weighing_notes = weighing.notes()
                context = Context([kept.stored_as(seq)], base=seq)
                weighing.follow(context, weighing_notes)
                compacted = True
            else:
                add([items[place]])
        weighing.follow(context, {})
        request = PreparedRequest.of_items(
            context.items,
            tools=tools,
            model_id=model,
            session_id=session.session_id,
            counter=counter,
            tally_for=weighing.tally_for(),
            size_of=weighing.size_of(model),
        )
        report = request.report()
        if before is not None and report.anchored:
            new = items[add_from:start]
            form = formula_for("openai-chat", model)
            way = Way(PROFILE, form, counter.for_model(model), model)
            plain = weigh(PROFILE.render(new), way).expected
            rows.append(
                Row(
                    family,
                    session.session_id,
                    start,
                    row[1],
                    report.expected,
                    report.margin,
                    None if compacted else row[1] - before[1],
                    plain,
                    report.expected - before[1],
                    sum(math.ceil(len(text) / 4) for text in texts_of(new)),
                    compacted,
                )
            )
        answer = items[start:end]
        usage = Usage(input_tokens=row[1], output_tokens=row[2])
        weighing.reported(usage, answer, seq + 1, request, seq)
        weighing.teach(request)
        add(answer, usage=usage)  # one of reasoning only, which the logs leave out, is empty
        before, done, compacted, add_from = row, max(end, start), False, start
    return rows


def accuracy(counter: Memo) -> list[Row]:
    """Play every session with a prior that was learned from the others of its model, if any."""
    rows: list[Row] = []
    for family, sessions in recordings().items():
        for held_out in sessions:
            learned = Learned()
            for other in sessions:
                if other is not held_out and model_of(other) == model_of(held_out):
                    play(family, other, counter, learned)
            rows += play(family, held_out, counter, learned)
    return rows


def model_of(session: SessionFile) -> str:
    """Give the model's id."""
    return str(session.header.get("model"))
