"""tiktoken's encodings without its downloads.

tiktoken fetches a vocabulary at its first use, which fails behind a firewall. toktok-rs carries
the same ones compiled in; from it the file that tiktoken would fetch is made again, and the SHA-256
that tiktoken asks for decides whether it is the right one, byte for byte. So there is one truth,
and both tokenizers are known to hold it.

tiktoken offers no way to hand a vocabulary to its own definition of an encoding (pattern, special
tokens, hash). Its cache folder would be one, but it is found by an environment variable of the
whole process and must be writable; replacing its loader would be seen by everybody else in the
process. So its module of definitions is executed once more, in a copy that nobody else sees, and
only the copy gets another loader. tiktoken's registry, cache and environment stay as they are.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from functools import cache
from pathlib import PurePosixPath
from threading import Lock
from types import ModuleType
from typing import Final

import tiktoken
import toktok  # type: ignore[import-untyped]  # it has no types
from tiktoken.model import encoding_name_for_model

from turnkeep.errors import TurnkeepError

CARRIED: Final = {
    "o200k_base": "o200k_base",
    "o200k_harmony": "o200k_base",
    "cl100k_base": "cl100k_base",
}
"""Encoding → the vocabulary file that it is made of."""
_DEFINITIONS: Final = "tiktoken_ext.openai_public"


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


_building = Lock()


def reference(name: str) -> tiktoken.Encoding:
    """Give tiktoken's encoding of a name, made at the first call. Raises VocabularyError."""
    with _building:  # of threads that come at once one works, the others wait
        return _made(name)


def count_quickly(name: str, texts: list[str]) -> list[int]:
    """Count texts without lone surrogates with toktok, on this thread alone."""
    counts: list[int] = toktok.batch_count(texts, name, threads=1)
    return counts


@cache
def _made(name: str) -> tiktoken.Encoding:
    definitions = _private_copy(_DEFINITIONS)
    if not hasattr(definitions, "load_tiktoken_bpe") or name not in CARRIED:
        raise VocabularyError(
            f"tiktoken {tiktoken.__version__} defines {name!r} in a way that this plugin does not "
            "know; install versions that go together"
        )
    definitions.load_tiktoken_bpe = _load  # type: ignore[attr-defined]  # the copy's alone
    return tiktoken.Encoding(**definitions.ENCODING_CONSTRUCTORS[name]())


def _private_copy(name: str) -> ModuleType:
    """Execute a module again under its name, leaving the one in sys.modules alone."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise VocabularyError(f"tiktoken {tiktoken.__version__} has no {name}; install it again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load(location: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """Stand in for tiktoken's loader: the vocabulary of a location from toktok, checked."""
    file = PurePosixPath(location).stem
    tokens = _carried(file)
    content = b"".join(
        base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)
    )
    if hashlib.sha256(content).hexdigest() != expected_hash:
        raise VocabularyError(
            f"the vocabulary {file} that toktok-rs {toktok.__version__} carries is not the one "
            f"that tiktoken {tiktoken.__version__} wants; install versions that go together"
        )
    return {token: rank for rank, token in enumerate(tokens)}


def _carried(name: str) -> list[bytes]:
    """Give the tokens of a vocabulary, by rank."""
    # Not part of toktok's promised interface, hence the narrow pin in pyproject.toml.
    tokenizer = toktok._encoding(name)
    tokens: list[bytes] = []
    for rank in range(min(rank for _, rank in tokenizer.special_tokens())):
        try:
            tokens.append(tokenizer.decode_single_token_bytes(rank))
        except KeyError:
            break  # ranks between the last token and the first special one are not used
    return tokens
