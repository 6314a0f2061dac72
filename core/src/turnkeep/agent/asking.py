"""Asking: one model call: the request as callbacks leave it, and the answer as they leave that."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from turnkeep.agent.callbacks import called
from turnkeep.agent.context import ExecutionContext
from turnkeep.agent.events import ModelCalled
from turnkeep.agent.llm import LlmRequest, LlmResponse
from turnkeep.agent.tools import BaseTool
from turnkeep.content import ToolDefinition, compact_json
from turnkeep.errors import ModelError
from turnkeep.model import ModelAnswer, ModelClient, ModelPiece, ModelSettings
from turnkeep.prepared import PreparedRequest
from turnkeep.turn import Turn

if TYPE_CHECKING:
    from turnkeep.agent.parts import Parts


class Asking:
    """Asks a model for one turn."""

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
        self._client = client
        self._turn = turn
        self._context = context
        self._streaming = streaming

    async def ask(self) -> AsyncGenerator[ModelCalled | ModelPiece, None]:
        """Prepare the request, ask, and give what comes; the whole answer comes last."""
        prepared = await self._turn.request(
            instructions=self._parts.system,
            tools=[tool.definition for tool in self._parts.tools.values()],
            tool_choice=self._parts.tool_choice,
            model_id=self._client.model_id,
            profile=self._client.profile,
        )
        rewritten, broken = prepared.rewritten, None
        if self._parts.hooks.before_llm:
            asked = self._shown(prepared)
            for callback in self._parts.hooks.before_llm:
                answer = await called(callback, self._context, asked)
                if answer is not None:
                    yield await self._kept(_as_answer(answer, self._client.model_id))
                    return
            if self._is_changed(asked, prepared):
                changed = await self._turn.reshape(asked.as_request(), profile=self._client.profile)
                broken = prefix_broken(prepared, changed, self._client.profile)
                prepared = changed
        report = prepared.report(self._client.profile)
        yield ModelCalled(self._context.current_step, report, rewritten, broken)
        if not self._streaming:
            yield await self._kept(await self._client.generate(prepared, self._settings()))
            return
        whole: ModelAnswer | None = None
        stream = self._client.stream(prepared, self._settings())
        try:
            async for piece in stream:
                if isinstance(piece, ModelAnswer):
                    whole = piece
                else:
                    yield piece
        finally:
            await stream.aclose()
        if whole is None:
            raise ModelError(
                f"the stream of model {self._client.model_id!r} ended without an answer",
                model=self._client.model_id,
            )
        yield await self._kept(whole)

    def _settings(self) -> ModelSettings:
        given, output = self._parts.settings, self._parts.output
        if output is None or given.output_schema is not None:
            return given
        return ModelSettings(
            max_output=given.max_output, timeout=given.timeout, output_schema=output.schema
        )

    async def _kept(self, answer: ModelAnswer) -> ModelAnswer:
        """Give the answer as the callbacks behind it leave it."""
        for callback in self._parts.hooks.after_llm:
            given = await called(callback, self._context, LlmResponse.of_answer(answer))
            if given is not None:
                new = _as_answer(given, answer.model)
                answer = ModelAnswer(
                    items=new.items,
                    usage=answer.usage,
                    finish=answer.finish,
                    model=answer.model,
                    cost=answer.cost,
                    provider=answer.provider,
                )
        return answer

    def _shown(self, prepared: PreparedRequest) -> LlmRequest:
        """Give a callback's own copy of a request."""
        request = prepared.request
        return LlmRequest.model_construct(
            instructions=request.instructions,
            contents=list(prepared.items),
            tools=[self._tool(each) for each in request.tools],
            tool_choice=request.tool_choice,
            model_id=request.model_id,
        )

    def _tool(self, definition: ToolDefinition) -> BaseTool:
        own = self._parts.tools.get(definition.name)
        return own or BaseTool(definition.name, definition.description, definition.parameters)

    def _is_changed(self, asked: LlmRequest, prepared: PreparedRequest) -> bool:
        request, items = prepared.request, prepared.items
        return (
            asked.system != request.instructions
            or [tool.definition for tool in asked.tools] != request.tools
            or asked.tool_choice != request.tool_choice
            or asked.model_id != request.model_id
            or len(asked.contents) != len(items)
            or any(one is not other for one, other in zip(asked.contents, items, strict=True))
        )


def prefix_broken(before: PreparedRequest, after: PreparedRequest, profile: str) -> float:
    """Give the share of a request that another one does not begin with, by length of its JSON.

    That part a provider's cache cannot give back: 0 where the other one only goes on, 1 where the
    instructions or the tools differ.
    """
    old, new = (each.to(profile, cache=False) for each in (before, after))
    key = next(name for name in ("messages", "input", "contents") if name in old)
    rest = [{name: each for name, each in body.items() if name != key} for body in (old, new)]
    if rest[0] != rest[1]:
        return 1.0
    sizes = [len(compact_json(message)) for message in old[key]]
    kept = 0
    for size, one, other in zip(sizes, old[key], new[key], strict=False):
        if one != other:
            break
        kept += size
    return 1 - kept / max(sum(sizes), 1)


def _as_answer(given: Any, model: str | None) -> ModelAnswer:
    if isinstance(given, ModelAnswer):
        return given
    if isinstance(given, LlmResponse):
        if given.error_message is not None:
            raise ModelError(f"a callback gave an error: {given.error_message}", model=model)
        return ModelAnswer(items=list(given.content), usage=given.usage(), model=model)
    raise TypeError(f"a callback around the model gives None or an LlmResponse, not {given!r:.80}")
