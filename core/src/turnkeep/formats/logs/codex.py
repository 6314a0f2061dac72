"""Session files of Codex (`~/.codex/sessions/**/rollout-*.jsonl`).

A line is `{"timestamp", "type", "payload"}` (openai/codex, `codex-rs/protocol`, RolloutItem); a
`response_item` is an item of OpenAI Responses. Files of before September 2025 have the items bare,
behind a first line with the session's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from turnkeep.content import Item, Message, Ref, Usage
from turnkeep.errors import ContentError
from turnkeep.events import author_of
from turnkeep.formats.foreign import as_count, as_object, build, text_or
from turnkeep.formats.jsonl import SessionFile
from turnkeep.formats.logs.lines import Entry, Notes
from turnkeep.formats.logs.making import Making, moment
from turnkeep.formats.openai_responses_read import Reader
from turnkeep.formats.profile import Wire, side_of

NAME: Final = "a Codex session file"
WRAPPED: Final = frozenset(
    {"session_meta", "response_item", "event_msg", "turn_context", "compacted"}
)
BARE: Final = frozenset(
    {
        "message", "reasoning", "function_call", "function_call_output", "local_shell_call",
        "custom_tool_call", "custom_tool_call_output", "web_search_call",
    }
)  # fmt: skip
"""Types of items where a line is one."""
NOT_SENT: Final = frozenset({"ghost_snapshot"})
"""Items that Codex keeps for itself."""


def is_entry(value: Wire) -> bool:
    """Say whether a line can only be one of Codex's."""
    if value.get("record_type") == "state" or _is_old_head(value):
        return True
    if text_or(value, "type") in WRAPPED:
        return isinstance(value.get("payload"), dict)
    content = value.get("content")
    return (
        value.get("type") == "message"
        and isinstance(content, list)
        and any(
            isinstance(part, dict) and part.get("type") in ("input_text", "output_text")
            for part in content
        )
    )


def read(entries: Sequence[Entry], session_id: str, notes: Notes) -> list[SessionFile]:
    """Make the session; `session_id` is for a file that names none."""
    reading = _Reading()
    for entry in entries:
        try:
            reading.line(entry.value, notes)
        except ContentError as error:
            notes.fault(entry.where, error)
    session = reading.session(session_id)
    return [session] if session.events else []


class _Said(NamedTuple):
    """How many items there were up to here, and when; or what a compaction put for them."""

    end: int
    when: datetime | None
    instead: list[Item] | None = None


class _Reading:
    def __init__(self) -> None:
        self.reader = Reader()
        self.said: list[_Said] = []
        self.usages: dict[int, Usage] = {}
        """Usage of an answer, by the place of its last item."""
        self.header: dict[str, Any] = {"agent": "Codex"}
        self.session_id = ""

    def line(self, value: Wire, notes: Notes) -> None:
        """Take a line in. Raises ContentError for one that cannot be kept."""
        kind = text_or(value, "type")
        payload = value.get("payload")
        when = moment(value.get("timestamp"))
        if kind in WRAPPED and isinstance(payload, dict):
            value = payload
        if kind == "session_meta" or _is_old_head(value):
            self.head(value)
        elif kind == "turn_context":
            if text_or(value, "model"):
                self.header["model"] = value["model"]
        elif kind == "event_msg" and value.get("type") == "token_count":
            self.usage(value)
        elif kind == "compacted":
            self.compacted(value, when)
        elif kind == "response_item" or kind in BARE:
            if text_or(value, "type") in NOT_SENT:
                notes.leave_out_kind(value["type"])
                return
            self.item(self.reader, value)
            self.said.append(_Said(len(self.reader.items), when))
        elif value.get("record_type") != "state":
            notes.leave_out_kind(kind or value.get("type"))

    def head(self, value: Wire) -> None:
        """Read what the file says of its session; a fork repeats its parent's behind its own."""
        if self.session_id:
            return
        self.session_id = text_or(value, "id")
        base = value.get("base_instructions")
        said = text_or(base, "text") if isinstance(base, dict) else text_or(value, "instructions")
        if said:
            self.header["instructions"] = said
        if version := text_or(value, "cli_version"):
            self.header["agent_version"] = version

    def item(self, reader: Reader, value: Wire) -> None:
        output = value.get("output")
        if isinstance(output, dict) and "content" in output:
            value = {**value, "output": output["content"]}  # as early versions wrote results
        place = len(reader.items)
        try:
            reader.item(value, "payload")
        except ContentError:
            del reader.items[place:]
            reader.end_answer()
            raise

    def usage(self, value: Wire) -> None:
        """Give the report to the answer before it; Codex repeats reports, so only to one."""
        info = value.get("info")
        if not isinstance(info, dict) or not isinstance(info.get("last_token_usage"), dict):
            return
        items = self.reader.items
        place = next(
            (n for n in range(len(items) - 1, -1, -1) if side_of(items[n]) == "assistant"), -1
        )
        if place < 0 or place in self.usages:
            return
        last = as_object(info["last_token_usage"], "payload.info.last_token_usage")
        counts = {
            ours: as_count(last.get(theirs), f"payload.info.last_token_usage.{theirs}")
            for ours, theirs in (
                ("input_tokens", "input_tokens"),
                ("output_tokens", "output_tokens"),
                ("cached_tokens", "cached_input_tokens"),
                ("reasoning_tokens", "reasoning_output_tokens"),
            )
        }
        self.usages[place] = build(Usage, "payload.info.last_token_usage", **counts)

    def compacted(self, value: Wire, when: datetime | None) -> None:
        history = value.get("replacement_history")
        instead = Reader()
        if isinstance(history, list):
            for item in history:
                self.item(instead, as_object(item, "payload.replacement_history"))
        elif message := text_or(value, "message"):
            instead.items.append(Message(role="user", content=message))
        if instead.items:
            self.said.append(_Said(len(self.reader.items), when, instead.items))

    def session(self, session_id: str) -> SessionFile:
        making = Making()
        making.header = self.header
        start = 0
        for end, when, instead in self.said:
            if instead is not None:
                making.rewrite([(Ref(1, 0), item) for item in instead], when, "a compaction")
                continue
            items = self.reader.items[start:end]
            if items:
                usage = self.usages.get(end - 1)
                making.say(items, author_of(items[0]), when, usage=usage)
            start = end
        return making.session(self.session_id or session_id)


def _is_old_head(value: Wire) -> bool:
    return (
        "type" not in value
        and isinstance(value.get("id"), str)
        and "instructions" in value
        and "timestamp" in value
    )
