"""The names of keys, and of what stands in an index. Ids may hold anything.

PREFIX:s:ID      a session, whole, in one list: one key is one slot of a Cluster, moves between its
                 nodes in one piece, and expires at one moment.
PREFIX:u:USER    the sessions of a user
PREFIX:a:SHARD   the sessions of all users
PREFIX:x:SHARD   when each session that stands in an index is to be looked after
PREFIX:format    the version of all this

A prefix has no colon, so no key of one prefix is one of another.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from typing import Final, NamedTuple

FORMAT: Final = 1
SHARDS: Final = 64
"""So many parts has the index of all sessions, so that no one key, nor node, gets all of it."""

_LAST: Final = 10**16 - 1
_DIGITS: Final = 16
_INCARNATION: Final = 8


class Keys:
    """Makes the names of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.format = f"{prefix}:format".encode()
        self.all = [f"{prefix}:a:{shard}".encode() for shard in range(SHARDS)]
        self.due = [f"{prefix}:x:{shard}".encode() for shard in range(SHARDS)]
        self._session = f"{prefix}:s:"
        self._user = f"{prefix}:u:"

    def session(self, session_id: str) -> bytes:
        """Name the key of a session."""
        return (self._session + _plain(session_id)).encode()

    def user(self, user_id: str) -> bytes:
        """Name the index of a user."""
        return (self._user + _plain(user_id)).encode()


class Member(NamedTuple):
    """One life of a session, as it stands in the indexes."""

    created: int
    session_id: str
    user_id: str | None
    incarnation: bytes

    def encode(self) -> bytes:
        """Write it so that members sort as `list` does: newest first, then by id.

        The NUL, which no id may hold, sorts an id before all that begin with it. The incarnation
        tells two lives apart that begin in the same millisecond.
        """
        user = self.user_id or ""
        name = f"{_LAST - self.created:0{_DIGITS}}{self.session_id}\0{user}"
        return name.encode() + self.incarnation

    @property
    def shard(self) -> int:
        """The part of the index of all sessions that it belongs to."""
        return zlib.crc32(self.session_id.encode()) % SHARDS


def parse_member(text: bytes) -> Member:
    """Read what `Member.encode` made. Raises ValueError for what it cannot have made."""
    session_id, between, user = text[_DIGITS:-_INCARNATION].decode().partition("\0")
    created = _LAST - int(text[:_DIGITS])
    if not (session_id and between):
        raise ValueError("no session's member")
    return Member(created, session_id, user or None, text[-_INCARNATION:])


def behind(created: int, session_id: str) -> bytes:
    """Give where, in an index, the members behind this one begin."""
    return f"{_LAST - created:0{_DIGITS}}{session_id}\x01".encode()


def cursor(member: Member) -> str:
    """Make a cursor that continues behind a member."""
    text = json.dumps([member.created, member.session_id], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode()


def parse_cursor(text: str) -> bytes:
    """Give where to continue. Raises ValueError for what is no cursor."""
    try:
        created, session_id = json.loads(base64.b64decode(text, b"-_", validate=True))
        if type(created) is int and type(session_id) is str and 0 <= created <= _LAST:
            return behind(created, session_id)
    except (ValueError, TypeError, binascii.Error):
        pass
    raise ValueError(f"{text!r} is no cursor of this store: pass one that `list` returned")


def _plain(text: str) -> str:
    """Take the braces away, by which an id would choose its own slot in a Cluster."""
    if "{" in text or "}" in text or "%" in text:
        return text.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    return text
