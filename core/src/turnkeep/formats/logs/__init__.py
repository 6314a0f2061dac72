"""Logs that others wrote: request logs, and session files of Claude Code and Codex.

What a log is, is told by its content, never by its name. All are read as far as they can be, with
notes of what was left out. A new format is a module with `NAME`, `is_entry` and `read`, named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from turnkeep.errors import ContentError
from turnkeep.formats.jsonl import SessionFile
from turnkeep.formats.logs import claude_code, codex
from turnkeep.formats.logs.lines import Notes, read_entries
from turnkeep.formats.logs.requests import RequestLog
from turnkeep.formats.logs.wrapped import unwrap

AGENTS: Final = (claude_code, codex)
UNKNOWN: Final = (
    "neither turnkeep JSONL (a session line first) nor requests of OpenAI Chat, OpenAI Responses, "
    "Anthropic Messages or Gemini, nor a session file of Claude Code or Codex; see docs/formats.md"
)


class ForeignLog(NamedTuple):
    """What was recognised, and the sessions that were made of it."""

    name: str
    sessions: list[SessionFile]
    notes: Notes

    def sentences(self) -> Iterator[str]:
        """Say what was recognised, what was left out, and what could not be read."""
        items = sum(len(event.content) for each in self.sessions for event in each.events)
        sessions = "1 session" if len(self.sessions) == 1 else f"{len(self.sessions):,} sessions"
        plural = "" if items == 1 else "s"
        yield f"read as {self.name}: {sessions}, {items:,} item{plural}"
        yield from self.notes.sentences()


def read_log(text: str, source: str, session_id: str, *, profile: str | None = None) -> ForeignLog:
    """Read a log.

    `source` is the file's name, for messages; `session_id` names sessions that the log does not;
    `profile` says that the log is of requests of this format. Raises ContentError, with the first
    place and fault, where the content is none that is known, or nothing of it can be read.
    """
    notes = Notes()
    entries = read_entries(text, source, notes)
    made: ForeignLog | None = None
    for _, value in entries if profile is None else ():
        agent = next((agent for agent in AGENTS if agent.is_entry(value)), None)
        if agent is not None:
            made = ForeignLog(agent.NAME, agent.read(entries, session_id, notes), notes)
            break
        if (exchange := unwrap(value)) is not None and exchange.request is not None:
            break
    else:
        if profile is None:
            raise ContentError(f"{source}: {UNKNOWN}{_first(notes, '; ')}")
    if made is None:
        log = RequestLog(notes, profile)
        sessions = log.read(entries, session_id)
        made = ForeignLog(log.name, sessions, notes)
    if not made.sessions:
        nothing = f"{source}: {made.name} in which nothing was said"
        raise ContentError(_first(notes) or nothing)
    return made


def _first(notes: Notes, before: str = "") -> str:
    return "".join(f"{before}{where}: {problem}" for where, problem in notes.faults[:1])
