"""A session in the making: events in the order of a log, numbered as a store will number them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from turnkeep.content import Item, Ref, Usage
from turnkeep.events import Checkpoint, Event, Placed, new_id, utc_now
from turnkeep.formats.jsonl import SessionFile


class Making:
    """Takes what was said, and where the logging agent rewrote its context.

    A rewritten context becomes a checkpoint: what was said before stays in the log, once, and
    what the agent put in its place is what the next request is made of.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.header: dict[str, Any] = {}
        self._ids: set[str] = set()
        self._times: list[datetime] = []
        self._base = 0

    def say(
        self,
        items: Sequence[Item],
        author: str,
        when: datetime | None,
        *,
        event_id: str | None = None,
        usage: Usage | None = None,
        partial: bool = False,
    ) -> list[Ref]:
        """Append an event; gives the identity of its items."""
        self._times += [when] if when is not None else []
        event = Event(
            id=self._fresh(event_id),
            author=author,
            content=list(items),
            timestamp=when or utc_now(),
            usage=usage,
            partial=partial,
        )
        seq = self._append(event)
        return [Ref(seq, index) for index in range(len(items))]

    def rewrite(self, contents: Iterable[tuple[Ref, Item]], when: datetime | None, by: str) -> None:
        """Note what the agent put in place of all that was said so far, and how that is known."""
        if not self.events:  # what was before is in another file
            self.say([item for _, item in contents], "user", when)
            return
        placed = [Placed(seq=ref.seq, index=ref.index, item=item) for ref, item in contents]
        self._base = self._append(
            Checkpoint(
                author="system",
                timestamp=when or utc_now(),
                contents=placed,
                previous=self._base,
                report={"reason": f"rewritten by the agent of the log ({by})"},
            )
        )

    def session(self, session_id: str) -> SessionFile:
        """Give what was made."""
        return SessionFile(
            session_id=session_id,
            created=min(self._times, default=None),
            updated=max(self._times, default=None),
            header=self.header,
            events=self.events,
        )

    def _append(self, event: Event) -> int:
        self.events.append(event)
        event.stored_as(len(self.events))
        return len(self.events)

    def _fresh(self, event_id: str | None) -> str:
        """Keep the log's own id, so that the same log makes the same events; but only once."""
        if not event_id or event_id in self._ids:
            return new_id()
        self._ids.add(event_id)
        return event_id


def moment(value: object) -> datetime | None:
    """Read a time: ISO 8601, or seconds or milliseconds since 1970. One without zone is UTC."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
