"""The carrier of provider's own forms: one HTTP POST, with the body as turnkeep made it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

import httpx

from turnkeep.errors import ModelError
from turnkeep_model_litellm.decoding import Broken, events
from turnkeep_model_litellm.dressing import Body
from turnkeep_model_litellm.envelopes import envelope_of, keyless
from turnkeep_model_litellm.faults import Faults
from turnkeep_model_litellm.foreign import fault_of
from turnkeep_model_litellm.options import LitellmOptions
from turnkeep_model_litellm.target import Target

CONNECT = httpx.Timeout(None, connect=20.0)
"""A server that is there accepts within 20 s; how long it may think is for the caller to say."""


class PostReply:
    """An HTTP response whose body is still to be read."""

    def __init__(self, response: httpx.Response, faults: Faults) -> None:
        self._response = response
        self._faults = faults

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response."""
        return self._response.headers

    async def body(self) -> dict[str, Any]:
        """Read the answer. Raises ModelError where it is no JSON object."""
        await self._response.aread()
        try:
            value = self._response.json()
        except ValueError:
            raise self._faults.garbage("no JSON") from None
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            raise self._faults.garbage("no JSON object")
        return value

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Read the answer event by event. Raises ModelError for one that is an error, or broken."""
        kind = self._response.headers.get("content-type", "")
        try:
            incoming = cast("AsyncGenerator[bytes, None]", self._response.aiter_bytes())
            async with aclosing(incoming) as chunks:
                async for event in events(chunks, kind):
                    if (error := _error_in(event)) is not None:
                        raise self._faults.of_event(error)
                    yield event
        except Broken as error:
            raise self._faults.garbage(str(error)) from None
        except httpx.HTTPError as error:
            raise self._faults.unreachable(_why(error)) from None


class PostCarrier:
    """Posts bodies to a provider by an HTTP client of its own, one for each event loop."""

    def __init__(self, target: Target, options: LitellmOptions, faults: Faults) -> None:
        self._target = target
        self._options = options
        self._faults = faults
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            WeakKeyDictionary()
        )

    @asynccontextmanager
    async def exchange(
        self,
        body: Body,
        *,
        stream: bool,
        timeout: float,  # noqa: ARG002, ASYNC109  # the caller's
    ) -> AsyncIterator[PostReply]:
        """Post a body (see `Carrier`)."""
        try:
            envelope = await asyncio.to_thread(
                envelope_of, self._target, self._options, body, stream=stream
            )
        except Exception as error:  # noqa: BLE001  # LiteLLM's, of any kind
            raise fault_of(error, self._faults, sent=False) from None
        if keyless(self._target, envelope):
            raise self._faults.keyless()
        try:
            client = self._client()
            request = client.build_request(
                "POST", envelope.url, headers=envelope.headers, content=envelope.content
            )
        except Exception as error:  # noqa: BLE001  # whatever keys, proxies and certificates cause
            raise self._faults.unsendable(error) from None
        try:
            response = await client.send(request, stream=True)
            async with aclosing(response):
                if response.status_code >= 300:
                    text = (await response.aread()).decode("utf-8", "replace")
                    raise self._faults.of_body(response.status_code, text, response.headers)
                yield PostReply(response, self._faults)
        except ModelError:
            raise
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise self._faults.unsendable(error) from None
        except httpx.HTTPError as error:
            raise self._faults.unreachable(_why(error)) from None

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        if client := self._clients.pop(asyncio.get_running_loop(), None):
            await client.aclose()

    def _client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
            self._clients[loop] = httpx.AsyncClient(timeout=CONNECT, limits=limits)
        return self._clients[loop]


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _error_in(event: Mapping[str, Any]) -> object:
    """Give the error that an event reports, in any of the three forms."""
    if event.get("type") == "error":
        return event.get("error") or event
    if event.get("type") == "response.failed":
        return (event.get("response") or {}).get("error") or event
    if "type" not in event and isinstance(event.get("error"), Mapping):
        return event["error"]
    return None
