"""What a server says went wrong: whether to try again, and the sentence for whoever called.

By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html). A connection that
cannot be made has none, only a sentence.
"""

from __future__ import annotations

import re
from typing import Final

from turnkeep.errors import StoreError, StoreUnavailable


class ServerError(Exception):
    """A statement failed, and the server has undone it. The message has no values of it."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class LinkLost(Exception):
    """The connection is gone. `sent`: a statement had been sent, so it may have been kept."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class PoolBusy(Exception):
    """All connections of the process stayed in use. `answered`: some call got its answer."""

    def __init__(self, *, answered: bool) -> None:
        super().__init__("all connections of this process were in use")
        self.answered = answered


class CannotConnect(Exception):
    """A connection cannot be made. `final`: nor will it be if it is tried again."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


UNKNOWN: Final = "40003"
"""The server does not know how the statement ended."""

SERIALIZATION: Final = frozenset({"40001", "40P01"})
"""It was undone because of what others did at the same time: the same again may do."""

READ_ONLY: Final = "25006"
"""The server has become a standby: its connections are of no use for writing any more."""

TOO_LONG: Final = "57014"
"""It was cancelled: by the limit for a statement, or by an administrator."""

TOO_COMPLEX: Final = frozenset({"54000", "54001", "XX000"})
"""It is nested too deeply, or too large, for the server to understand."""

UNPREPARED: Final = frozenset({"26000", "42P05"})
"""A prepared statement is not there, or is there already: a pooler has exchanged the server."""

DUPLICATE: Final = frozenset({"42P07", "42P06", "42710", "42701", "23505"})
"""Somebody else has just made the same table, schema, index, column, or row of a catalogue."""

CORRUPT: Final = frozenset({"XX001", "XX002"})

_NO_ROOM: Final = {
    "53100": "the server's disk is full: make room on it",
    "53200": "the server is out of memory: give it more, or lower its work_mem or max_connections",
    "53400": "the server has reached a limit that is configured",
    "58030": "the server cannot read or write its files: look at its log and its disk",
    "57014": "it took longer than statement_timeout allows, or an administrator cancelled it",
    "55P03": "it took longer to get a lock than the server's lock_timeout allows",
}
_SETUP: Final = {
    "42501": "the user lacks a right: GRANT USAGE on the schema, and SELECT, INSERT, UPDATE and "
    "DELETE on its tables; to make them, CREATE on the database",
    "42P01": "a table is not there any more: was it dropped while the store was open?",
    "3F000": "the schema is not there any more: was it dropped while the store was open?",
    "42703": "a column is not there: was the schema changed by hand?",
}

_FINAL: Final = re.compile(
    r"authentication failed|no pg_hba\.conf entry|(role|user|database) \S+ does not exist"
    r"|no such (user|database)|no password supplied|not permitted to log in|permission denied"
    r"|does not support SSL|certificate|servname not supported|invalid (port|connection|URI)"
    r"|unsupported startup"
    r"|unsupported frontend|not allowed to connect|not currently accepting connections",
    re.IGNORECASE,
)


def is_final(message: str) -> bool:
    """Tell whether a connection that failed so will fail again, as after a wrong password.

    By the server's English: in another language it is tried again, and fails a little later.
    """
    return _FINAL.search(message) is not None


def ends_connection(severity: str, sqlstate: str) -> bool:
    """Tell whether the connection is lost with this error, or the outcome unknown."""
    return severity in {"FATAL", "PANIC"} or sqlstate.startswith("08") or sqlstate == UNKNOWN


def one_line(text: str) -> str:
    """Give a server's message without the line breaks and tabs that libpq puts in."""
    return " ".join(text.split())


def failed(error: ServerError, place: str, what: str, *, doubt: bool = False) -> StoreError:
    """Make the error for a statement that failed for good.

    Nothing of it was kept; with `doubt`, an earlier try of the same may have been.
    """
    said = f"{error} (SQLSTATE {error.sqlstate})"
    outcome = "may have been kept by a first try" if doubt else "was not done"
    advice = _NO_ROOM.get(error.sqlstate)
    if advice is not None or doubt or error.sqlstate[:2] in {"53", "58"}:
        advice = advice or "the server's log says more"
        return StoreUnavailable(f"{place}: {what} {outcome}: {advice}. It says: {said}")
    advice = _SETUP.get(error.sqlstate, "this is not expected; the server's log says more")
    return StoreError(f"{place}: {what} {outcome}: {advice}. It says: {said}")


def busy(place: str, what: str, size: int, seconds: float, *, answered: bool) -> StoreError:
    """Make the error for a call that got no connection, and so did nothing."""
    advice = (
        "raise pool_size, or make fewer calls at a time"
        if answered
        else "no call had an answer in this time, so the server is slow or away, or locked by "
        "others; only where it is well raise pool_size"
    )
    return StoreUnavailable(
        f"{place}: {what} was not begun: all {size} connections of this process were in use for "
        f"{seconds:g} s (option pool_timeout): {advice}"
    )


def away(place: str, what: str, seconds: float, reason: Exception, *, doubt: bool) -> StoreError:
    """Make the error for a server that stayed away for as long as a call may wait."""
    kept = "whether it was kept is unknown" if doubt else "nothing was kept"
    return StoreUnavailable(
        f"{place}: {what} failed, and {kept}; the server stayed away for {seconds:g} s "
        f"(option retry_for): {reason}"
    )
