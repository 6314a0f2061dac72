"""The encrypted store: how bytes are sealed, and what a seal is bound to.

Sealed bytes are: `MAGIC`, the length of the key's name in a byte, the name, a random nonce of 12
bytes, and what AES-256-GCM gives (16 bytes longer than the data). A seal holds for one place only:
everything before the nonce and the place are authenticated with it.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag

from turnkeep.store import Capability, Record, SessionStore
from turnkeep.stores.coded import CodedStore, Place
from turnkeep_wrap_encrypt.keys import Keyring
from turnkeep_wrap_encrypt.plugin import KEY_ID

MAGIC: Final = b"\xffte\x01"
"""Begins what is sealed, with the version of the form. A byte 255 stands in no UTF-8."""
_FAMILY: Final = MAGIC[:-1]
_NONCE: Final = 12
_TAG: Final = 16
_KINDS: Final = {"record": b"r", "state": b"s", "meta": b"m"}


class EncryptedStore(CodedStore):
    """A store whose records, states and metas are sealed. Ids, times and sizes stay readable."""

    bound = True

    def __init__(self, inner: SessionStore, ring: Keyring, *, allow_plain: bool = False) -> None:
        super().__init__(inner)
        self._ring = ring
        self._allow_plain = allow_plain

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Those of the store inside but copying records, and searching in what it cannot read."""
        return super().capabilities - {Capability.SEARCH}

    def kept(self, place: Place, record: Record) -> Record:
        """Seal a record, and keep its plain text from the store."""
        return super().kept(place, record)._replace(text=None)

    def encode(self, place: Place, data: bytes) -> bytes:
        """Seal data with the current key."""
        name = self._ring.current
        header = _header(name)
        nonce = os.urandom(_NONCE)
        cipher = self._ring.cipher(name, place.session_id)
        return header + nonce + cipher.encrypt(nonce, data, header + _bound_to(place))

    def decode(self, place: Place, data: bytes) -> bytes:
        """Open a seal. Raises ValueError for one that does not hold here."""
        if not data.startswith(_FAMILY):
            if self._allow_plain:
                return data
            raise ValueError(
                "it is not encrypted; [session.encrypt] allow_plain = true reads what was stored "
                "before encryption"
            )
        name, start = _key_name(data)
        cipher = self._ring.cipher(name, place.session_id)
        nonce, sealed = data[start : start + _NONCE], data[start + _NONCE :]
        try:
            return cipher.decrypt(nonce, sealed, data[:start] + _bound_to(place))
        except InvalidTag:
            raise ValueError(
                f"it cannot be decrypted with key {name!r}: that key was another one when it was "
                "written, or its bytes were changed, or brought here from another place"
            ) from None


def _header(name: str) -> bytes:
    return MAGIC + bytes([len(name)]) + name.encode("ascii")


def _key_name(data: bytes) -> tuple[str, int]:
    """Read the name of the key, and where the nonce begins. Raises ValueError."""
    size = len(MAGIC)
    if data[:size] != MAGIC and len(data) >= size:
        raise ValueError(
            "it is sealed in a form that this version does not know; upgrade turnkeep-wrap-encrypt"
        )
    start = size + 1 + (data[size] if len(data) > size else 0)
    name = data[size + 1 : start].decode("ascii", "replace")
    if len(data) < start + _NONCE + _TAG or not KEY_ID.fullmatch(name):
        raise ValueError("it is damaged: it begins like a seal and is none")
    return name, start


def _bound_to(place: Place) -> bytes:
    """Write a place so that no two places are written alike."""
    session = place.session_id.encode()
    return b"".join(
        (
            _KINDS[place.kind],
            len(session).to_bytes(2, "big"),
            session,
            place.seq.to_bytes(8, "big"),
            place.incarnation,
        )
    )
