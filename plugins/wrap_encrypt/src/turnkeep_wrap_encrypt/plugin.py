"""The plugin's face: the wrapper's name, its options and how to open it. Light on purpose."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from turnkeep.hookspecs import Env, WrapperSpec, hookimpl
from turnkeep.store import SessionStore

KEY_BYTES: Final = 32
KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
WANTED: Final = (
    "a key is 32 random bytes as base64; make one: python -m turnkeep_wrap_encrypt new-key"
)


class KeyFile(BaseModel):
    """A file that holds a key and nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    file: Path = Field(description="relative to the folder of this configuration")


def key_bytes(text: str) -> bytes:
    """Read a key. Raises ValueError, without the text, for what is none."""
    try:
        key = b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(WANTED) from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{WANTED}; this one has {len(key)}")
    return key


def _source(value: object) -> object:
    """Read where a key comes from."""
    if isinstance(value, str):
        key_bytes(value)
        return SecretStr(value)
    if isinstance(value, Mapping) and set(value) == {"file"} and isinstance(value["file"], str):
        return KeyFile(file=Path(value["file"]))
    if isinstance(value, SecretStr | KeyFile):
        return value
    raise ValueError('a key is { env = "VARIABLE" } or { file = "PATH" }')


KeySource: TypeAlias = Annotated[SecretStr | KeyFile, BeforeValidator(_source)]


class EncryptOptions(BaseModel):
    """The table `[session.encrypt]`. No key is shown in any message."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: dict[str, KeySource] = Field(
        min_length=1,
        description="keys by a name of your own; each reads what it wrote, as long as it stands "
        "here",
        examples=[{"2026-11": {"env": "SESSION_KEY"}}],
    )
    key: str | None = Field(
        default=None,
        validate_default=True,
        description="the name of the key that new data is written with; default: the only one",
        examples=["2026-11"],
    )
    allow_plain: bool = Field(
        default=False,
        description="read what is not encrypted, too: for the time of a move to encryption only",
    )

    @field_validator("keys")
    @classmethod
    def _names(cls, keys: dict[str, KeySource]) -> dict[str, KeySource]:
        for name in keys:
            if not KEY_ID.fullmatch(name):
                raise ValueError("a key's name is 1 to 64 letters, digits, '.', '_' and '-'")
        return keys

    @field_validator("key")
    @classmethod
    def _is_named(cls, key: str | None, info: ValidationInfo) -> str | None:
        keys: dict[str, KeySource] | None = info.data.get("keys")
        if keys is None:
            return key  # told already
        if key is None and len(keys) == 1:
            return next(iter(keys))
        if key not in keys:
            raise ValueError("must be one of the names in `keys`, as there are several")
        return key


@asynccontextmanager
async def open_encrypted(
    store: SessionStore, options: EncryptOptions, env: Env
) -> AsyncIterator[SessionStore]:
    """Stand around a store. Raises ConfigError for a key that cannot be read."""
    from turnkeep_wrap_encrypt.keys import Keyring  # only when opened
    from turnkeep_wrap_encrypt.store import EncryptedStore

    ring = Keyring.of(options, env.data_dir)
    encrypted = EncryptedStore(store, ring, allow_plain=options.allow_plain)
    try:
        yield encrypted
    finally:
        await encrypted.close()


@hookimpl
def store_wrappers() -> Iterable[WrapperSpec[Any]]:
    """Offer the wrapper `encrypt`."""
    return [
        WrapperSpec(
            name="encrypt",
            summary="keeps sessions encrypted: AES-256-GCM, keys that rotate",
            options=EncryptOptions,
            open=open_encrypted,
            before=("compress",),  # what is encrypted does not shrink
        )
    ]
