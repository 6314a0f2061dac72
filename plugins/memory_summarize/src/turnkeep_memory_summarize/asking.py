"""Asking: a summary from a model, in one call or folded from several, and what they took."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from turnkeep.content import Message, Request, Usage, sum_usage
from turnkeep.errors import ModelError, ModelOverflow, ModelRefused, ModelUnavailable
from turnkeep.model import ModelAnswer, ModelClient, ModelRequest, ModelSettings
from turnkeep.prepared import PreparedRequest
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep_memory_summarize.answer import (
    bounded,
    fault_of,
    in_form,
    text_of,
    with_known_references,
)
from turnkeep_memory_summarize.options import SummarizeOptions
from turnkeep_memory_summarize.prompt import Prompt
from turnkeep_memory_summarize.record import HISTORY, block, shortened, summary_block
from turnkeep_memory_summarize.work import Work

_logger = logging.getLogger("turnkeep")

MARGIN: Final = 0.9
"""Of the model's window: our counter is not the model's."""
OUTPUT: Final = 1 / 3
"""Of the model's window, the most that the summary and thinking may take."""
LEAST: Final = 48
"""Tokens of a chunk: below that a window is too small to read anything in it."""
HALVINGS: Final = 6
"""How often chunks are halved where the model says that they are too large."""


@dataclass
class Spent:
    """What the calls took, failed ones too."""

    calls: int = 0
    usage: Usage | None = None
    cost: float | None = None

    def add(self, usage: Usage | None, cost: float | None) -> None:
        """Add a call."""
        self.calls += 1
        self.usage = sum_usage([self.usage, usage])
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost

    def plus(self, other: Spent) -> None:
        """Add what others took."""
        self.add(other.usage, other.cost)
        self.calls += other.calls - 1  # `add` counts one


@dataclass
class Outcome:
    """How far it got: a summary of the first `done` records, and what was in the way of more."""

    summary: str | None
    done: int = 0
    problem: str | None = None
    chunks: int = 0
    cut: int = 0
    """Tokens that were cut off, as it was longer than asked for."""
    way: str = "own prompt"
    spent: Spent = field(default_factory=Spent)

    def told(self, model: str) -> dict[str, int | str]:
        """Give the figures for the report."""
        asked: dict[str, int | str] = {"calls": self.spent.calls}
        if self.spent.calls:
            asked |= {"chunks": self.chunks, "tokens_cut_off": self.cut, "model": model}
        return {**asked, "way": self.way}


class _Unusable(Exception):
    """What came is no summary, or none can be asked for; its sentence goes into the report."""


class _Uncached(ModelRequest):
    """A request that is sent once: nothing is written into a cache for it."""

    def __init__(self, prepared: PreparedRequest) -> None:
        self._prepared = prepared

    @property
    def request(self) -> Request:
        return self._prepared.request

    def to(
        self,
        profile: str,
        *,
        max_output: int | None = None,
        cache: bool = True,  # noqa: ARG002  # not this one
    ) -> dict[str, Any]:
        return self._prepared.to(profile, max_output=max_output, cache=False)


