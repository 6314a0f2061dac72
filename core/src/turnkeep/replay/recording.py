"""A recorded conversation as replay sees it: items in order, and where the model was called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from turnkeep.content import Item, Message, Ref, ToolDefinition
from turnkeep.context import Context, Entry
from turnkeep.formats.jsonl import SessionFile
from turnkeep.formats.profile import side_of
from turnkeep.manager import SessionManager
from turnkeep.transfer import read_file, read_stored, restored, tools_of


@dataclass(frozen=True)
class Recording:
    """One session to replay; `entries` are its items with their identity in the log."""

    session_id: str
    entries: list[Entry]
    tools: list[ToolDefinition]
    instructions: str = ""

    @classmethod
    def of_items(
        cls, session_id: str, items: Iterable[Item], tools: Iterable[ToolDefinition] = ()
    ) -> Self:
        """Make a recording in which each item is an event of its own."""
        placed = [Entry(Ref(seq, 0), item) for seq, item in enumerate(items, 1)]
        return cls(session_id, placed, list(tools))

    @cached_property
    def items(self) -> list[Item]:
        """What was said, in order."""
        return [entry.item for entry in self.entries]

    @cached_property
    def calls(self) -> list[int]:
        """Where the model was called: before each maximal run of the assistant's items."""
        starts = []
        before_is_assistant = False
        for place, item in enumerate(self.items):
            is_assistant = side_of(item) == "assistant"
            if is_assistant and not before_is_assistant:
                starts.append(place)
            before_is_assistant = is_assistant
        return starts

    def begins_turn(self, call: int) -> bool:
        """Whether a user spoke between this call (counted from 0) and the one before."""
        start = self.calls[call - 1] if call else 0
        return any(
            isinstance(item, Message) and item.role == "user"
            for item in self.items[start : self.calls[call]]
        )


def read_recordings(
    names: Iterable[str], told: Callable[[str], None] | None = None
) -> Iterator[Recording]:
    """Read the sessions of files in any format that can be imported.

    `told` is called with each sentence about a file that another program wrote. Raises
    ContentError.
    """
    for name in names:
        for session in read_file(name, told=told):
            yield _recording(session, name)


async def stored_recording(sessions: SessionManager, session_id: str) -> Recording:
    """Read a session that is kept. Raises SessionNotFound."""
    session, _, meta = await read_stored(sessions, session_id)
    whole = SessionFile(session_id, header=meta.header, events=session.events)
    recording = _recording(whole, "the store")
    entries = [Entry(entry.ref, await restored(session, entry.item)) for entry in recording.entries]
    return replace(recording, entries=entries)


def _recording(session: SessionFile, name: str) -> Recording:
    # Checkpoints belong to the policy that made them: a replay starts from what was said.
    instructions = session.header.get("instructions")
    for seq, event in enumerate(session.events, 1):
        if event.seq is None:  # as it will be once it is imported
            event.stored_as(seq)
    return Recording(
        session_id=session.session_id,
        entries=Context(session.events).entries,
        tools=tools_of(session.header, f"{name}: session {session.session_id!r}"),
        instructions=instructions if isinstance(instructions, str) else "",
    )
