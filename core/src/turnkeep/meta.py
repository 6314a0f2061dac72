"""Core's own notes in a session's head: the open turn, and what an import brought along."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import NoneType
from typing import Any, Final, NamedTuple

from turnkeep.codec import decode_object, encode_object
from turnkeep.errors import ContentError, CorruptSession, SessionBusy
from turnkeep.store import Head

TURN_TIMEOUT: Final = 300.0
"""Seconds of silence after which an open turn counts as dead."""


class Meta(NamedTuple):
    """The decoded `Head.meta`. Keys of newer versions are kept in `rest`."""

    turn: str | None = None
    """Id of the turn that is running, or was when its process died."""
    header: dict[str, Any] = {}  # noqa: RUF012  # never changed, only replaced
    """Fields of the session line it was imported from (source, model, tools …)."""
    imported: dict[str, Any] | None = None
    """`created`, `updated` as imported, and the `version` they hold for."""
    forked: dict[str, Any] | None = None
    """`session` and `seq` that it was forked from."""
    first_state: dict[str, Any] = {}  # noqa: RUF012  # never changed, only replaced
    """The state that it began with, where an import brought one that no event tells."""
    tokens: dict[str, Any] = {}  # noqa: RUF012  # never changed, only replaced
    """What the next turn need not count or learn again; void once the context is rewritten."""
    rest: dict[str, Any] = {}  # noqa: RUF012  # never changed, only replaced

    @classmethod
    def of(cls, head: Head) -> Meta:
        """Decode a head's meta. Raises CorruptSession, also where a note is not what it must be."""
        if not head.meta:
            return cls()
        rest = decode_object(head.meta, session_id=head.session_id, what="its meta")
        tokens = rest.pop("tokens", {})
        meta = cls(
            turn=rest.pop("turn", None),
            header=rest.pop("header", {}),
            imported=rest.pop("imported", None),
            forked=rest.pop("forked", None),
            first_state=rest.pop("first_state", {}),
            tokens=tokens if _writable(tokens) else {},  # a help only: begun anew where it is odd
            rest=rest,
        )
        if problem := meta._problem():
            raise CorruptSession(head.session_id, 0, f"its meta: {problem}")
        return meta

    def _problem(self) -> str | None:
        for name, kinds in (
            ("turn", (str, NoneType)),
            ("header", (dict,)),
            ("imported", (dict, NoneType)),
            ("forked", (dict, NoneType)),
            ("first_state", (dict,)),
        ):
            if type(getattr(self, name)) not in kinds:
                return f"{name} is {type(getattr(self, name)).__name__}"
        for name in ("created", "updated"):
            found = (self.imported or {}).get(name)
            try:
                moment = None if found is None else datetime.fromisoformat(found)
            except (TypeError, ValueError):
                return f"imported.{name} is no time"
            if moment is not None and moment.tzinfo is None:
                return f"imported.{name} has no zone"
        return None

    def encode(self, session_id: str) -> bytes:
        """Encode for the store. Raises ContentError for what is not JSON."""
        fields = dict(self.rest)
        if self.turn is not None:
            fields["turn"] = self.turn
        if self.header:
            fields["header"] = self.header
        if self.imported is not None:
            fields["imported"] = self.imported
        if self.forked is not None:
            fields["forked"] = self.forked
        if self.first_state:
            fields["first_state"] = self.first_state
        if self.tokens:
            fields["tokens"] = self.tokens
        return encode_object(fields, f"the meta of session {session_id!r}")


def _writable(tokens: object) -> bool:
    """Say whether notes can be kept; those of another version, or by another hand, may not."""
    if not isinstance(tokens, dict):
        return False
    try:
        encode_object(tokens, "tokens")
    except ContentError:
        return False
    return True


def times(head: Head, meta: Meta) -> tuple[datetime, datetime]:
    """Give a session's created and updated: as imported until the first append after it."""
    if meta.imported is None:
        return head.created, head.updated
    created = meta.imported.get("created")
    updated = meta.imported.get("updated")
    untouched = meta.imported.get("version") == head.revision.version
    return (
        datetime.fromisoformat(created) if created else head.created,
        datetime.fromisoformat(updated) if updated and untouched else head.updated,
    )


def check_free(head: Head, meta: Meta, now: datetime, timeout: float) -> SessionBusy | None:
    """Give the error to raise if a turn is open and was heard of in the last `timeout` seconds.

    Both times are the store's clock. One that was set back further than that says nothing of a
    turn, so the turn does not count as running.
    """
    if meta.turn is not None and abs(now - head.updated) < timedelta(seconds=timeout):
        age = max((now - head.updated).total_seconds(), 0.0)
        return SessionBusy(
            head.session_id,
            head,
            f"session {head.session_id!r} has a turn running (last heard of {age:.0f} s ago); wait "
            f'for it, open the turn with on_conflict="wait", or take it over once it has been '
            f"silent for {timeout:.0f} s",
        )
    return None
