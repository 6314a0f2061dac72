"""Failures: what providers, networks and LiteLLM raise, as turnkeep's errors.

A message names the model, says what happened and what to do, and holds the provider's own sentence
cut to a line, without anything that looks like a key.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from turnkeep.errors import ModelError, ModelOverflow, ModelRefused, ModelUnavailable

LINE: Final = 300
"""Characters of the provider's sentence that a message keeps."""

_PASSING: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_OVERFLOW: Final = re.compile(
    r"context.{0,3}(length|window)|exceeds? (the )?(available )?context (limit|size)"
    r"|maximum context|prompt is too long|input is too long"
    r"|(input|prompt)[^.]{0,40} token[^.]{0,40}exceed|exceeds? the maximum number of tokens"
    r"|too many (input )?tokens|request_too_large|reduce the length of the (messages|prompt|input)",
    re.IGNORECASE,
)
_SPENT: Final = re.compile(r"insufficient_quota|exceeded your current quota", re.IGNORECASE)
_KEY: Final = re.compile(r"api[ _-]?key|credentials", re.IGNORECASE)
_KEYS: Final = re.compile(
    r"(?<![\w-])(sk-[\w*.-]{4,}|AIza[\w-]{8,}|(AKIA|ASIA)[A-Z0-9]{12,}|ya29\.[\w.-]+|xai-\w{8,}|gsk_\w{8,})"
    r"|(?<=[Bb]earer )\S+|(?<=[?&]key=)[^&\s]+"
)
_SECRET_NAME: Final = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)", re.IGNORECASE)

_STATUS_OF: Final = {
    # Anthropic, https://platform.claude.com/docs/en/api/errors
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    # OpenAI, codes of an error within a stream or a response
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    # Bedrock, exceptions within a stream
    "throttlingException": 429,
    "modelStreamErrorException": 500,
    "internalServerException": 500,
    "serviceUnavailableException": 503,
    "modelTimeoutException": 504,
    "validationException": 400,
}
"""Statuses that kinds of errors stand for, where a provider sends one without a status."""


_ADDRESS: Final = (httpx.InvalidURL, httpx.UnsupportedProtocol)


class Unreachable(ModelUnavailable):
    """The connection could not be made, or was lost."""


