"""tiktoken's vocabularies without its downloads.

tiktoken fetches a vocabulary at its first use, which fails behind a firewall. toktok-rs carries the
same ones compiled in; from it the file that tiktoken would fetch is made again, byte for byte, and
tiktoken's own check of its SHA-256 decides whether it is the right one. So there is one truth:
tiktoken's encodings, loaded by tiktoken.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from pathlib import PurePosixPath
from threading import Lock
from typing import Any, Final

import tiktoken
import tiktoken.load
import toktok
from tiktoken.model import encoding_name_for_model

from turnkeep.errors import TurnkeepError

CARRIED: Final = {
    "o200k_base": "o200k_base",
    "o200k_harmony": "o200k_base",
    "cl100k_base": "cl100k_base",
}
"""Encoding → the vocabulary file that it is made of."""


class VocabularyError(TurnkeepError):
    """A vocabulary cannot be had; the message says what to do."""


def encoding_name(model: str) -> str | None:
    """Give the encoding of a model, with or without a provider in front; None if unknown.

    The names are tiktoken's: https://github.com/openai/tiktoken/blob/main/tiktoken/model.py.
    """
    for name in (model, model.rpartition("/")[2]):
        try:
            return encoding_name_for_model(name)
        except KeyError:
            continue
    return None


_patching = Lock()


@lru_cache
def reference(name: str) -> tiktoken.Encoding:
    """Give tiktoken's encoding of a name. Raises VocabularyError."""
    with _patching:
        fetch = tiktoken.load.read_file_cached

        def read(blobpath: str, expected_hash: str | None = None) -> bytes:
            file = PurePosixPath(blobpath).stem
            if file not in CARRIED:
                return fetch(blobpath, expected_hash)  # another thread's, of another vocabulary
            contents = _carried(file)
            if expected_hash and not tiktoken.load.check_hash(contents, expected_hash):
                raise VocabularyError(
                    f"the vocabulary {file} that toktok-rs carries is not the one that tiktoken "
                    f"{tiktoken.__version__} wants; install versions that go together"
                )
            return contents

        tiktoken.load.read_file_cached = read
        try:
            return tiktoken.get_encoding(name)
        finally:
            tiktoken.load.read_file_cached = fetch


def quick(name: str) -> Any:
    """Give toktok's tokenizer with the same vocabulary."""
    return toktok._encoding(name)


def _carried(name: str) -> bytes:
    """Make the file that tiktoken would fetch: a line for each token, by rank."""
    tokenizer = quick(name)
    lines = []
    for rank in range(min(rank for _, rank in tokenizer.special_tokens())):
        try:
            token = tokenizer.decode_single_token_bytes(rank)
        except KeyError:
            break  # ranks between the last token and the first special one are not used
        lines.append(base64.b64encode(token) + b" %d\n" % rank)
    return b"".join(lines)
