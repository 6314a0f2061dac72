"""What went wrong with a call, and whether another try helps. No message shows a login."""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from turnkeep.errors import StoreError, StoreUnavailable

# redis-py takes the code from the text of errors that it has a type for. Errors of commands in
# scripts keep it in old servers, amid other words.
_PASSING_TYPES: Final = (AskError, TryAgainError)
_PASSING: Final = re.compile(r"\b(BUSY|TRYAGAIN|NOREPLICAS|UNBLOCKED)\b|max number of clients")
"""What a server says that is about to serve again."""
_MOVED_ON_TYPES: Final = (
    BusyLoadingError,
    ReadOnlyError,
    MasterDownError,
    ClusterDownError,
    MovedError,
)
_MOVED_ON: Final = re.compile(r"\b(READONLY|MASTERDOWN|CLUSTERDOWN|LOADING)\b")
"""After these another server may be the right one by now."""
_UNKNOWN: Final = (
    "refuses to repeat a call whose answer was lost, so that it may be written, or not"
)
_ECHO: Final = re.compile(r",? with args beginning with.*", re.DOTALL)


class TooFewReplicas(ResponseError):
    """A write is done, and fewer replicas than wanted have said that they have it."""

    def __init__(self, have: int, wanted: int) -> None:
        super().__init__(f"it is written, and {have} of {wanted} replicas have it")


class NotConnected(RedisConnectionError):
    """There is no connection, so nothing was sent."""


Connection: Final = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError, EOFError)


def is_login(error: BaseException) -> bool:
    """Tell whether the server refuses who we are, which no other try changes."""
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError):
        return True
    return bool(
        re.search(
            r"\b(NOAUTH|WRONGPASS|NOPERM)\b|invalid password|without any password", str(error)
        )
    )


def is_lost(error: BaseException) -> bool:
    """Tell whether the server may have done what it was asked, without our hearing of it."""
    if isinstance(error, TooFewReplicas):
        return True  # it is done, and no answer to the caller says so yet
    return isinstance(error, Connection) and not isinstance(error, BusyLoadingError | NotConnected)


def is_passing(error: BaseException) -> bool:
    """Tell whether the same call may succeed a little later."""
    if is_login(error):
        return False
    if isinstance(error, TooFewReplicas) or is_moved_on(error):
        return True
    if isinstance(error, _PASSING_TYPES):
        return True
    return isinstance(error, RedisError) and _PASSING.search(str(error)) is not None


def is_moved_on(error: BaseException) -> bool:
    """Tell whether to look anew for the right server."""
    if isinstance(error, (*Connection, *_MOVED_ON_TYPES)):
        return True
    return isinstance(error, ResponseError) and _MOVED_ON.search(str(error)) is not None


def explain(error: BaseException, where: object, *, lost: bool = False) -> StoreError:
    """Give the error that the caller of the store gets.

    `lost`: an earlier try of the same call may have been done without an answer.
    """
    said = reason(error)
    if is_login(error):
        return StoreUnavailable(
            f"{where} refuses the login or the command ({said}): check username and password in "
            "[session.redis], and what the server lets this user do"
        )
    if isinstance(error, TooFewReplicas):
        return StoreUnavailable(
            f"{where}: {said}, so a failover may lose it: see to the replicas and repeat the call "
            "with the same commit id, or lower wait_replicas in [session.redis]"
        )
    if isinstance(error, AskError | MovedError):
        return StoreUnavailable(
            f"{where}: nodes of a Cluster send a call from one to the other ({said}): let the url "
            "begin with redis+cluster://, and see to the Cluster's state"
        )
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "OOM" in text:
        return StoreUnavailable(
            f"{where} is out of memory and {_UNKNOWN if lost else 'has written nothing'}: raise "
            "its maxmemory, purge expired sessions or delete some"
        )
    if "MISCONF" in text:
        return StoreUnavailable(
            f"{where} takes no writes, since it cannot write to its own disk ({said}): make room "
            "there, and see the server's log"
        )
    if "WRONGTYPE" in text:
        return StoreError(
            f"a key of this store in {where} belongs to another program ({said}): choose another "
            "prefix in [session.redis]"
        )
    if is_passing(error):
        return StoreUnavailable(f"{where} cannot be reached or does not serve now: {said}")
    return StoreError(f"{where} refuses what the store asks: {said}")


def told(error: Exception) -> Exception:
    """Give an error as the cause of ours: without what the server repeats of a command.

    Its arguments are records and states, which no traceback is to show.
    """
    if isinstance(error, ResponseError) and _ECHO.search(str(error)):
        return ResponseError(reason(error))
    return error


def reason(error: BaseException) -> str:
    """Say an error in a line. What a server repeats of a command's arguments is left out."""
    text = _ECHO.sub("", str(error)).split(" script:", 1)[0].strip()
    first = text.splitlines()[0] if text else type(error).__name__
    return first[:200]
