"""Session files of Claude Code (`~/.claude/projects/*/*.jsonl`).

A line is a message in Anthropic's form, or a note of the program. `uuid` and `parentUuid` link the
lines; the blocks of one answer stand on several lines that share `message.id`. The format is not
documented; this follows files of versions 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from turnkeep.content import Item, Ref, Usage
from turnkeep.errors import ContentError
from turnkeep.events import author_of
from turnkeep.formats.anthropic_read import Reader, read_usage
from turnkeep.formats.foreign import text_or
from turnkeep.formats.jsonl import SessionFile
from turnkeep.formats.logs.lines import Entry, Notes
from turnkeep.formats.logs.making import Making, moment
from turnkeep.formats.profile import Wire

NAME: Final = "a Claude Code session file"
SYNTHETIC: Final = "<synthetic>"
"""The model of answers that the program writes itself (errors, "No response requested.")."""


def is_entry(value: Wire) -> bool:
    """Say whether a line can only be one of Claude Code's."""
    message = value.get("message")
    return (
        value.get("type") in ("user", "assistant")
        and isinstance(message, dict)
        and message.get("role") == value["type"]
        and ("uuid" in value or "sessionId" in value)
    )


def read(entries: Sequence[Entry], session_id: str, notes: Notes) -> list[SessionFile]:
    """Make a session of each conversation; `session_id` is for one whose lines name none."""
    parents: dict[str, str] = {}
    said = list(_messages(entries, parents, notes))
    if not all(entry.value.get("isSidechain") for entry in said):
        # Where all lines are of a side chain, it is the file of a sub-agent.
        said = list(_main(said, notes))
    made = []
    for conversation in _conversations(said):
        standing = list(_standing(conversation, parents, notes))
        if standing and (session := _session(standing, session_id, notes)).events:
            made.append(session)
    return made


def _messages(entries: Sequence[Entry], parents: dict[str, str], notes: Notes) -> Iterator[Entry]:
    """Give what was said, each line once; `parents` gets what stands above the other lines."""
    seen: set[str] = set()
    for entry in entries:
        value = entry.value
        kind = value.get("type")
        attached = value.get("attachment")
        if isinstance(attached, dict) and attached.get("type") == "queued_command":
            # What the user typed while an answer was running.
            value = {**value, "type": "user"}
            value["message"] = {"role": "user", "content": attached.get("prompt")}
        elif kind not in ("user", "assistant"):
            notes.leave_out_kind(kind)
            if value.get("subtype") != "compact_boundary":
                above = text_or(value, "parentUuid")
                parents[text_or(value, "uuid")] = parents.get(above, above)
            continue
        if text_or(value, "uuid") in seen:
            notes.leave_out("lines that repeat another")
            continue
        if uuid := text_or(value, "uuid"):
            seen.add(uuid)
        message = value.get("message")
        if value.get("isApiErrorMessage") or (
            isinstance(message, dict) and message.get("model") == SYNTHETIC
        ):
            notes.leave_out("answers written by the program itself")
            continue
        yield Entry(entry.where, value)


def _main(said: Sequence[Entry], notes: Notes) -> Iterator[Entry]:
    for entry in said:
        if entry.value.get("isSidechain"):
            notes.leave_out("lines of sub-agents")
        else:
            yield entry


def _conversations(said: Sequence[Entry]) -> list[list[Entry]]:
    """Tell conversations apart: a file that was resumed holds ids of several sessions in one.

    So a line belongs to its parent's conversation, and only one without to that of its session.
    """
    by_line: dict[str, list[Entry]] = {}
    by_session: dict[str, list[Entry]] = {}
    made: list[list[Entry]] = []
    for entry in said:
        value = entry.value
        own = text_or(value, "sessionId")
        found = by_line.get(text_or(value, "parentUuid"))
        if found is None:
            found = by_session.get(own)
        if found is None:
            made.append(found := [])
        found.append(entry)
        by_session[own] = found
        if uuid := text_or(value, "uuid"):
            by_line[uuid] = found
    return made


def _standing(
    conversation: Sequence[Entry], parents: Mapping[str, str], notes: Notes
) -> Iterator[Entry]:
    """Leave out what the user went back behind: of two prompts to one answer, the later stands."""
    latest: dict[str, str] = {}
    above: list[str] = []
    for entry in conversation:
        parent = text_or(entry.value, "parentUuid")
        above.append(parents.get(parent, parent))
        if _is_prompt(entry.value):
            latest[above[-1]] = text_or(entry.value, "uuid")
    gone: set[str] = set()
    for entry, parent in zip(conversation, above, strict=True):
        uuid = text_or(entry.value, "uuid")
        if parent in gone or (_is_prompt(entry.value) and latest[parent] != uuid):
            gone.add(uuid)
            notes.leave_out("lines that the user went back behind")
        else:
            yield entry


def _is_prompt(value: Wire) -> bool:
    """Say whether a line is what a user typed, with a place in the tree of lines."""
    if value["type"] != "user" or "parentUuid" not in value or not text_or(value, "uuid"):
        return False
    if any(value.get(flag) for flag in ("isMeta", "isCompactSummary", "attachment")):
        return False
    message = value.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    return not isinstance(content, list) or all(
        isinstance(block, dict) and block.get("type") != "tool_result" for block in content
    )


def _session(conversation: Sequence[Entry], session_id: str, notes: Notes) -> SessionFile:
    making = Making()
    making.header["agent"] = "Claude Code"
    reader = Reader()
    answers: dict[str, list[Wire]] = {}
    for entry in conversation:
        if key := _answer_of(entry.value):
            answers.setdefault(key, []).append(entry.value)
    for entry in conversation:
        value = entry.value
        message: Any = value.get("message")
        if key := _answer_of(value):
            lines = answers.pop(key, None)
            if lines is None:
                continue  # its blocks stand where the first of them stood
            message = _joined(lines)
        place = len(reader.items)
        try:
            reader.message(message, "message")
            usage = read_usage(message.get("usage"))
        except ContentError as error:
            del reader.items[place:]
            reader.run = []
            notes.fault(entry.where, error)
            continue
        _keep(making, value, reader.items[place:], usage)
        if value["type"] == "assistant" and text_or(message, "model"):
            making.header["model"] = message["model"]
    if version := text_or(conversation[-1].value, "version"):
        making.header["agent_version"] = version
    return making.session(text_or(conversation[-1].value, "sessionId") or session_id)


def _keep(making: Making, value: Wire, items: Sequence[Item], usage: Usage | None) -> None:
    when = moment(value.get("timestamp"))
    if value.get("isCompactSummary"):
        # It stands for the whole conversation before it.
        making.rewrite([(Ref(1, 0), item) for item in items], when, "a compaction")
        return
    if items:
        author = author_of(items[0])
        making.say(items, author, when, event_id=text_or(value, "uuid"), usage=usage)


def _answer_of(value: Wire) -> str:
    message = value.get("message")
    if value["type"] != "assistant" or not isinstance(message, dict):
        return ""
    return text_or(message, "id")


def _joined(lines: Sequence[Wire]) -> Wire:
    """Put the blocks of one answer together; its last line has the final usage."""
    blocks: list[Any] = []
    for line in lines:
        content = line["message"].get("content")
        blocks += content if isinstance(content, list) else [{"type": "text", "text": content}]
    return {**lines[-1]["message"], "content": blocks}
