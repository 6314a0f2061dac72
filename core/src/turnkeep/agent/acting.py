"""Acting: runs the tools that a model asks for, several at once, and keeps each result at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from copy import deepcopy

from turnkeep.agent.callbacks import Hooked, called
from turnkeep.agent.context import ExecutionContext
from turnkeep.agent.events import ToolFinished, ToolStarted
from turnkeep.agent.schema import as_json
from turnkeep.agent.tools import BaseTool
from turnkeep.content import Model, ToolCall, ToolResult
from turnkeep.errors import ContentError, ToolError, TurnkeepError
from turnkeep.log import ended
from turnkeep.results import result_of
from turnkeep.turn import Turn

_logger = logging.getLogger("turnkeep")


class Acting:
    """The tools of an agent, at most `parallel` of them running at once."""

    def __init__(self, tools: Mapping[str, BaseTool], hooks: Hooked, parallel: int) -> None:
        self.tools = tools
        self._hooks = hooks
        self._parallel = parallel

    async def run(
        self, turn: Turn, context: ExecutionContext, calls: Sequence[ToolCall]
    ) -> AsyncGenerator[ToolStarted | ToolFinished, None]:
        """Run calls and keep their results as they come; leaving early cancels what still runs.

        Whatever a tool raises becomes its result. What cannot be stored ends the run, and so does
        what a callback raises; that a tool has run is kept all the same.
        """
        told: asyncio.Queue[ToolStarted | ToolFinished | None] = asyncio.Queue()
        slots = asyncio.Semaphore(self._parallel)

        async def one(call: ToolCall) -> None:
            async with slots:
                told.put_nowait(ToolStarted(call))
                result = await self._answered(context, call)
                try:
                    result = await self._shown(context, call, result)
                except Exception as error:
                    # Not the result itself: the callback may be what takes secrets out of it.
                    raised = f"after_tool raised {type(error).__name__}"
                    sentence = f"it has been answered, but the answer is lost: {raised}"
                    await turn.add_result(call, result_of(call, sentence, "error"))
                    raise
                try:
                    await turn.add_result(call, result)
                except ContentError as error:  # it holds what JSON has no room for
                    sentence = f"its result cannot be kept: {error}"
                    result = result_of(call, sentence, "error")
                    await turn.add_result(call, result)
                told.put_nowait(ToolFinished(call, result))

        async def every() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for call in calls:
                        group.create_task(one(call))
            finally:
                told.put_nowait(None)

        running = asyncio.create_task(every())
        try:
            while (event := await told.get()) is not None:
                yield event
            await running
        except* Exception as group:  # noqa: BLE001  # raised again, as one
            raise _first(group) from None
        finally:
            if not running.done():
                await ended(running)

    async def _answered(self, context: ExecutionContext, call: ToolCall) -> ToolResult:
        for callback in self._hooks.before_tool:
            given = await called(callback, context, call.model_copy(deep=True))
            if given is not None:
                return _as_result(call, given)
        return await self._executed(context, call)

    async def _shown(
        self, context: ExecutionContext, call: ToolCall, result: ToolResult
    ) -> ToolResult:
        for callback in self._hooks.after_tool:
            given = await called(callback, context, result)
            if given is not None:
                result = _as_result(call, given)
        return result

    async def _executed(self, context: ExecutionContext, call: ToolCall) -> ToolResult:
        tool = self.tools.get(call.name)
        if tool is None:
            there = ", ".join(self.tools) or "none"
            return result_of(call, f"there is no tool {call.name!r}; there are: {there}", "error")
        try:
            async with asyncio.timeout(tool.timeout) as limit:
                # A copy: what a tool does to its arguments is not what the model has said.
                value = await tool.execute(context, **deepcopy(call.arguments))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # it is the run that is cancelled, not what the tool waited for
            return result_of(call, "what it waited for was cancelled, outcome unknown", "error")
        except ToolError as error:
            return result_of(call, _said(error), "error")
        except TimeoutError as error:
            if not limit.expired():  # the tool's own
                return result_of(call, error, "error")
            sentence = f"it took longer than {tool.timeout:g} s and was given up, outcome unknown"
            return result_of(call, sentence, "error")
        except ValueError as error:
            return result_of(call, _said(error), "error")
        except Exception as error:  # whatever a tool raises is told to the model
            _logger.debug("tool %s failed", call.name, exc_info=error)
            return _storable(call, error)
        return _as_result(call, value)


def _as_result(call: ToolCall, value: object) -> ToolResult:
    """Make a result of what a tool or a callback gave; what cannot be kept becomes an error."""
    if isinstance(value, ToolResult):
        return value.model_copy(update={"tool_call_id": call.tool_call_id, "name": call.name})
    parts = isinstance(value, list) and any(isinstance(part, Model) for part in value)
    try:
        return result_of(
            call, value if parts or isinstance(value, Model) else as_json(value), "success"
        )
    except (ContentError, ValueError, RecursionError) as error:
        sentence = f"its result cannot be kept: {type(error).__name__}: {_said(error)}"
        return result_of(call, sentence, "error")


def _said(error: BaseException) -> str:
    """Give an error's sentence; one that cannot say it is named."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001  # a stranger's
        return type(error).__name__


def _storable(call: ToolCall, error: Exception) -> ToolResult:
    try:
        return result_of(call, f"{type(error).__name__}: {_said(error)}", "error")
    except (ContentError, ValueError):
        return result_of(call, type(error).__name__, "error")


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """Give the one error that matters most to the caller: ours before others."""
    flat: list[Exception] = []
    waiting: list[BaseException] = [group]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        elif isinstance(each, Exception):
            flat.append(each)
    ours = [error for error in flat if isinstance(error, TurnkeepError)]
    return (ours or flat)[0]
