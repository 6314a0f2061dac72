"""Keys: reading them, and making the key of each session from them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from turnkeep.errors import ConfigError
from turnkeep_wrap_encrypt.plugin import KEY_BYTES, EncryptOptions, KeyFile, key_bytes

_PURPOSE: Final = b"turnkeep-wrap-encrypt 1 session "
_READY: Final = 4096
"""Ciphers of so many sessions are kept at hand; making one takes some microseconds."""


class UnknownKey(ValueError):
    """Data was written with a key that is not here."""


class Keyring:
    """All keys by their names, and the one for new data.

    Nothing is encrypted with a key itself: each session has a key of its own, made from it by
    HKDF-SHA256 over the session's id. So the 2^32 messages that random nonces of 96 bits allow for
    a key are those of one session, not those of all.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._keys = dict(keys)
        self.current = current
        self.cipher = lru_cache(maxsize=_READY)(self._cipher)

    @classmethod
    def of(cls, options: EncryptOptions, folder: Path) -> Keyring:
        """Read the keys that the options name. Raises ConfigError, naming the TOML key."""
        assert options.key is not None  # the options' own check
        keys = {name: _read(name, source, folder) for name, source in options.keys.items()}
        return cls(keys, options.key)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)}; new data: {self.current})"

    def _cipher(self, name: str, session_id: str) -> AESGCM:
        """Give the cipher of a session. Raises UnknownKey."""
        if name not in self._keys:
            raise UnknownKey(
                f"it is encrypted with key {name!r}, which [session.encrypt] keys does not name; "
                "add that key to read it"
            )
        made = HKDF(SHA256(), length=KEY_BYTES, salt=None, info=_PURPOSE + session_id.encode())
        return AESGCM(made.derive(self._keys[name]))


def _read(name: str, source: SecretStr | KeyFile, folder: Path) -> bytes:
    if isinstance(source, SecretStr):
        return key_bytes(source.get_secret_value())
    path = folder / source.file.expanduser()
    place = f"[session.encrypt] keys.{name}"
    try:
        return key_bytes(path.read_text(encoding="ascii"))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"{place}: the file {path} cannot be read: {why}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{place}: the file {path} holds no key as base64") from None
    except ValueError as error:
        raise ConfigError(f"{place}: the file {path}: {error}") from None
