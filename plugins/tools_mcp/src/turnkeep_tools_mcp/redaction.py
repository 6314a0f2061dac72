"""Keeping secrets out of sentences: what a server was given in confidence is blanked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

_BLANK: Final = "***"
_SHORTEST: Final = 4
"""Shorter values ("1", "on") keep no secret, and blanking them would make sentences unreadable."""
_TOKEN: Final = 16
"""Parts of a URL's path from this length on may be keys: some services have them there."""
_LONGEST: Final = 2_000


class Redaction:
    """Blanks secret values in texts of others, and cuts what is too long for a sentence."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {secret for secret in secrets if len(secret.strip()) >= _SHORTEST}
        # A value that holds another one goes first, or its rest would stay.
        self._secrets = sorted(found, key=lambda secret: (-len(secret), secret))

    def __call__(self, text: str, limit: int = _LONGEST) -> str:
        """Give the text without the secrets, at most `limit` characters of it."""
        for secret in self._secrets:
            text = text.replace(secret, _BLANK)
        return text if len(text) <= limit else f"{text[: limit - 1]}…"


def of_environment(values: Mapping[str, str]) -> list[str]:
    """Give the secrets in environment variables: their values, and each line of them."""
    return [part for value in values.values() for part in (value, *value.splitlines())]


def of_headers(values: Mapping[str, str]) -> list[str]:
    """Give the secrets in HTTP headers: their values, with and without a scheme in front."""
    return [part for value in values.values() for part in (value, value.partition(" ")[2])]


def of_url(url: str) -> list[str]:
    """Give the secrets in a URL: itself, user and password, long parts of its path, its query."""
    split = urlsplit(url)
    query = [each for pair in split.query.split("&") for each in (pair, pair.partition("=")[2])]
    path = [part for part in split.path.split("/") if len(part) >= _TOKEN]
    user = [part for part in (split.username, split.password) if part]
    found = [url, *user, *path, *query]
    return [form for each in found for form in (each, unquote(each))]
