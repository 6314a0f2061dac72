"""Models as an agent takes them: a client, a name, or anybody's own with `generate`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeAlias, runtime_checkable

from turnkeep.agent.llm import LlmRequest, LlmResponse
from turnkeep.agent.tools import BaseTool
from turnkeep.content import Item, Message
from turnkeep.errors import ConfigError, ModelError
from turnkeep.formats import get_profile, profile_of
from turnkeep.model import (
    DEFAULTS,
    ModelAnswer,
    ModelClient,
    ModelLimits,
    ModelPiece,
    ModelRequest,
    ModelSettings,
    TextDelta,
)


@runtime_checkable
class Generates(Protocol):
    """Anything that answers an `LlmRequest` with an `LlmResponse`."""

    async def generate(self, request: LlmRequest) -> LlmResponse:
        """Answer a request."""


@runtime_checkable
class _Opens(Protocol):
    async def open_client(self) -> ModelClient: ...


Model: TypeAlias = ModelClient | Generates | str


async def opened(model: Model, resources: AsyncExitStack) -> ModelClient:
    """Give a client for what an agent was given; what it opens is closed with `resources`.

    A text names a model, as "openai/gpt-4o-mini" or with its client, "local:smollm2". Raises
    ConfigError, PluginError for a client that is not there.
    """
    if isinstance(model, str):
        return await resources.enter_async_context(open_model(model))
    if isinstance(model, _Opens):
        return await model.open_client()
    if _is_client(model):
        client: ModelClient = model  # type: ignore[assignment]  # it has all of its members
        await asyncio.to_thread(getattr, client, "profile")  # some load a library first
        return client
    if isinstance(model, Generates):
        return Foreign(model)
    raise ConfigError(
        f"an agent's model is a client, a name such as 'openai/gpt-4o-mini', or an object with "
        f"`async generate(request)`; not a {type(model).__name__}"
    )


def _is_system(item: Item) -> bool:
    return isinstance(item, Message) and item.role in ("system", "developer")


def _is_client(model: object) -> bool:
    """Say whether it is a client, without asking for any property's value: that may take long."""
    members = ("model_id", "profile", "limits", "generate", "stream")
    return all(hasattr(type(model), name) or name in vars(model) for name in members)


def open_model(name: str, **options: Any) -> Any:
    """Prepare the client of a model named by a text; `async with` opens it.

    Raises ConfigError for a client that is unknown, with the line that installs it, and for options
    that it does not have.
    """
    import logging
    from pathlib import Path

    from pydantic import ValidationError

    from turnkeep.hookspecs import Env
    from turnkeep.plugins import Plugins

    spec, model_id = Plugins().model_named(name)
    try:
        chosen = spec.options(**options)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise ConfigError(f"model {name!r}: {faults}") from None
    env = Env(data_dir=Path(), logger=logging.getLogger("turnkeep"))
    return spec.open(model_id, chosen, env)


class Foreign:
    """A model of somebody's own, which knows nothing but `generate`."""

    def __init__(self, model: Generates) -> None:
        self._model = model
        name = getattr(model, "model", None)
        self.model_id = name if isinstance(name, str) else type(model).__name__
        self.profile = profile_of(self.model_id) or "openai-chat"
        self.limits = ModelLimits()

    async def generate(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> ModelAnswer:
        """Ask it; it takes no settings. Raises ModelError with what it gives as its error."""
        del settings
        # As it would be sent: what a log holds may have to be repaired first.
        sent = get_profile(self.profile).parse_request(request.to(self.profile, cache=False))
        asked = LlmRequest.model_construct(
            instructions=request.request.instructions,
            contents=[item for item in sent.contents if not _is_system(item)],
            tools=[
                BaseTool(each.name, each.description, each.parameters)
                for each in request.request.tools
            ],
            tool_choice=request.request.tool_choice,
            model_id=request.request.model_id,
        )
        answered = self._model.generate(asked)
        response = await answered if inspect.isawaitable(answered) else answered
        if response.error_message is not None:
            raise ModelError(
                f"model {self.model_id!r} gave no answer: {response.error_message}",
                model=self.model_id,
            )
        return ModelAnswer(items=list(response.content), usage=response.usage())

    async def stream(
        self, request: ModelRequest, settings: ModelSettings = DEFAULTS
    ) -> AsyncGenerator[ModelPiece, None]:
        """Give its answer in one piece."""
        answer = await self.generate(request, settings)
        if answer.text:
            yield TextDelta(answer.text)
        yield answer
