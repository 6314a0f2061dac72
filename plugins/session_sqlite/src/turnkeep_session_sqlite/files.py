"""Opening a database file: checks, pragmas, first use, and what SQLite's errors mean to a user.

An up-to-date file is recognised by raw sqlite3; only one that must be created or migrated imports
SQLAlchemy. Needs SQLite 3.24 (2018) and Python's sqlite3 in autocommit mode (isolation_level=None),
where the only transactions are those this package begins itself.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from turnkeep.errors import StoreError, StoreUnavailable

SCHEMA_VERSION: Final = 1
"""What PRAGMA user_version says of a file that this code made."""
CHECKPOINT_PAGES: Final = 4000
"""Pages of 4 kB, see `_tune`."""
APPLICATION_ID: Final = 0x74726E6B
"""Marks a file as ours in its header ("trnk"; https://sqlite.org/pragma.html#pragma_application_id)."""
SETUP_SECONDS: Final = 30.0
"""How long first use may wait for other processes that create or migrate the same file."""

_MINIMUM: Final = (3, 24, 0)
_ROOM: Final = 64 << 10
"""Bytes that must be free to open a file: the index of its write-ahead log takes 32 kB."""
_UNREACHABLE: Final = frozenset({"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"})


@dataclass(frozen=True)
class Location:
    """A database file and how it is used; two equal ones in a process share their threads.

    `path` is absolute and resolved; `busy_timeout` is in seconds.
    """

    path: Path
    synchronous: Literal["full", "normal"]
    busy_timeout: float


def open_writer(location: Location) -> sqlite3.Connection:
    """Open the one connection that writes, creating or migrating the file where that is due.

    Raises StoreUnavailable where the file cannot be reached or written, and StoreError where it is
    no SQLite database, another program's, or of a newer schema.
    """
    if sqlite3.sqlite_version_info < _MINIMUM:
        raise StoreUnavailable(
            f"the sqlite store needs SQLite 3.24, Python brings {sqlite3.sqlite_version}; "
            "use a newer Python"
        )
    _check_path(location.path)
    _check_room(location.path)
    try:
        connection = _connect(location)
        try:
            _set_up(connection, location)
            _tune(connection, location)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise explain(error, location) from error
    return connection


def open_reader(location: Location) -> sqlite3.Connection:
    """Open a connection that cannot write. Raises StoreUnavailable or StoreError."""
    try:
        connection = _connect(location)
        try:
            connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise explain(error, location) from error
    return connection


def empty_log(location: Location) -> bool:
    """Copy the write-ahead log into the file and empty it; False if readers are in the way.

    So nothing is left in it of what was overwritten (https://sqlite.org/pragma.html#pragma_wal_checkpoint).
    """
    try:
        connection = _connect(location)
        try:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise explain(error, location) from error
    return not busy


def primary_code(error: BaseException) -> int:
    """Give SQLite's primary result code, 0 where the error has none (https://sqlite.org/rescode.html)."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def explain(error: sqlite3.Error, location: Location) -> StoreError:
    """Turn SQLite's error into ours: the file, the cause, the way out."""
    path = location.path
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    kind = "_".join(name.split("_")[:2])  # SQLITE_BUSY_SNAPSHOT is a kind of SQLITE_BUSY
    cause = f"({name}: {error})"
    if kind in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
        return StoreUnavailable(
            f"{path} stayed locked by another process for longer than busy_timeout = "
            f"{location.busy_timeout:g} s {cause}; nothing was written: end what holds it, or "
            "raise busy_timeout in [session.sqlite]"
        )
    if kind == "SQLITE_FULL":
        return StoreUnavailable(
            f"there is no room to write {path} {cause}; nothing was written: free some and repeat"
        )
    if kind == "SQLITE_IOERR":
        return StoreUnavailable(
            f"{path} could not be read or written {cause}; whether the write was kept is unknown: "
            "check the disk's space and health, then load the session again"
        )
    if kind in _UNREACHABLE:
        return StoreUnavailable(
            f"{path} cannot be opened for writing {cause}: check that the file and its folder "
            "exist and that this user may write to both"
        )
    if kind == "SQLITE_NOTADB":
        return StoreError(
            f"{path} is no SQLite database, an encrypted one, or damaged at its beginning {cause}: "
            "choose another path in [session.sqlite], or restore a backup; the file was not touched"
        )
    if kind == "SQLITE_CORRUPT":
        return StoreError(
            f"{path} is damaged {cause}: restore a backup, or save what can be read from a copy "
            "with the `.recover` command of sqlite3"
        )
    if kind == "SQLITE_TOOBIG" or isinstance(error, sqlite3.DataError):
        return StoreError(f"a value is larger than SQLite can keep {cause}; nothing was written")
    return StoreError(f"SQLite refused an operation on {path} {cause}")


def _check_path(path: Path) -> None:
    """Refuse by name what SQLite would answer with "unable to open database file"."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise StoreUnavailable(
                f"{path} is a folder; path in [session.sqlite] names a file, as in "
                f"{path / 'sessions.db'}"
            )
        exists = path.exists()
    except OSError as error:
        raise StoreUnavailable(
            f"the folder {path.parent} for the sessions cannot be used ({error.strerror}): create "
            "it, or choose another path in [session.sqlite]"
        ) from error
    # The write-ahead log is made beside the file, so both must be writable.
    effective = os.access in os.supports_effective_ids
    for needed in (path, path.parent) if exists else (path.parent,):
        if not os.access(needed, os.W_OK, effective_ids=effective):
            raise StoreUnavailable(
                f"{needed} is read-only for this user, and sessions are written: change its "
                "permissions, or choose another path in [session.sqlite]"
            )


def _check_room(path: Path) -> None:
    """Refuse a full disk of small blocks, where opening would end the whole process with SIGBUS.

    SQLite maps the log's index into memory after writing one byte in each 4 kB of it. Where blocks
    are smaller, that does not make sure of the room for the others.
    """
    if not hasattr(os, "statvfs"):
        return
    found = os.statvfs(path.parent)
    free = found.f_bavail * found.f_frsize
    if 0 < found.f_bsize < 4096 and free < _ROOM:
        raise StoreUnavailable(
            f"there is no room to open {path} ({free} bytes free, {_ROOM} needed); nothing was "
            "touched: free some and repeat"
        )


def _connect(location: Location) -> sqlite3.Connection:
    # A plain name, no URI: `?`, `#` and `%` are ordinary characters of a path. One thread opens it,
    # another uses it, but never two at once.
    return sqlite3.connect(
        location.path,
        timeout=location.busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _tune(connection: sqlite3.Connection, location: Location) -> None:
    # Each commit reaches the disk before it is acknowledged (full), or only each checkpoint does
    # (normal): https://sqlite.org/pragma.html#pragma_synchronous. On macOS a plain fsync leaves the
    # data in the drive's cache.
    connection.execute(f"PRAGMA synchronous = {location.synchronous}")
    if location.synchronous == "full":
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
    # What is removed is overwritten, wherever the pages have carried it: an erased record must not
    # be found in the file. Many builds of SQLite have it so by default.
    connection.execute("PRAGMA secure_delete = ON")
    # The writer waits for the lock itself.
    connection.execute("PRAGMA busy_timeout = 0")
    # After a burst the write-ahead log does not keep its size on disk for ever.
    connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    # Pages of the log after which a commit copies it into the file, and waits: every 1,000
    # (SQLite's default) made one append in 150 take 2 ms more; hot pages are copied less often,
    # too.
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")


def _set_up(connection: sqlite3.Connection, location: Location) -> None:
    current = _is_current(connection, location.path)
    if current and connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    deadline = time.monotonic() + max(SETUP_SECONDS, location.busy_timeout)
    while True:
        try:
            _create_or_migrate(connection, location.path)
        except sqlite3.OperationalError as error:
            # Switching to WAL does not wait for other processes by itself; they are done soon.
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.005, 0.05))  # noqa: S311  # jitter, no secret
        else:
            return


def _create_or_migrate(connection: sqlite3.Connection, path: Path) -> None:
    # Kept in the file's header, so it is done once; it cannot be done inside a transaction.
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(
            f"{path} lies where SQLite cannot keep a write-ahead log (journal_mode stays {mode}; a "
            "network file system?): choose a path on a local disk in [session.sqlite]"
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: of several first users one finds it undone.
        if not _is_current(connection, path):
            from turnkeep_session_sqlite.migrations import migrate  # heavy

            version = migrate(connection, _pragma(connection, "user_version"))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_current(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether the schema is the current one. Raises StoreError for a file not ours."""
    # One snapshot: else a process that creates the schema between two of these questions makes its
    # file look like another program's.
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")
    try:
        version = _pragma(connection, "user_version")
        owner = _pragma(connection, "application_id")
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        if alone and connection.in_transaction:
            connection.execute("ROLLBACK")
    if owner != APPLICATION_ID:
        if owner or version or tables:
            raise StoreError(
                f"{path} is a SQLite database of another program (application_id {owner:#x}, "
                f"{tables} tables and indexes): choose another path in [session.sqlite]; the file "
                "was not touched"
            )
        return False
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema version {version}, this turnkeep-session-sqlite knows up to "
            f"{SCHEMA_VERSION}; nothing was touched: pip install --upgrade turnkeep-session-sqlite"
        )
    return version == SCHEMA_VERSION


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