class Faults:
    """Makes the errors of one model; `secrets` are the keys that no message may hold."""

    def __init__(self, model: str, secrets: Iterable[str] = ()) -> None:
        self.model = model
        self._secrets = frozenset(
            form for secret in secrets for form in (secret, secret.strip()) if len(form) >= 6
        )

    def of_status(
        self, status: int, said: str, *, code: str = "", retry_after: float | None = None
    ) -> ModelError:
        """Make the error for an HTTP status and the provider's own sentence."""
        sentence = self.clean(said)
        shown = f"the provider answered {status}{f': {sentence}' if sentence else ''}"
        known: dict[str, Any] = {"model": self.model, "status": status}
        both = f"{code} {said}"
        if status == 413 or (400 <= status < 500 and status != 429 and _OVERFLOW.search(both)):
            return ModelOverflow(
                f"{self.model}: the request is larger than the model's window ({shown}); lower "
                "[context] max_tokens or raise its reserve",
                **known,
            )
        if status == 429 and _SPENT.search(both):
            return ModelRefused(
                f"{self.model}: the account's quota is used up ({shown}); see to its billing",
                **known,
            )
        if status in _PASSING or status >= 500:
            return ModelUnavailable(
                f"{self.model}: {shown}; try again later, or raise [model.litellm] retries",
                retry_after=retry_after,
                **known,
            )
        advice = _ADVICE[401] if _KEY.search(said) else _ADVICE.get(status, _CHECK)
        return ModelRefused(f"{self.model}: {shown}; {advice}", **known)

    def of_body(
        self, status: int, body: str, headers: Mapping[str, str] | None = None
    ) -> ModelError:
        """Make the error for a response that is one, from its text."""
        said, code, wait = _read(body)
        after = retry_after(headers or {})
        return self.of_status(status, said, code=code, retry_after=wait if after is None else after)

    def of_event(self, error: object) -> ModelError:
        """Make the error that a provider sent within a stream or a response."""
        said, code, wait = _read(error)
        status = _STATUS_OF.get(code)
        if status is None and isinstance(error, Mapping) and isinstance(error.get("code"), int):
            status = error["code"]
        if status is None:
            sentence = self.clean(said or code)
            return ModelError(
                f"{self.model}: the provider broke off: {sentence}; ask again, or ask its support",
                model=self.model,
            )
        return self.of_status(status, said, code=code, retry_after=wait)

    def unreachable(self, why: str) -> Unreachable:
        """Make the error for a connection that failed or broke."""
        return Unreachable(
            f"{self.model}: the connection failed ({self.clean(why)}); check the network and "
            "[model.litellm] api_base, or try again later",
            model=self.model,
        )

    def late(self, seconds: float) -> ModelUnavailable:
        """Make the error for a call that took longer than it may."""
        return ModelUnavailable(
            f"{self.model}: there was no whole answer within {seconds:g} s; raise [model.litellm] "
            "timeout, or try again later",
            model=self.model,
        )

    def cut(self) -> ModelUnavailable:
        """Make the error for a stream that ended before its answer did."""
        return ModelUnavailable(
            f"{self.model}: the stream broke off before the answer was whole; ask again",
            model=self.model,
        )

    def garbage(self, what: str) -> ModelError:
        """Make the error for an answer that is none."""
        return ModelError(
            f"{self.model}: the provider's answer cannot be read ({self.clean(what)}); check that "
            "[model.litellm] api_base and api are those of this model",
            model=self.model,
        )

    def misused(self, why: str) -> ModelRefused:
        """Make the error for what LiteLLM refuses before anything is sent."""
        return ModelRefused(
            f"{self.model}: LiteLLM refused the call: {self.clean(why)}; check [model.litellm]",
            model=self.model,
        )

    def unsendable(self, error: BaseException) -> ModelRefused:
        """Make the error for a request that cannot be put together.

        Of the exception only what holds no header is told: its text or repr may have the key.
        """
        if isinstance(error, ImportError):
            why = f"a package is missing ({self.clean(str(error))})"
        elif isinstance(error, OSError):
            why = f"a file cannot be read ({error.strerror}); check SSL_CERT_FILE and SSL_CERT_DIR"
        elif isinstance(error, _ADDRESS):
            why = (
                f"an address is none ({type(error).__name__}); check [model.litellm] api_base and "
            )
            why += "the variables HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
        else:
            why = "the key or a header has a character that HTTP does not allow there; check "
            why += "[model.litellm] api_key and headers, and the provider's environment variable"
        return ModelRefused(f"{self.model}: nothing was sent, as {why}", model=self.model)

    def keyless(self) -> ModelRefused:
        """Make the error for a provider that wants a key where none was given."""
        return ModelRefused(
            f"{self.model}: no API key was given, so nothing was sent; set [model.litellm] api_key "
            "or the provider's environment variable (any text, for a server that asks for none)",
            model=self.model,
        )

    def clean(self, text: str) -> str:
        """Cut a foreign sentence to one line and take all keys out of it."""
        for secret in sorted(self._secrets | _environment(), key=len, reverse=True):
            text = text.replace(secret, "***")
        text = " ".join(_KEYS.sub("***", text).split())
        return text if len(text) <= LINE else f"{text[:LINE]}…"


_CHECK: Final = "check the model's name, the request and [model.litellm]"
_ADVICE: Final = {
    401: "check [model.litellm] api_key, or the provider's environment variable",
    402: "see to the account's billing",
    403: "the key may not use this model: check its rights",
    404: "check the model's name and [model.litellm] api_base",
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read for how many seconds a provider asks to be left alone: a number, or a date."""
    lower = {name.lower(): value for name, value in headers.items()}
    if (milliseconds := _number(lower.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    given = lower.get("retry-after")
    if given is None:
        return None
    if (seconds := _number(given)) is not None:
        return seconds
    try:
        until = parsedate_to_datetime(given)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):  # of a day or a zone that there is not
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _read(error: object) -> tuple[str, str, float | None]:
    """Read an error in any provider's form: its sentence, its code, and Gemini's retryDelay."""
    if isinstance(error, str):
        try:
            error = json.loads(error)
        except ValueError:
            return str(error), "", None
    if isinstance(error, list) and error:  # Gemini sends a list of one where it would stream
        error = error[0]
    if isinstance(error, Mapping) and isinstance(error.get("error"), Mapping | str):
        error = error["error"]
    if not isinstance(error, Mapping):
        return str(error), "", None
    said = error.get("message") or error.get("Message") or ""
    code = next(
        (error[key] for key in ("code", "type", "status") if isinstance(error.get(key), str)), ""
    )
    return str(said), str(code), _delay(error.get("details"))


def _delay(details: object) -> float | None:
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and isinstance(detail.get("retryDelay"), str):
            return _number(detail["retryDelay"].removesuffix("s"))
    return None


def _environment() -> frozenset[str]:
    """Give the keys that LiteLLM may have found in the environment."""
    return frozenset(
        form
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name)
        for form in (value, value.strip())
        if len(form) >= 8
    )
