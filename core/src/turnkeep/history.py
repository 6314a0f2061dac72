"""What a log says about a point of it: which events stand, which checkpoint counts, which state.

A `Retract(after=n)` means: as it stood at n. So what stands is found from the end: where the walk
meets one, it goes on at the event that it names, and everything between is passed over, earlier
retractions included. All of this is a matter of the events alone; no store is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from turnkeep.events import Checkpoint, Event, Retract, Tombstone

NO_STATE: Final[Mapping[str, Any]] = {}


def standing(events: Sequence[Event]) -> Sequence[Event]:
    """Give the events that stand after the last of them, in order.

    `events` are an unbroken run; what stood before the first is not asked for.
    """
    if not any(type(event) is Retract and event.after is not None for event in events):
        return events
    kept: list[Event] = []
    place = len(events) - 1
    while place >= 0:
        event = events[place]
        kept.append(event)
        if isinstance(event, Retract) and event.after is not None:
            # Never forward: a log from elsewhere may name any number.
            place = min(place - 1, event.after - (events[0].seq or 1))
        else:
            place -= 1
    kept.reverse()
    return kept


def standing_base(events: Sequence[Event]) -> int:
    """Give the seq of the newest checkpoint that counts in a whole log; 0 if none.

    One that was made after an item does not count any more once that item is taken back: it may
    hold it, or words about it.
    """
    checkpoints: list[int] = []
    for event in standing(events):
        if isinstance(event, Checkpoint):
            checkpoints.append(event.seq or 0)
        elif isinstance(event, Retract) and event.items:
            oldest = min(event.items).seq
            while checkpoints and checkpoints[-1] >= oldest:
                checkpoints.pop()
    return checkpoints[-1] if checkpoints else 0


def state_at(
    events: Sequence[Event],
    seq: int,
    current: Mapping[str, Any],
    first: Mapping[str, Any] = NO_STATE,
) -> Mapping[str, Any]:
    """Give the session's state as it was after event `seq` of a whole log.

    `current` is the state as it is now, `first` the one that the session began with. A log tells
    the state by the events that changed it; where none did so far, it is `first`, or the current
    one where none ever did.
    """
    for event in reversed(standing(events[:seq])):
        if event.state is not None:
            return event.state
    return first if any(map(_changed, events)) else current


def _changed(event: Event) -> bool:
    return event.state is not None or (isinstance(event, Tombstone) and event.changed_state)
