"""Run: one run of an agent over one turn: think, act, again, each thing stored as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from copy import deepcopy
from typing import Any, Literal

from turnkeep.agent.acting import Acting
from turnkeep.agent.asking import Asking
from turnkeep.agent.calls import distinct, matched, rerunnable
from turnkeep.agent.context import (
    PENDING,
    AgentResult,
    ExecutionContext,
    PendingToolCall,
    ToolConfirmation,
)
from turnkeep.agent.events import (
    AgentEvent,
    ConfirmationsNeeded,
    Finished,
    ModelAnswered,
)
from turnkeep.agent.output import RETRIES, OutputError
from turnkeep.agent.parts import Parts
from turnkeep.approvals import INTERRUPTED
from turnkeep.codec import decode_object, encode_object
from turnkeep.content import (
    Message,
    Opaque,
    Reasoning,
    ToolCall,
    Usage,
    message_text,
    sum_usage,
)
from turnkeep.errors import (
    ContentError,
    ModelError,
    ModelUnavailable,
    PendingApproval,
    TurnkeepError,
)
from turnkeep.formats.profile import side_of
from turnkeep.log import settled
from turnkeep.model import FinishReason, ModelAnswer, ModelClient, TextDelta
from turnkeep.optimize.recall import RECALL
from turnkeep.step import Step, is_call_of
from turnkeep.turn import Turn

_logger = logging.getLogger("turnkeep")


class Run:
    """One run; `events` plays it."""

    def __init__(
        self,
        parts: Parts,
        client: ModelClient,
        turn: Turn,
        context: ExecutionContext,
        *,
        streaming: bool,
    ) -> None:
        self._parts = parts
        self._turn = turn
        self._context = context
        self._acting = Acting(parts.tools, parts.hooks, parts.parallel)
        self._asking = Asking(parts, client, turn, context, streaming=streaming)
        self._usage = Usage()
        self._costs: list[float | None] = []
        self._finish: FinishReason | None = None
        self._refused = 0
        """How often a final answer was not what `output_type` asks for."""
        self._seen = (0, 0, 0, 0)
        """The lists of live and of shown events, and their lengths, when they were equal last."""

    async def events(
        self, said: Message | None, confirmations: Sequence[ToolConfirmation]
    ) -> AsyncGenerator[AgentEvent, None]:
        """Play the run: decisions first, then what was left open, then the input, then the model.

        Without an input it goes on where the session stands; where that ends with a final answer,
        it is given again, and the model is not asked.
        """
        async with contextlib.aclosing(self._begun(said, confirmations)) as begun:
            async for event in begun:
                yield event
        if (pause := await self._pause()) is not None:
            yield ConfirmationsNeeded(pause.pending_tool_calls)
            yield Finished(pause)
            return
        if said is None and (text := self._standing()) is not None:
            value, fault = self._read(text)
            if fault is None:
                yield Finished(await self._complete(value))
                return
            await self._correct(fault)
        while self._context.current_step < self._parts.max_steps:
            step: Step | None = None
            async with contextlib.aclosing(self._stepped()) as stepped:
                async for each in stepped:
                    if isinstance(each, Step):
                        step = each
                    else:
                        yield each
            assert step is not None
            if (pause := await self._pause()) is not None:
                yield ConfirmationsNeeded(pause.pending_tool_calls)
                yield Finished(pause)
                return
            if step.done and (result := await self._answered(step)) is not None:
                yield Finished(result)
                return
        yield Finished(await self._result("incomplete"))

    # How a run begins

    async def _begun(
        self, said: Message | None, confirmations: Sequence[ToolConfirmation]
    ) -> AsyncGenerator[AgentEvent, None]:
        turn = self._turn
        decided = matched(turn, self._parts.tools, confirmations)
        left = [each for each in turn.pending if each not in [call for call, _ in decided]]
        if said is not None and decided and left and turn.on_pending == "raise":
            raise PendingApproval(turn.session_id, tuple(call.name for call in left))
        approved: list[ToolCall] = []
        for call, confirmation in decided:
            run = await turn.decide(
                call,
                approved=confirmation.approved,
                arguments=confirmation.modified_arguments,
                reason=confirmation.reason,
            )
            if run is not None:
                approved.append(run)
        if not decided:
            await self._begin(said)
        self._see()
        if said is None or approved:
            await self._close_interrupted(approved)
        else:
            approved += rerunnable(turn, self._parts.tools, approved)
        if approved:
            async with contextlib.aclosing(self._act(approved)) as acting:
                async for event in acting:
                    yield event
        if not turn.pending:
            await self._keep_added()
        if said is not None:
            await turn.add(said)
        self._see()

    async def _begin(self, said: Message | None) -> None:
        """Open the turn before anything is spent; where nothing will be, it need not be open."""
        turn = self._turn
        if said is None:
            if not turn.context.items and not self._context.events:
                raise ContentError(
                    f"session {turn.session_id!r} holds nothing to go on with; give an input"
                )
            if self._standing() is not None or (turn.pending and turn.pending == turn.open_calls):
                return
        elif turn.pending and turn.on_pending == "raise":
            raise PendingApproval(turn.session_id, tuple(call.name for call in turn.pending))
        elif not rerunnable(turn, self._parts.tools, []):
            return  # the input is the first thing, and opens it
        await turn.open()

    async def _close_interrupted(self, approved: list[ToolCall]) -> None:
        """Run again what may be, and say of all else that an earlier turn left that it was cut off.

        An input does the latter by itself: it opens a turn anew.
        """
        again = rerunnable(self._turn, self._parts.tools, approved)
        left = [*approved, *again, *self._turn.pending]
        kept = Counter(call.tool_call_id for call in left)
        approved += again
        for call in self._turn.open_calls:
            if kept[call.tool_call_id]:
                kept[call.tool_call_id] -= 1
            elif call.name in self._parts.tools or not is_call_of(call, RECALL):
                # What reads back is answered by the turn itself.
                await self._turn.add_result(call, INTERRUPTED, status="error")

    # One step

    async def _stepped(self) -> AsyncGenerator[AgentEvent | Step, None]:
        """Ask the model once, keep its answer, and run the tools that it may run."""
        context = self._context
        context.current_step += 1
        await self._keep_added()
        answer: ModelAnswer | None = None
        text: list[str] = []
        try:
            async with contextlib.aclosing(self._asking.ask()) as asking:
                async for piece in asking:
                    if isinstance(piece, ModelAnswer):
                        answer = piece
                        continue
                    if isinstance(piece, TextDelta):
                        text.append(piece.text)
                    yield piece
        except ModelError as error:
            if error.partial is not None and error.partial.items:
                await self._turn.add_response(error.partial, partial=True)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            if text:  # what was shown is kept, as a cut answer
                said = Message(role="assistant", content="".join(text))
                try:
                    await settled(self._turn.add_response([said], partial=True))
                except TurnkeepError as error:  # the caller is to hear of the cancellation
                    _logger.warning(
                        "session %r: a cut answer is not kept: %s", self._turn.session_id, error
                    )
            raise
        if answer is None:
            raise ModelError("the model client's stream ended without an answer")
        self._count(answer)
        step = await self._turn.add_response(distinct(answer), needs_approval=self._gated)
        self._see()
        await self._save_state()
        if answer.partial:
            raise ModelUnavailable(
                f"session {self._turn.session_id!r}: the model's answer was cut off; what had come "
                "is kept, and left out of requests. `resume` asks again",
                model=answer.model,
                partial=answer,
            )
        yield ModelAnswered(context.current_step, answer)
        if step.tool_calls:
            async with contextlib.aclosing(self._act(step.tool_calls)) as acting:
                async for event in acting:
                    yield event
        yield step

    async def _act(self, calls: Sequence[ToolCall]) -> AsyncGenerator[AgentEvent, None]:
        async with contextlib.aclosing(
            self._acting.run(self._turn, self._context, calls)
        ) as running:
            async for event in running:
                self._see()
                yield event
        await self._save_state()

    def _gated(self, call: ToolCall) -> bool:
        tool = self._parts.tools.get(call.name)
        if tool is None:
            return False
        try:
            tool.check(deepcopy(call.arguments))
        except Exception:  # noqa: BLE001  # a stranger's check: the model is told when it would run
            return False  # it will not run: nobody needs to be asked
        return tool.needs_confirmation(call.arguments)

    # How a run ends

    async def _answered(self, step: Step) -> AgentResult | None:
        """Give the result of a final answer; None where the model has to answer again."""
        value, fault = self._read(step.text)
        if fault is None:
            return await self._complete(value)
        self._refused += 1
        if self._refused > RETRIES:
            raise OutputError(
                f"session {self._turn.session_id!r}: the model's answer is not what output_type "
                f"asks for, also after {RETRIES} corrections: {fault}"
            )
        await self._correct(fault)
        return None

    def _read(self, text: str) -> tuple[Any, str | None]:
        """Read a final answer as what it must be; give the value, or what is wrong with it."""
        if self._parts.output is None:
            return text, None
        try:
            return self._parts.output.read(text), None
        except ValueError as error:
            return None, str(error)

    async def _correct(self, fault: str) -> None:
        """Tell the model what is wrong with its answer."""
        assert self._parts.output is not None
        correction = Message(role="user", content=self._parts.output.correction(fault))
        await self._turn.add(correction, author="agent")
        self._see()

    async def _complete(self, value: Any) -> AgentResult:
        self._context.final_result = value
        return await self._result("complete", value)

    async def _pause(self) -> AgentResult | None:
        """Give the result of a run that waits for a person; None if none is waited for."""
        waiting = self._turn.pending
        if not waiting:
            self._context.state.pop(PENDING, None)
            return None
        calls = [
            PendingToolCall(tool_call=call, confirmation_message=self._question(call))
            for call in waiting
        ]
        result = await self._result("pending")
        result.pending_tool_calls = calls
        self._context.state[PENDING] = [call.model_dump(mode="json") for call in calls]
        return result

    def _question(self, call: ToolCall) -> str:
        tool = self._parts.tools.get(call.name)
        return f"Run {call.name}?" if tool is None else tool.question(call.arguments)

    async def _result(
        self, status: Literal["complete", "pending", "incomplete"], output: Any = None
    ) -> AgentResult:
        if status != "pending":  # what was added stands behind the decisions
            await self._keep_added()
        await self._save_state()
        known = [cost for cost in self._costs if cost is not None]
        cost = sum(known) if known and len(known) == len(self._costs) else None
        return AgentResult(output, self._context, status, (), self._usage, cost, self._finish)

    def _standing(self) -> str | None:
        """Give the final answer with which the session ends; None where it ends otherwise."""
        texts: list[str] = []
        for item in reversed(self._turn.context.items):
            if isinstance(item, Reasoning | Opaque) and side_of(item) == "assistant":
                continue
            if not isinstance(item, Message) or item.role != "assistant":
                break
            texts.append(message_text(item))
        return "\n".join(reversed(texts)) if texts else None

    # What the program sees and changes

    def _see(self) -> None:
        """Show the program the live events as they are now; costs what is new."""
        stored, shown = self._turn.events, self._context.events
        same = (id(stored), id(shown), len(shown)) == self._seen[:3]
        if same and (not shown or shown[-1] is stored[self._seen[3] - 1]):
            shown += stored[self._seen[3] :]
        else:  # a rewritten context, or the program has changed its list
            known = {event.id for event in stored}
            added = [e for e in shown if e.seq is None and e.id not in known]
            shown = self._context.events = [*stored, *added]
        self._seen = id(stored), id(shown), len(shown), len(stored)

    async def _keep_added(self) -> None:
        """Store the events that callbacks and tools have added to the context."""
        self._see()
        if len(self._context.events) == len(self._turn.events):
            return
        added = [event for event in self._context.events if event.seq is None]
        if added:
            self._context.events = list(self._turn.events)
            for event in added:
                await self._turn.add(*event.content, author=event.author)
            self._see()

    async def _save_state(self) -> None:
        """Store the state if a tool or a callback has changed it."""
        context, what = self._context, f"state of session {self._turn.session_id!r}"
        state = {key: each for key, each in (context.state or {}).items() if key != PENDING}
        encoded = encode_object(state, what)  # 1 and True are equal, and not the same
        if encoded != encode_object(self._turn.state, what):
            await self._turn.set_state(state)
            self._see()
        context._state = decode_object(encoded, session_id=self._turn.session_id, what=what)

    def _count(self, answer: ModelAnswer) -> None:
        self._costs.append(answer.cost)
        self._finish = answer.finish
        if answer.usage is not None:
            self._usage = sum_usage([self._usage, answer.usage]) or self._usage
