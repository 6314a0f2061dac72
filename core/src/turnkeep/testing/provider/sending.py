"""Sending: the bytes of an answer, plain or streamed, and how faults spoil them."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from aiohttp import web

from turnkeep.content import compact_json
from turnkeep.formats.profile import Wire
from turnkeep.testing.provider.dialect import Dialect, Event, Made
from turnkeep.testing.provider.refusal import Refusal
from turnkeep.testing.provider.script import Fault
from turnkeep.testing.provider.seen import SeenRequest

GARBAGE: Final = b"<html><body>502 Bad Gateway</body></html>"
NONE: Final = Fault("slow")
"""A fault that does nothing."""


class Dropped(Exception):  # the course of a scripted fault, not an error
    """The connection is to be cut here."""


class Sender:
    """Sends the answer to one request."""

    def __init__(self, request: web.Request, seen: SeenRequest, dialect: Dialect) -> None:
        self.seen = seen
        self.dialect = dialect
        self._request = request
        self._fault = NONE
        self._left: int | None = None
        """Bytes that may still go out; None: all."""

    async def refuse(
        self, refusal: Refusal, headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        """Send an error."""
        self.seen.status, self.seen.error = refusal.status, refusal.message
        self.seen.rule = refusal.rule or None
        body = _bytes(self.dialect.error(refusal))
        response = web.Response(
            body=body,
            status=refusal.status,
            content_type="application/json",
            headers=headers,
        )
        self.seen.delivered = True
        return response

    async def answer(self, made: Made) -> web.StreamResponse:
        """Send an answer, spoiled as the fault says. The connection may be cut on the way."""
        fault, seen = made.say.fault or NONE, self.seen
        self._fault, self._left = fault, fault.after_bytes
        seen.status = 200
        await self._wait(fault.before)
        if fault.kind == "hang" and (fault.after_events is None or not seen.streamed):
            await asyncio.Event().wait()
        if fault.kind == "drop" and fault.after_bytes is None and fault.after_events is None:
            return self._cut()
        try:
            if seen.streamed:
                return await self._stream(made)
            return await self._plain(made)
        except (Dropped, ConnectionError):
            return self._cut()

    async def _plain(self, made: Made) -> web.StreamResponse:
        body = _bytes(self.dialect.answer(made))
        if self._fault.kind == "garbage":
            body = GARBAGE
        if self._fault.kind == "drop" and self._left is None:
            self._left = len(body) // 2
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(self._request)
        self.seen.delivered = True  # before the client can know it; `_cut` takes it back
        await self._write(response, body)
        await response.write_eof()
        return response

    async def _stream(self, made: Made) -> web.StreamResponse:
        fault, framing = self._fault, Framing(self.dialect.name, self._request)
        response = web.StreamResponse(headers={"Content-Type": framing.content_type})
        response.enable_chunked_encoding()
        await response.prepare(self._request)
        if fault.kind == "garbage":
            await self._write(response, framing.garbage)
            await response.write_eof()
            return response
        number = -1
        for number, event in enumerate(self.dialect.events(made)):
            if number == fault.after_events and await self._spoil(response, framing):
                return response
            await self._wait(fault.between if number else 0.0)
            await self._write(response, framing.event(event, first=number == 0))
        short = fault.after_events is not None and number < fault.after_events
        if short and await self._spoil(response, framing):
            return response
        self.seen.delivered = True
        await self._write(response, framing.end(empty=number < 0))
        await response.write_eof()
        return response

    async def _spoil(self, response: web.StreamResponse, framing: Framing) -> bool:
        """Do in the middle of a stream what the fault wants; say whether the stream is over."""
        if self._fault.kind == "drop":
            raise Dropped
        if self._fault.kind == "hang":
            await asyncio.Event().wait()
        if self._fault.kind != "broken":
            return False
        refusal = self.dialect.overloaded()
        self.seen.error = refusal.message
        await self._write(response, framing.event(self.dialect.broken(refusal), first=False))
        await response.write_eof()
        return True

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        if self._left is None:
            await response.write(data)
            return
        if data[: self._left]:
            await response.write(data[: self._left])
        self._left -= len(data)
        if self._left < 0:
            raise Dropped

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self.seen.delays.append(seconds)
            await asyncio.sleep(seconds)

    def _cut(self) -> web.StreamResponse:
        """Close the connection under the answer; what was written so far still arrives."""
        self.seen.delivered = False
        transport = self._request.transport
        if transport is not None:
            transport.close()
        return web.Response()


class Framing:
    """How the events of a provider's stream stand in its bytes."""

    def __init__(self, profile: str, request: web.Request) -> None:
        self._gemini = profile == "gemini"
        self._array = self._gemini and request.query.get("alt") != "sse"
        self._done = profile == "openai-chat"
        self.content_type = "application/json" if self._array else "text/event-stream"
        self.garbage = GARBAGE if self._array else b"data: {not json\n\n"

    def event(self, event: Event, *, first: bool) -> bytes:
        """Give the bytes of an event."""
        data = _bytes(event.data)
        if self._array:
            return (b"[" if first else b",\r\n") + data
        if self._gemini:
            return b"data: " + data + b"\r\n\r\n"
        name = "" if event.name is None else f"event: {event.name}\n"
        return name.encode() + b"data: " + data + b"\n\n"

    def end(self, *, empty: bool) -> bytes:
        """Give what stands behind the last event."""
        if self._array:
            return b"[]" if empty else b"]"
        return b"data: [DONE]\n\n" if self._done else b""


def _bytes(value: Wire) -> bytes:
    # Half of a surrogate pair has no UTF-8, but it can stand in JSON as an escape.
    return compact_json(value).encode("utf-8", "backslashreplace")


def json_object(data: bytes) -> Wire | None:
    """Read a JSON object; None for what is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
