"""A replay as one self-contained page: figures, plots, reports, and the request at any call.

The page loads nothing: style and script are in it, and its policy forbids the rest. Sessions are
written as they are played. Each distinct message is written once, and a call as what it kept of
the call before it and the numbers of what follows; so a page is about as large as the recordings.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any, Final, NamedTuple, TextIO

from turnkeep.content import compact_json
from turnkeep.formats.profile import WireMessage
from turnkeep.replay.plot import Point, legend, plot, top_of
from turnkeep.replay.recording import Recording
from turnkeep.replay.report import RULES, as_json, broken_rules, explanation, figures, head
from turnkeep.replay.run import Outcome, Seen, total
from turnkeep.replay.terms import Terms

_UNSAFE: Final = re.compile(
    "[<>&\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What could end a script element, or turns the direction of what is read of the file."""


class _Session(NamedTuple):
    """What is kept of a session that was played: its points, a list a policy."""

    recording: Recording
    points: list[list[Point]]


class Page:
    """Writes a page; give it every call (`see`), then all figures (`finish`)."""

    def __init__(self, out: TextIO) -> None:
        before, self._middle, self._after = _template()
        self._out = out
        self._sessions: list[_Session] = []
        self._calls: list[list[dict[str, Any]]] = []
        self._last: list[int] = []
        self._known: dict[int, tuple[WireMessage, int]] = {}
        self._numbers: dict[bytes, int] = {}
        out.write(before)

    def see(self, seen: Seen) -> None:
        """Take in a call, and write what of it was not written yet."""
        if not self._sessions or self._sessions[-1].recording is not seen.recording:
            self._close()
            self._sessions.append(_Session(seen.recording, []))
            self._out.write(_opening(f"messages-{len(self._sessions) - 1}") + "[")
        if seen.call == 0:  # every policy plays every call, so this is the next one
            self._sessions[-1].points.append([])
            self._calls.append([])
            self._last = []
            self._known.clear()
        numbers = self._written(seen)
        kept = _kept(self._last, numbers)
        self._last = numbers
        self._calls[-1].append(_row(seen, kept, numbers[kept:]))
        self._sessions[-1].points[-1].append(_point(seen))

    def finish(
        self,
        recordings: Sequence[Recording],
        played: Sequence[Sequence[Outcome]],
        everything: Sequence[Outcome],
        terms: Terms,
    ) -> None:
        """Write the rest: all figures, then what a person sees."""
        self._close()
        write = self._out.write
        report = as_json(played, everything, terms)
        write(f"{_opening('figures')}{_script_json(report)}</script>\n")
        write(f"{_opening('rules')}{_script_json(dict(RULES))}</script>\n")
        names = {"policies": [text(outcomes[0].policy) for outcomes in played if outcomes]}
        write(f"{_opening('names')}{_script_json(names)}</script>\n")
        whole = total(everything)
        sums = [total(outcomes) for outcomes in played]
        write(self._middle)
        columns = head(sums)
        write(_table("All sessions", columns, [figures(each, whole, columns) for each in sums]))
        said = explanation(len(recordings), terms, columns)
        for line in (*said, *filter(None, map(broken_rules, sums))):
            write(f"<p class=note>{text(line)}</p>\n")
        numbers = {id(session.recording): n for n, session in enumerate(self._sessions)}
        for place, recording in enumerate(recordings):
            number = numbers.get(id(recording))
            write(_heading(recording, number))
            if number is None:
                write("<p>It has no model call.</p></section>\n")
                continue
            labels = [outcomes[place].policy for outcomes in played]
            write(_plots(self._sessions[number], labels, number))
            rows = [figures(each[place], everything[place], columns) for each in played]
            write(_table("This session", columns, rows))
            write("</section>\n")
        write(self._after)

    def _close(self) -> None:
        """End the session at hand."""
        if not self._sessions:
            return
        number = len(self._sessions) - 1
        self._out.write("]</script>\n")
        self._out.write(f"{_opening(f'calls-{number}')}{_script_json(self._calls)}</script>\n")
        self._calls, self._last = [], []
        self._known.clear()
        self._numbers.clear()

    def _written(self, seen: Seen) -> list[int]:
        """Give the numbers of what a request is made of, in order, writing what is new."""
        tools, _ = seen.sent.head
        head = {"tools": list(tools), "system": seen.system or []}
        numbers = []
        if tools or seen.system:
            numbers.append(self._number(head, seen.sent.head_tokens))
        for message, tokens in zip(seen.sent.messages, seen.sent.tokens, strict=True):
            # Kept beside its number, so that its identity cannot be taken by another.
            known = self._known.get(id(message))
            if known is None:
                known = self._known[id(message)] = message, self._number(message.body, tokens)
            numbers.append(known[1])
        return numbers

    def _number(self, body: Any, tokens: int) -> int:
        written = compact_json([tokens, body])
        key = hashlib.blake2b(written.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            self._out.write(("\n" if number == 0 else ",\n") + _script_safe(written))
        return number


def text(line: str) -> str:
    """Escape a line for the page; what cannot be seen becomes a dot."""
    return html.escape("".join(c if c.isprintable() else "·" for c in line))


def _script_json(value: object) -> str:
    return _script_safe(compact_json(value))


def _script_safe(written: str) -> str:
    """Escape JSON so that it is the same value and ends no element."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def _opening(name: str) -> str:
    return f'<script type="application/json" id="{name}">'


def _kept(before: Sequence[int], now: Sequence[int]) -> int:
    for place, (old, new) in enumerate(zip(before, now, strict=False)):
        if old != new:
            return place
    return min(len(before), len(now))


def _row(seen: Seen, kept: int, new: list[int]) -> dict[str, Any]:
    outgoing, score = seen.outgoing, seen.score
    return {
        "tokens": seen.sent.total,
        "cached": seen.use.cached,
        "written": seen.use.written,
        "plain": seen.use.plain,
        "cost": round(seen.cost, 1),
        "summaries": round(outgoing.spent.cost, 1),
        "repairs": outgoing.repairs,
        "violations": [list(violation) for violation in seen.violations],
        "checkpoint": outgoing.checkpoint,
        "report": None if outgoing.report is None else json.loads(json.dumps(outgoing.report)),
        "overflow": outgoing.overflow,
        "limit": outgoing.limit,
        "facts": None if score is None else list(score[:4]),
        "keep": kept,
        "new": new,
    }


def _point(seen: Seen) -> Point:
    return Point(
        tokens=seen.sent.total,
        cached=seen.use.cached,
        limit=seen.outgoing.limit,
        checkpoint=seen.outgoing.checkpoint,
        invalid=bool(seen.violations),
        overflow=seen.outgoing.overflow is not None,
    )


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    names = "".join(f"<th scope=col>{text(name.capitalize())}</th>" for name in columns)
    body = "".join(
        f"<tr><th scope=row>{text(row[0])}</th>"
        + "".join(f"<td>{text(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    # A wide table scrolls by itself, by keyboard too.
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{names}</tr></thead>\n<tbody>{body}</tbody>"
        "</table></div>\n"
    )


def _heading(recording: Recording, number: int | None) -> str:
    data = "" if number is None else f' data-session="{number}"'
    return f"<section class=session{data}><h2>Session {text(recording.session_id)}</h2>\n"


def _plots(session: _Session, labels: Sequence[str], number: int) -> str:
    top = top_of(session.points)
    return legend() + "".join(
        plot(points, top, text(label), number, policy)
        for policy, (points, label) in enumerate(zip(session.points, labels, strict=True))
    )


def _template() -> tuple[str, str, str]:
    """Give the page's three parts; its policy allows its own style and script, nothing else."""
    page = files("turnkeep").joinpath("replay/page.html").read_text(encoding="utf-8")
    allowed = {}
    for kind in ("style", "script"):
        found = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert found is not None
        digest = hashlib.sha256(found[1].encode()).digest()
        allowed[kind] = f"'sha256-{base64.b64encode(digest).decode()}'"
    policy = (
        f"default-src 'none'; style-src {allowed['style']}; script-src {allowed['script']}; "
        "base-uri 'none'; form-action 'none'"
    )
    before, rest = page.replace("{policy}", policy).split("<!-- data -->")
    middle, after = rest.split("<!-- sessions -->")
    return before, middle, after
