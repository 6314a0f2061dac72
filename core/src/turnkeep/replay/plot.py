"""Plots of a session as inline SVG: context size and cached prefix, call by call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

_NEAR: Final = 1.5
"""A limit is drawn where it is below so many times the largest request."""
_LINKS: Final = 30


class Point(NamedTuple):
    """One call in a plot."""

    tokens: int
    cached: int
    limit: int | None
    checkpoint: bool
    invalid: bool
    overflow: bool


def legend() -> str:
    """Say what the colours mean."""
    names = {
        "sent": "request", "cached": "of it read from the cache", "limit": "limit",
        "checkpoint": "checkpoint", "invalid": "breaks a rule", "overflow": "cannot be sent",
    }  # fmt: skip
    keys = "".join(f"<li><i class={kind}></i>{name}</li>" for kind, name in names.items())
    return f"<ul class=legend>{keys}</ul>\n"


def top_of(plots: Iterable[Sequence[Point]]) -> int:
    """Say how high a session's plots are: as its largest request, or a limit not far above."""
    points = [point for points in plots for point in points]
    peak = max(point.tokens for point in points)
    near = [p.limit for p in points if p.limit is not None and p.limit <= _NEAR * peak]
    return max(peak, *near, 1)


def plot(points: Sequence[Point], top: int, label: str, session: int, policy: int) -> str:
    """Draw one policy's calls; `top` is the height of the plot in tokens, `label` is escaped.

    The drawing is stretched to its place, so words stand beside it, not in it.
    """
    peak = max(point.tokens for point in points)
    broken = sum(point.invalid for point in points)
    limits = sorted({point.limit for point in points if point.limit is not None})
    told = f"{len(points):,} calls, largest request {peak:,} tokens"
    told += f", limit {limits[-1]:,}" if limits else ""
    told += f", {broken:,} break a rule" if broken else ""
    address = f"{session + 1}.{policy + 1}"
    links = _links("checkpoint", address, [point.checkpoint for point in points])
    links += _links("cannot be sent", address, [point.overflow for point in points])
    drawn = "".join(
        f'<path class={kind} d="{path}"/>'
        for kind, path in (
            ("sent", _area(points, top, lambda point: point.tokens)),
            ("cached", _area(points, top, lambda point: point.cached)),
            ("limit", _limit(points, top)),
            ("checkpoint", _ticks(points, lambda point: point.checkpoint, 0, 100)),
            ("invalid", _ticks(points, lambda point: point.invalid, 94, 100)),
            ("overflow", _ticks(points, lambda point: point.overflow, 0, 12)),
        )
        if path
    )
    return (
        f'<figure class=plot data-policy="{policy}"><figcaption><b>{label}</b> {told}{links}'
        f"</figcaption><div class=frame><div class=y><span>{_short(top)}</span>"
        f"<span>{_short(top // 2)}</span><span>0</span></div>"
        f'<svg viewBox="0 0 {len(points)} 100" preserveAspectRatio="none" role=img '
        f'aria-label="{label}: {told}">{drawn}<rect class=here x=0 y=0 width=1 height=100 />'
        f"</svg></div><div class=x><span>call 1</span><span>call {len(points):,}</span></div>"
        "</figure>\n"
    )


def _links(name: str, address: str, marked: Sequence[bool]) -> str:
    """Name the calls that are marked, the first few as links to them."""
    calls = [number for number, is_marked in enumerate(marked, 1) if is_marked]
    if not calls:
        return ""
    shown = " ".join(f'<a href="#{address}.{call}">{call:,}</a>' for call in calls[:_LINKS])
    more = f" and {len(calls) - _LINKS:,} more" if len(calls) > _LINKS else ""
    return f", {name} at call {shown}{more}"


def _area(points: Sequence[Point], top: int, size: Callable[[Point], int]) -> str:
    steps = "".join(
        f"V{_height(size(point), top)}H{place}" for place, point in enumerate(points, 1)
    )
    return f"M0 100{steps}V100Z"


def _limit(points: Sequence[Point], top: int) -> str:
    return "".join(
        f"M{place} {_height(point.limit, top)}h1"
        for place, point in enumerate(points)
        if point.limit is not None and point.limit <= top
    )


def _ticks(points: Iterable[Point], has: Callable[[Point], bool], start: int, end: int) -> str:
    return "".join(
        f"M{place + 0.5} {start}V{end}" for place, point in enumerate(points) if has(point)
    )


def _height(tokens: int, top: int) -> str:
    return f"{100 - 100 * tokens / max(top, 1):.1f}"


def _short(tokens: int) -> str:
    return f"{tokens / 1000:.0f}k" if tokens >= 10_000 else f"{tokens:,}"
