"""What a person sees of a run, on a terminal or in a pipe. Nothing a model says can drive it."""

from __future__ import annotations

import os
import sys

from turnkeep.agent import PendingToolCall
from turnkeep.agent.events import (
    AgentEvent,
    Finished,
    ModelAnswered,
    ModelCalled,
    ToolFinished,
    ToolStarted,
)
from turnkeep.cli.table import printable
from turnkeep.content import compact_json, result_text
from turnkeep.model import TextDelta, ThinkingDelta

WIDTH = 300
"""Characters that are shown of arguments and results."""


class Screen:
    """Writes as things come; colours only where a terminal shows them."""

    def __init__(self) -> None:
        self._plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
        self._open = ""
        """What kind of text the line that is not ended yet holds."""
        if sys.stdin.isatty():
            import contextlib

            with contextlib.suppress(ImportError):  # not on every system
                import readline  # noqa: F401  # input() edits lines with it

    def ask(self, prompt: str) -> str:
        """Read a line. Raises EOFError at the end of the input."""
        self._end()
        line = input(prompt if sys.stdin.isatty() else "")
        if not sys.stdin.isatty():
            self.line(f"{prompt}{printable(line)}")
        return line

    def show(self, event: AgentEvent) -> None:
        """Show one event of a run."""
        if isinstance(event, TextDelta):
            self._text("answer", event.text)
        elif isinstance(event, ThinkingDelta):
            self._text("thinking", event.text)
        elif isinstance(event, ModelCalled):
            self._called(event)
        elif isinstance(event, ModelAnswered):
            self._answered(event)
        elif isinstance(event, ToolStarted):
            self.note(f"→ {event.call.name} {compact_json(event.call.arguments)}")
        elif isinstance(event, ToolFinished):
            failed = " (failed)" if event.result.status == "error" else ""
            self.note(f"← {event.call.name}{failed}: {result_text(event.result)}")
        elif isinstance(event, Finished) and event.result.status == "incomplete":
            self.note("stopped: so many steps are enough; /go goes on")

    def question(self, pending: PendingToolCall) -> None:
        """Show a call that waits for the user."""
        call = pending.tool_call
        self._end()
        self.line(self._bold(printable(pending.confirmation_message)))
        # All of it: nobody agrees to what stands behind a cut.
        self.line(f"  {printable(call.name)} {printable(compact_json(call.arguments))}")

    def line(self, text: str) -> None:
        """Write a line of our own."""
        self._end()
        print(text, flush=True)

    def note(self, text: str) -> None:
        """Write a line that is not the conversation's."""
        self.line(self._dim(_cut(text)))

    def problem(self, text: str) -> None:
        """Say what went wrong."""
        self._end()
        for each in text.split("\n"):
            print(f"! {printable(each)}", flush=True)

    def stopped(self) -> None:
        """Say that an answer was stopped; what was shown of it is kept."""
        self._end()
        self.note("stopped; what was said so far is kept")

    def _called(self, event: ModelCalled) -> None:
        if event.rewritten is not None:
            before, after = (event.rewritten.get(f"tokens_{when}") for when in ("before", "after"))
            self.note(f"the context was rewritten: {before} tokens became {after}")

    def _answered(self, event: ModelAnswered) -> None:
        self._end()
        answer = event.answer
        used = answer.usage
        if used is None:
            return
        parts = [f"{used.input_tokens:,} tokens in"]
        if used.cached_tokens:
            parts.append(f"{used.cached_tokens:,} of them cached")
        parts.append(f"{used.output_tokens:,} out")
        if answer.cost:
            parts.append(money(answer.cost))
        self.note(f"[{', '.join(parts)}]")

    def _text(self, kind: str, text: str) -> None:
        if self._open != kind:
            self._end()
            self._open = kind
            if kind == "thinking":
                self._write("(thinking) ")
        self._write(printable(text, keep="\n\t"))

    def _write(self, text: str) -> None:
        sys.stdout.write(text if self._open != "thinking" else self._dim(text))
        sys.stdout.flush()

    def _end(self) -> None:
        if self._open:
            self._open = ""
            print(flush=True)

    def _dim(self, text: str) -> str:
        return text if self._plain else f"\033[2m{text}\033[0m"

    def _bold(self, text: str) -> str:
        return text if self._plain else f"\033[1m{text}\033[0m"


def money(dollars: float) -> str:
    """Write an amount with at least two digits that say something."""
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.6f}".rstrip("0")


def _cut(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= WIDTH else f"{line[:WIDTH]}…"
