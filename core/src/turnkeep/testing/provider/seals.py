"""Seals: what stands for the encryption of reasoning.

They hold no state, so that a conversation may go on with another server: a seal is a hash of what
it seals.
"""

from __future__ import annotations

import base64
import hashlib


def seal(*parts: str) -> str:
    """Seal parts, in base64."""
    digest = hashlib.sha256(b"turnkeep provider server")
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data) + data)
    return base64.b64encode(digest.digest()).decode("ascii")


def holds(given: object, *parts: str) -> bool:
    """Say whether a seal is the one of these parts, in either alphabet of base64."""
    if not isinstance(given, str):
        return False
    return given.replace("-", "+").replace("_", "/") == seal(*parts)
