"""Streams as they come over the wire: server-sent events, and the event streams of AWS."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from turnkeep_model_litellm.library import library

AWS: Final = "application/vnd.amazon.eventstream"


class Broken(Exception):
    """Something that cannot be decoded came; the message says what."""


async def events(chunks: AsyncIterator[bytes], kind: str) -> AsyncIterator[dict[str, Any]]:
    """Decode a streamed body of a content type into the provider's events.

    Raises Broken.
    """
    decoder: _ServerSent | _Amazon = _Amazon() if kind.startswith(AWS) else _ServerSent()
    async for chunk in chunks:
        for event in decoder.feed(chunk):
            yield event
    for event in decoder.end():
        yield event


class _ServerSent:
    """Server-sent events whose data are JSON objects (html.spec.whatwg.org, section 9.2)."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self._data: list[str] = []
        self._seen = False

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        try:
            text = self._rest + self._text.decode(chunk)
        except UnicodeDecodeError:
            raise Broken("a stream that is no UTF-8") from None
        # A \r at the end may be half of \r\n; not str.splitlines, which cuts at U+2028 too.
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        *lines, self._rest = text.split("\n")
        self._rest += held
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[dict[str, Any]]:
        """Take what is there as the last event: some servers leave out the last empty line."""
        yield from self._line(self._rest)
        yield from self._line("")
        if not self._seen:
            raise Broken("a stream without events")

    def _line(self, line: str) -> Iterator[dict[str, Any]]:
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif not line and self._data:
            data, self._data = "\n".join(self._data), []
            self._seen = True
            if data != "[DONE]":
                yield _object(data)


class _Amazon:
    """Frames that hold Anthropic's events in base64, as Bedrock's InvokeModel streams them."""

    def __init__(self) -> None:
        self._buffer = library("botocore.eventstream").EventStreamBuffer()
        self._error = library("botocore.exceptions").EventStreamError

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        self._buffer.add_data(chunk)
        try:
            for frame in self._buffer:
                kind = frame.headers.get(":message-type")
                body = _object(frame.payload.decode("utf-8", "replace") or "{}")
                if kind in {"exception", "error"}:
                    code = frame.headers.get(":exception-type") or frame.headers.get(":error-code")
                    yield {"type": "error", "error": {"code": str(code), **body}}
                elif isinstance(body.get("bytes"), str):
                    yield _object(base64.b64decode(body["bytes"]).decode("utf-8", "replace"))
        except (self._error, ValueError) as error:
            raise Broken(f"a frame of an event stream: {error}") from None

    def end(self) -> Iterator[dict[str, Any]]:
        return iter(())


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        raise Broken("an event that is no JSON") from None
    if not isinstance(value, dict):
        raise Broken("an event that is no JSON object")
    return value
