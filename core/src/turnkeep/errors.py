"""Everything turnkeep raises on purpose: one tree, rooted at `TurnkeepError`.

Each message says what happened, to which session, plugin, option or line, and what to do next.
No message holds a secret or a piece of a conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnkeep.model import ModelAnswer
    from turnkeep.store import Head


class TurnkeepError(Exception):
    """Base of all errors of this package."""

    def __str__(self) -> str:
        # KeyError, a base of SessionNotFound, would show the repr of its argument instead.
        return str(self.args[0]) if self.args else self.__class__.__name__


class ConfigError(TurnkeepError):
    """The configuration cannot be used; `problems` holds one sentence for each fault found."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PluginError(TurnkeepError):
    """A plugin that the configuration names is missing, broken or made for another api."""


class ContentError(TurnkeepError, ValueError):
    """A value that cannot be kept; `path` names it, as in `content[0].arguments.when`."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class StoreError(TurnkeepError):
    """Base of the errors of session stores."""


class SessionExists(StoreError, ValueError):
    """The session to create is there already."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} exists already; get it, or choose another id")
        self.session_id = session_id


class SessionNotFound(StoreError, KeyError):
    """There is no such session, it has expired, or it belongs to another user."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is no session {session_id!r} (never created, deleted or expired)")
        self.session_id = session_id


class SessionConflict(StoreError):
    """Somebody else wrote first: nothing of this write was kept. `head` is the current one."""

    def __init__(self, session_id: str, head: Head | None, message: str | None = None) -> None:
        super().__init__(
            message
            or f"session {session_id!r} was changed by another writer; "
            "nothing was written: load it again and repeat"
        )
        self.session_id = session_id
        self.head = head


class SessionBusy(SessionConflict):
    """Another turn of this session is running. Nothing was written or spent."""


class StoreClosed(StoreError):
    """The store was closed before this call."""

    def __init__(self, store: str) -> None:
        super().__init__(f"the {store} store is closed; open it again to go on")


class StoreUnavailable(StoreError):
    """The store could not be reached or is out of room; whether the write was kept is unknown."""


class CorruptSession(StoreError):
    """A stored record cannot be read back; it is never skipped."""

    def __init__(self, session_id: str, seq: int, reason: str) -> None:
        super().__init__(f"session {session_id!r}, record {seq} cannot be read: {reason}")
        self.session_id = session_id
        self.seq = seq


class PendingApproval(TurnkeepError):
    """Calls of the session wait for a decision: answer them, or reject them with the new turn."""

    def __init__(self, session_id: str, calls: tuple[str, ...]) -> None:
        super().__init__(
            f"session {session_id!r} waits for a decision on {', '.join(calls)}; decide, or open "
            'the turn with on_pending="reject"'
        )
        self.session_id = session_id
        self.calls = calls


class ModelError(TurnkeepError):
    """A model gave no answer, and asking again the same way would not help.

    `model` names it; `status` is the HTTP status, if there was one. `partial` holds what a stream
    had given before it was cut off. The provider's own sentence is in the message, cut to a line.
    """

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        status: int | None = None,
        partial: ModelAnswer | None = None,
    ) -> None:
        super().__init__(message)
        self.model = model
        self.status = status
        self.partial = partial


class ModelUnavailable(ModelError):
    """It could not be reached, was overloaded, limited our rate or took too long.

    It was asked as often as the client's options allow. Asking again later may help, after
    `retry_after` seconds if the provider said so.
    """

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        status: int | None = None,
        partial: ModelAnswer | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, model=model, status=status, partial=partial)
        self.retry_after = retry_after


class ModelRefused(ModelError):
    """The provider refused the request: a key, a right, a parameter or the request's shape."""


class ModelOverflow(ModelRefused):
    """The request is larger than the model's window, as the provider says."""


class ToolError(TurnkeepError):
    """Raised by a tool to tell the model, in its own words, that and why it failed."""


class ContextOverflow(TurnkeepError):
    """A request cannot be made to fit. Nothing was sent, and nothing is lost.

    `limit` and `tokens` are as our counter counts; `floor` names what nothing can shrink further,
    each with its tokens.
    """

    def __init__(
        self, limit: int, tokens: int, floor: list[tuple[str, int]], session_id: str | None = None
    ) -> None:
        parts = sorted(floor, key=lambda part: -part[1])[:_FLOOR_SHOWN]
        said = ", ".join(f"{what}: {size:,}" for what, size in parts)
        rest = len(floor) - len(parts)
        which = "the request" if session_id is None else f"the request of session {session_id!r}"
        super().__init__(
            f"{which} has {tokens:,} tokens where {limit:,} fit, and nothing of it can be made "
            f"smaller: {said}{f', and {rest} smaller parts' if rest > 0 else ''}. Raise [context] "
            "max_tokens, lower reserve, shorten the instructions or the tools, or unpin something"
        )
        self.limit = limit
        self.tokens = tokens
        self.floor = floor
        self.session_id = session_id


_FLOOR_SHOWN = 6
