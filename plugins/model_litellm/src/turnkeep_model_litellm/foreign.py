"""LiteLLM's exceptions, as turnkeep's errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import httpx

from turnkeep.errors import ModelError
from turnkeep_model_litellm.faults import Faults, retry_after
from turnkeep_model_litellm.library import library

_PREFIX: Final = re.compile(r"^((litellm\.)?\w*(Error|Exception|Timeout|Message)\s*[:-]\s*)+")
"""What LiteLLM puts before a provider's sentence: names of its exceptions."""

_UNREADABLE: Final = (ValueError, TypeError, AttributeError, LookupError)
"""What LiteLLM runs into where an answer has not the form that it expects."""

_UNSENDABLE: Final = (httpx.LocalProtocolError, UnicodeEncodeError)
"""What keys and headers cause that HTTP does not allow."""

_ILLEGAL: Final = "control character detected in headers"
_NO_ANSWER: Final = re.compile(
    r"empty or invalid response from LLM endpoint|response with no 'choices'", re.IGNORECASE
)
"""What LiteLLM says of an answer with status 200 that is none; the status 500 is its own."""


def fault_of(error: Exception, faults: Faults, *, sent: bool = True) -> ModelError:
    """Make the error for anything that a call of LiteLLM raised; `sent`: it asked the provider."""
    litellm, openai = library(), library("openai")
    if isinstance(error, ModelError):
        return error
    said = _PREFIX.sub("", str(error)).partition("\nTraceback")[0]
    chain = list(_chain(error))
    if isinstance(error, litellm.ContextWindowExceededError):
        return faults.of_status(400, said, code="context_length_exceeded")
    if not sent and isinstance(error, litellm.AuthenticationError):
        return faults.keyless()
    if not _answered(error):
        for cause in chain:
            if isinstance(cause, _UNSENDABLE) or _ILLEGAL in str(cause):
                return faults.unsendable(cause)
        if sent and _NO_ANSWER.search(said):
            return faults.garbage(said)
    # LiteLLM gives lost connections, and answers that are none, the status 500: the cause tells.
    network = (openai.APIConnectionError, httpx.TransportError, ConnectionError, TimeoutError)
    if any(isinstance(cause, network) and not _made_up(cause) for cause in chain):
        return faults.unreachable(said)
    if sent and not _answered(error) and any(isinstance(cause, _UNREADABLE) for cause in chain):
        return faults.garbage(said)
    if not _answered(error):
        if any(type(cause) is openai.OpenAIError for cause in chain):
            return faults.misused(said)  # the SDK's own, such as for a key that is missing
        if isinstance(
            error, litellm.exceptions.MidStreamFallbackError | litellm.APIConnectionError
        ):
            return faults.unreachable(said)
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 300:
        return faults.of_status(
            status, said, code=str(getattr(error, "code", "") or ""), retry_after=_wait(error)
        )
    return faults.misused(said)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _made_up(error: BaseException) -> bool:
    """Say whether an exception is LiteLLM's own: it calls much a failed connection."""
    return type(error).__module__.startswith("litellm")


def _answered(error: Exception) -> bool:
    """Say whether a provider answered: LiteLLM makes up responses too, but without headers."""
    return any(_headers(error))


def _wait(error: Exception) -> float | None:
    for headers in _headers(error):
        if headers and (seconds := retry_after(headers)) is not None:
            return seconds
    return None


def _headers(error: Exception) -> tuple[Any, Any]:
    response = getattr(error, "response", None)
    return getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)