class Asking:
    """Asks one model for summaries. `own`: it is the conversation's, and has its cache."""

    def __init__(
        self, client: ModelClient, options: SummarizeOptions, prompt: Prompt, *, own: bool
    ) -> None:
        self._client = client
        self._options = options
        self._prompt = prompt
        self._own = own
        self._estimate = EstimateCounter()

    async def summarize(self, work: Work, seconds: float, outcome: Outcome) -> Outcome:
        """Fill in an outcome within so many seconds. Only a cancel of the caller's is raised."""
        outcome.summary = work.previous
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                if not await self._in_line(work, deadline, outcome):
                    await self._fold(work, deadline, outcome)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is we who are cancelled, not what we waited for
            outcome.problem = "the call of the model was cancelled"
        except TimeoutError:
            outcome.problem = f"the model took longer than {seconds:.3g} s"
        except _Unusable as fault:
            outcome.problem = str(fault)
        except ModelError as error:
            outcome.problem = _sentence(error)
        except Exception as error:  # a stranger's client: the run goes on without it
            outcome.problem = f"the model's client failed: {type(error).__name__}"
            _logger.debug("the summarizer's client failed", exc_info=error)
        return outcome

    # The conversation's own request, with the instruction behind it

    async def _in_line(self, work: Work, deadline: float, outcome: Outcome) -> bool:
        """Ask behind the conversation, whose cache is read then; False where that does not fit."""
        extended = work.extended
        if not self._own or extended is None or not work.records:
            return False
        most = self._output(work)
        if most < 1:
            return False

        def request(fault: str) -> ModelRequest:
            about = (
                "The conversation pauses here. Its earlier part is to be replaced by a summary.\n"
                f"What is to be summarized is {work.kept}."
            )
            previous = (
                "A summary of what came before stands in it: take over what still holds."
                if work.previous
                else ""
            )
            text = self._prompt.write(history=about, previous=previous, tokens=most, fault=fault)
            return extended([Message(role="user", content=text)])

        made = request("")
        window = self._window
        if window is not None and isinstance(made, PreparedRequest):
            tokens = made.report(self._client.profile).tokens
            if tokens + most + self._options.thinking > window:
                return False
        try:
            text = await self._ask(lambda fault: made if not fault else request(fault), work, most,
                                   deadline, outcome)  # fmt: skip
        except ModelOverflow:
            return False
        outcome.summary, outcome.done = text, len(work.records)
        outcome.chunks, outcome.way = 1, "in the conversation"
        return True

    # A request of its own, with the history as data

    async def _fold(self, work: Work, deadline: float, outcome: Outcome) -> None:
        """Summarize chunk by chunk, oldest first, each with the summary of those before it."""
        most = self._output(work)
        window = self._window
        about = self._own_text(work.previous, [], most, "")
        frame = work.count([about])[0]
        room = None
        if window is not None:
            room = int((window - most - self._options.thinking) * MARGIN) - frame
        lines = [record.line for record in work.records]
        sizes = [tokens + 1 for tokens in work.count(lines)]
        halvings = 0
        previous = work.count([work.previous or ""])[0]
        while outcome.done < len(lines):
            if room is not None and (room < LEAST or most < 1):
                raise _Unusable("the model's window is too small to summarize in")
            summary = outcome.summary
            spare = None
            if room is not None:
                # The frame holds the first summary; later ones may be longer.
                now = work.count([summary or ""])[0]
                spare = max(room - max(now - previous, 0), LEAST)
            end = _end(sizes, outcome.done, spare)
            chunk = lines[outcome.done : end]
            if spare is not None and end == outcome.done + 1 and sizes[outcome.done] > spare:
                chunk = [shortened(work.records[outcome.done], spare - 1, work.count).line]
            try:
                text = await self._ask(self._chunk(summary, chunk, most), work, most, deadline,
                                       outcome)  # fmt: skip
            except ModelOverflow:
                halvings += 1
                if halvings > HALVINGS:
                    raise
                room = sum(work.count(chunk)) // 2
                continue
            outcome.summary, outcome.done = text, end
            outcome.chunks += 1

    def _chunk(
        self, summary: str | None, lines: Sequence[str], most: int
    ) -> Callable[[str], ModelRequest]:
        def request(fault: str) -> ModelRequest:
            text = self._own_text(summary, lines, most, fault)
            return _Uncached(
                PreparedRequest.of_items(
                    [Message(role="user", content=text)],
                    model_id=self._client.model_id,
                    session_id="summarize",
                    counter=self._estimate,
                )
            )

        return request

    def _own_text(self, summary: str | None, lines: Sequence[str], most: int, fault: str) -> str:
        return self._prompt.write(
            history=block(HISTORY, lines),
            previous=summary_block(summary) if summary else "",
            tokens=most,
            fault=fault,
        )

    # One answer

    async def _ask(
        self,
        request: Callable[[str], ModelRequest],
        work: Work,
        most: int,
        deadline: float,
        outcome: Outcome,
    ) -> str:
        """Ask until a summary comes, as often as the options allow."""
        headings = self._prompt.headings
        fault: str | None = None
        for _ in range(self._options.retries + 1):
            said = (
                f"Your last answer could not be used: {fault}. Write the summary." if fault else ""
            )
            left = max(deadline - asyncio.get_running_loop().time(), 0.001)
            limit = self._client.limits.max_output
            settings = ModelSettings(
                max_output=min(most + self._options.thinking, limit or 1 << 62), timeout=left
            )
            try:
                answer = await self._client.generate(request(said), settings)
            except BaseException as error:
                outcome.spent.plus(_spent(error))
                raise
            if not isinstance(answer, ModelAnswer):
                raise _Unusable("the model's client gave no answer")
            outcome.spent.add(answer.usage, answer.cost)
            text = in_form(text_of(answer), headings)
            fault = fault_of(answer, text, headings, work.scripts)
            if fault is None:
                text = with_known_references(text, work.known)
                short = bounded(text, work.room, headings, work.count)
                outcome.cut += sum(work.count([text])) - sum(work.count([short]))
                return short
        raise _Unusable(f"the model's summary was refused: {fault}")

    @property
    def _window(self) -> int | None:
        return self._options.window or self._client.limits.context_window

    def _output(self, work: Work) -> int:
        """Give the tokens that a summary may be asked to have."""
        limits, window = self._client.limits, self._window
        most = min(work.room, limits.max_output or work.room)
        if window is None:
            return most
        return min(most, max(int(window * OUTPUT) - self._options.thinking, 0))


def _end(sizes: Sequence[int], start: int, room: int | None) -> int:
    """Give the end of the chunk that begins here: at least one record."""
    if room is None:
        return len(sizes)
    end = start
    while end < len(sizes) and room >= sizes[end]:
        room -= sizes[end]
        end += 1
    return max(end, start + 1)


def _spent(error: BaseException) -> Spent:
    """Give what a call took that failed: as much of it as its client knows."""
    partial = error.partial if isinstance(error, ModelError) else None
    return Spent(1) if partial is None else Spent(1, partial.usage, partial.cost)


def _sentence(error: ModelError) -> str:
    """Say what went wrong; an error's own text may quote what was sent."""
    status = "" if error.status is None else f" (status {error.status})"
    if isinstance(error, ModelOverflow):
        return f"the model says that its window is too small{status}"
    if isinstance(error, ModelRefused):
        return f"the model's provider refused the request{status}"
    if isinstance(error, ModelUnavailable):
        return f"the model could not be reached, was overloaded or took too long{status}"
    return f"the model gave no answer: {type(error).__name__}{status}"
