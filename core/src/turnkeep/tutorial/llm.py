"""The tutorial's model client: requests and answers as its `LlmRequest` and `LlmResponse`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from turnkeep.agent.llm import LlmRequest, LlmResponse
from turnkeep.agent.locks import AnyLoopLock
from turnkeep.agent.models import Foreign, open_model
from turnkeep.errors import ModelError
from turnkeep.model import ModelClient
from turnkeep.prepared import PreparedRequest
from turnkeep.tokens.estimate import EstimateCounter

__all__ = ["LlmClient", "LlmRequest", "LlmResponse", "build_messages"]


class LlmClient:
    """A model by its name, asked through LiteLLM; `config` are the options of that client.

    A name may say another client, as "local:smollm2". The plugin is opened when first asked: where
    it is missing, the error gives the line that installs it. Raises ConfigError then, and for
    options that it does not have.
    """

    def __init__(self, model: str, **config: Any) -> None:
        self.model = model
        self.config = config
        self._resources = AsyncExitStack()
        self._client: ModelClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = AnyLoopLock()

    async def open_client(self) -> ModelClient:
        """Give the client behind it, opened once; a subclass that answers itself is its own."""
        if type(self).generate is not LlmClient.generate:
            return Foreign(self)
        async with self._opening:
            loop = asyncio.get_running_loop()
            if self._client is None or self._loop is not loop:  # it belongs to one that has ended
                self._resources, self._loop = AsyncExitStack(), loop
                opening = open_model(self.model, **self.config)
                self._client = await self._resources.enter_async_context(opening)
        assert self._client is not None
        return self._client

    async def generate(self, request: LlmRequest) -> LlmResponse:
        """Ask once. What goes wrong at the model is the answer's `error_message`."""
        client = await self.open_client()
        try:
            return LlmResponse.of_answer(await client.generate(prepared(request, client.model_id)))
        except ModelError as error:
            return LlmResponse(error_message=str(error))

    async def aclose(self) -> None:
        """Close the client; it is opened again when asked again."""
        self._client = None
        await self._resources.aclose()
        self._resources = AsyncExitStack()


def build_messages(request: LlmRequest) -> list[dict[str, Any]]:
    """Give a request as the messages of OpenAI Chat: valid ones, whatever its contents are."""
    messages: list[dict[str, Any]] = prepared(request).to_openai_chat(cache=False)["messages"]
    return messages


def prepared(request: LlmRequest, model_id: str | None = None) -> PreparedRequest:
    """Prepare a request of the tutorial's for sending."""
    return PreparedRequest.of_items(
        list(request.contents),
        instructions=request.system,
        tools=[tool.definition for tool in request.tools],
        tool_choice=request.tool_choice,
        model_id=request.model_id or model_id,
        session_id="",
        counter=EstimateCounter(),
    )
