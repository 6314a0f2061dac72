"""Request logs: successive requests of one conversation become one session.

A request repeats what was said before, so the conversation is what is new in each. Requests of
several conversations may alternate. `alike.py` tells which one a request goes on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from turnkeep import formats
from turnkeep.content import Item, Ref, Request, ToolResult
from turnkeep.errors import ContentError
from turnkeep.events import author_of
from turnkeep.formats.foreign import text_or
from turnkeep.formats.jsonl import SessionFile
from turnkeep.formats.logs.alike import Conversation, Find, Known, own_ids
from turnkeep.formats.logs.lines import Entry, Notes
from turnkeep.formats.logs.making import Making
from turnkeep.formats.logs.wrapped import Exchange, profile_of, unwrap
from turnkeep.formats.profile import ParsedResponse, Wire, leading_run
from turnkeep.formats.response import read_response

NAMES: Final = {
    "openai-chat": "OpenAI Chat",
    "openai-responses": "OpenAI Responses",
    "anthropic": "Anthropic Messages",
    "gemini": "Gemini",
}


class RequestLog:
    """Reads entries into sessions. `profile` is the format of all requests, None to tell it."""

    def __init__(self, notes: Notes, profile: str | None = None) -> None:
        self.notes = notes
        self.profile = profile
        self.seen: set[str] = set()
        """The formats that there were."""
        self.requests = 0
        self._find = Find()
        self._makings: dict[Conversation, Making] = {}
        self._system: dict[Conversation, list[str]] = {}
        """Leading system messages stand apart: agents put the time and the like there."""
        self._waiting: Conversation | None = None
        """The conversation of the request right before, if its answer has not come."""
        self._by_answer: dict[str, Conversation] = {}

    def read(self, entries: Sequence[Entry], session_id: str) -> list[SessionFile]:
        """Make the sessions: the first gets the id, the others a number behind it."""
        for entry in entries:
            try:
                self._entry(entry)
            except ContentError as error:
                self.notes.fault(entry.where, error)
        made = [making for making in self._makings.values() if making.events]
        return [
            making.session(session_id if number == 1 else f"{session_id}-{number}")
            for number, making in enumerate(made, 1)
        ]

    @property
    def name(self) -> str:
        """What was read."""
        kinds = " and ".join(NAMES[kind] for kind in NAMES if kind in self.seen)
        count = "a request" if self.requests == 1 else f"{self.requests:,} requests"
        return f"{count} of {kinds}"

    def _entry(self, entry: Entry) -> None:
        exchange = unwrap(entry.value)
        if exchange is None:
            self.notes.leave_out("lines without a request")
            return
        waiting, self._waiting = self._waiting, None
        parsed, problem = _parsed(exchange.answer)
        if exchange.request is None:
            conversation = waiting
            if conversation is None:
                self.notes.leave_out("answers whose request is not there")
        else:
            conversation = self._request(exchange, exchange.request, parsed)
            if exchange.answer is None:
                self._waiting = conversation
        if conversation is not None and parsed is not None:
            self._answer(conversation, exchange, parsed)
        if problem:
            self.notes.fault(entry.where, f"the answer: {problem}")

    def _request(
        self, exchange: Exchange, body: Wire, answer: ParsedResponse | None
    ) -> Conversation | None:
        """Take a request in; None for one that repeats another, with its answer."""
        profile = self.profile or profile_of(body, exchange.answer)
        if profile is None:
            raise ContentError("a request of no known format")
        conversation = self._by_answer.pop(text_or(body, "previous_response_id"), None)
        if conversation is not None:
            # OpenAI Responses kept what was before; so does this log.
            body = {key: value for key, value in body.items() if key != "previous_response_id"}
        request = formats.get_profile(profile).parse_request(body)
        self.seen.add(profile)
        self.requests += 1
        leading = leading_run(request.contents) if conversation is None else []
        items, start = request.contents[len(leading) :], 0
        if conversation is None:
            found = self._find(items, None if answer is None else answer.items)
            if found is None:
                conversation = self._begin(leading, exchange.when)
            elif found.repeats:
                self.notes.leave_out("requests that repeat another")
                return None
            else:
                conversation, start = found.conversation, found.start
                if found.rewritten is not None:
                    self._rewrite(conversation, found.rewritten, exchange.when)
            if self._system[conversation] != [item.model_dump_json() for item in leading]:
                self.notes.leave_out("changes of leading system messages")
        making = self._makings[conversation]
        _head(making, request)
        ids = own_ids(conversation, items[:start])
        for item in items[start:]:
            if isinstance(item, ToolResult) and item.tool_call_id in ids:
                own = {"tool_call_id": ids[item.tool_call_id]}
                item = item.model_copy(update=own)  # noqa: PLW2901  # its call has this id here
            [ref] = making.say([item], author_of(item), exchange.when)
            conversation.add(Known.of(item, ref))
        conversation.asked = len(conversation.live)
        self._find.place(conversation)
        return conversation

    def _begin(self, leading: Sequence[Item], when: datetime | None) -> Conversation:
        conversation = Conversation()
        making = self._makings[conversation] = Making()
        for item in leading:
            making.say([item], author_of(item), when)
        self._system[conversation] = [item.model_dump_json() for item in leading]
        return conversation

    def _rewrite(
        self, conversation: Conversation, live: list[Known], when: datetime | None
    ) -> None:
        """Note that the agent shortened or rewrote what it sends."""
        making = self._makings[conversation]
        leading = [
            (Ref(event.seq or 0, 0), event.content[0])
            for event in making.events[: len(self._system[conversation])]
        ]
        contents = [(known.ref, known.item) for known in live]
        making.rewrite([*leading, *contents], when, "its next request")

    def _answer(
        self, conversation: Conversation, exchange: Exchange, parsed: ParsedResponse
    ) -> None:
        if not parsed.items:
            self.notes.leave_out("answers without content")
            return
        refs = self._makings[conversation].say(
            parsed.items, "assistant", exchange.when, usage=parsed.usage, partial=parsed.partial
        )
        if not parsed.partial:
            for item, ref in zip(parsed.items, refs, strict=True):
                conversation.add(Known.of(item, ref))
            self._find.place(conversation)
        if isinstance(exchange.answer, dict) and (answer_id := text_or(exchange.answer, "id")):
            self._by_answer[answer_id] = conversation


def _head(making: Making, request: Request) -> None:
    """Keep instructions, tools and model: those of the last request that has them."""
    if request.model_id:
        making.header["model"] = request.model_id
    if request.instructions:
        making.header["instructions"] = request.instructions
    if request.tools:
        making.header["tools"] = [tool.model_dump(mode="json") for tool in request.tools]


def _parsed(answer: Any) -> tuple[ParsedResponse | None, str]:
    """Read an answer, or say why it cannot be read."""
    if answer is None:
        return None, ""
    try:
        return read_response(answer), ""
    except ContentError as error:
        return None, str(error)
