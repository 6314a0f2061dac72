"""The carrier of OpenAI Chat: LiteLLM sends it, and translates it for providers without it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

from turnkeep_model_litellm.dressing import Body, cloud_options
from turnkeep_model_litellm.exchange import Cut
from turnkeep_model_litellm.faults import Faults
from turnkeep_model_litellm.foreign import fault_of
from turnkeep_model_litellm.library import library
from turnkeep_model_litellm.options import LitellmOptions

CACHE_KEY: Final = "prompt_cache_key"


class ChatReply:
    """What `litellm.acompletion` gave: an answer, or a stream of chunks."""

    def __init__(self, given: Any, faults: Faults) -> None:
        self._given = given
        self._faults = faults

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response, as far as LiteLLM hands them on."""
        hidden = getattr(self._given, "_hidden_params", None) or {}
        headers = hidden.get("headers") or {}
        if not headers:
            kept = hidden.get("additional_headers") or {}
            headers = {name.removeprefix("llm_provider-"): kept[name] for name in kept}
        return {str(name): str(value) for name, value in dict(headers).items()}

    async def body(self) -> dict[str, Any]:
        """Give the answer in OpenAI's form."""
        return _plain(self._given)

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        """Give the chunks in OpenAI's form.

        Raises Cut where the provider gave no reason to stop: LiteLLM would make one up.
        """
        stream = self._given
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    event = _plain(chunk)
                    if "usage" in event and not _reported(stream):
                        del event["usage"]
                    yield event
        except Exception as error:  # noqa: BLE001  # LiteLLM's, of any kind
            raise fault_of(error, self._faults) from None
        if not (
            getattr(stream, "received_finish_reason", "stop")
            or getattr(stream, "intermittent_finish_reason", None)
        ):
            raise Cut


class ChatCarrier:
    """Sends bodies by `litellm.acompletion`."""

    def __init__(self, options: LitellmOptions, faults: Faults) -> None:
        self._options = options
        self._faults = faults

    @asynccontextmanager
    async def exchange(
        self,
        body: Body,
        *,
        stream: bool,
        timeout: float,  # noqa: ASYNC109  # LiteLLM's, too
    ) -> AsyncIterator[ChatReply]:
        """Send a body (see `Carrier`)."""
        options = self._options
        reached: dict[str, Any] = {
            "api_key": None if options.api_key is None else options.api_key.get_secret_value(),
            "api_base": options.api_base,
            "api_version": options.api_version,
            "extra_headers": dict(options.headers) or None,
            **cloud_options(options),
        }
        if stream:
            reached |= {"stream": True, "stream_options": {"include_usage": True}}
        # Repeating is turnkeep's: LiteLLM knows nothing of the time that is left.
        fixed = {"timeout": timeout, "max_retries": 0, "num_retries": 0}
        given = {name: value for name, value in reached.items() if value is not None}
        try:
            try:
                reply = await library().acompletion(**given, **fixed, **body)
            except Exception as error:
                if not _minds_the_key(error, body):
                    raise
                reply = await library().acompletion(**given, **fixed, **body)
        except Exception as error:  # noqa: BLE001  # LiteLLM's, of any kind
            raise fault_of(error, self._faults) from None
        yield ChatReply(reply, self._faults)

    async def aclose(self) -> None:
        """Close nothing: LiteLLM keeps its connections for all its users."""


def _minds_the_key(error: Exception, body: Body) -> bool:
    """Take the cache's key out of a body if LiteLLM would not send it, and say so.

    For some providers that depends on more than the model, such as the address.
    """
    litellm = library()
    minds = isinstance(error, litellm.UnsupportedParamsError) and CACHE_KEY in str(error)
    return minds and body.pop(CACHE_KEY, None) is not None


def _reported(stream: Any) -> bool:
    """Say whether the provider reported usage; LiteLLM puts a guess of its own where it did not."""
    chunks = getattr(stream, "chunks", None)
    return chunks is None or any(getattr(chunk, "usage", None) is not None for chunk in chunks)


def _plain(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = value.model_dump(exclude_none=True, warnings=False)
    usage = plain.get("usage")
    if isinstance(usage, dict) and not usage.get("total_tokens"):
        del plain["usage"]  # LiteLLM's zeros, where the provider reported none
    return plain
