"""What is measured of a store: calls, errors, times, bytes; for a program or a scraper to read."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Final

BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper ends, in seconds, of the classes that calls are counted in by their time."""


@dataclass
class Operation:
    """What was seen of one operation, such as "append"."""

    calls: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """By the name of the error. A conflict or a session that is not there is an answer, too."""
    seconds: float = 0.0
    times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    """Calls by class of `BUCKETS`; the last class is of all that took longer."""
    bytes_in: int = 0
    """Of records, state and meta that were given to the store."""
    bytes_out: int = 0
    """Of those that came back."""
    not_modified: int = 0
    """Loads that were answered by the revision alone."""

    def quantile(self, share: float) -> float | None:
        """Give the upper end of the class that a share of the calls took at most.

        None where there were no calls, infinity above the last class.
        """
        wanted, seen = share * self.calls, 0
        for end, count in zip((*BUCKETS, float("inf")), self.times, strict=True):
            seen += count
            if self.calls and seen >= wanted:
                return end
        return None

    def line(self) -> str:
        """Say it in a line for a person."""
        failed = sum(self.errors.values())
        said = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        if failed:
            kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(self.errors.items()))
            said += f", {failed:,} with an error ({kinds})"
        for name, share in (("half", 0.5), ("99 %", 0.99)):
            end = self.quantile(share)
            if end is not None:
                said += f", {name} within {_milliseconds(end)}"
        for what, count in (("in", self.bytes_in), ("out", self.bytes_out)):
            if count:
                said += f", {count:,} bytes {what}"
        return said


@dataclass(frozen=True)
class Snapshot:
    """All that was measured, at one moment."""

    store: str
    operations: Mapping[str, Operation]
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_prometheus(self, **labels: str) -> str:
        """Write it in the text form that Prometheus scrapes, each measure with these labels."""
        marked = replace(self, labels=labels)
        return "".join(f"{line}\n" for line in marked._lines())

    def _lines(self) -> Iterator[str]:
        yield from _head("calls_total", "counter", "Calls of an operation of the session store")
        for name, found in self.operations.items():
            yield f"turnkeep_store_calls_total{self._labels(name)} {found.calls}"
        yield from _head("errors_total", "counter", "Calls that ended with an error, by its name")
        for name, found in self.operations.items():
            for error, count in sorted(found.errors.items()):
                labels = self._labels(name, error=error)
                yield f"turnkeep_store_errors_total{labels} {count}"
        yield from _head("seconds", "histogram", "Seconds that calls took")
        for name, found in self.operations.items():
            total = 0
            for end, count in zip((*map(repr, BUCKETS), "+Inf"), found.times, strict=True):
                total += count
                yield f"turnkeep_store_seconds_bucket{self._labels(name, le=end)} {total}"
            yield f"turnkeep_store_seconds_sum{self._labels(name)} {found.seconds!r}"
            yield f"turnkeep_store_seconds_count{self._labels(name)} {found.calls}"
        yield from _head("bytes_total", "counter", "Bytes of records, states and metas")
        for name, found in self.operations.items():
            for direction, count in (("in", found.bytes_in), ("out", found.bytes_out)):
                labels = self._labels(name, direction=direction)
                yield f"turnkeep_store_bytes_total{labels} {count}"
        yield from _head("not_modified_total", "counter", "Loads answered by the revision alone")
        for name, found in self.operations.items():
            if name == "load":
                labels = self._labels(name)
                yield f"turnkeep_store_not_modified_total{labels} {found.not_modified}"

    def _labels(self, operation: str, **more: str) -> str:
        pairs = {**self.labels, "store": self.store, "operation": operation, **more}
        return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items()) + "}"


class Metrics:
    """Measures as they come in. Reading them from another thread is fine."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._operations: dict[str, Operation] = {}
        self._lock = Lock()

    def note(
        self,
        name: str,
        seconds: float,
        *,
        error: str | None = None,
        bytes_in: int = 0,
        bytes_out: int = 0,
        not_modified: bool = False,
    ) -> None:
        """Count one call."""
        with self._lock:
            found = self._operations.setdefault(name, Operation())
            found.calls += 1
            found.seconds += seconds
            found.times[bisect.bisect_left(BUCKETS, seconds)] += 1
            found.bytes_in += bytes_in
            found.bytes_out += bytes_out
            found.not_modified += not_modified
            if error is not None:
                found.errors[error] = found.errors.get(error, 0) + 1

    def snapshot(self) -> Snapshot:
        """Give a copy of what was measured until now."""
        with self._lock:
            return Snapshot(
                self._store,
                {
                    name: Operation(
                        found.calls,
                        dict(found.errors),
                        found.seconds,
                        list(found.times),
                        found.bytes_in,
                        found.bytes_out,
                        found.not_modified,
                    )
                    for name, found in sorted(self._operations.items())
                },
            )


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP turnkeep_store_{name} {about}."
    yield f"# TYPE turnkeep_store_{name} {kind}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:g} ms" if seconds <= BUCKETS[-1] else f"more than {BUCKETS[-1]:g} s"
