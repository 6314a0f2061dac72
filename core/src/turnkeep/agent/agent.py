"""Agent: a model, tools and instructions, run over sessions that are kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from turnkeep.agent.callbacks import Callbacks, Hooked
from turnkeep.agent.context import AgentResult, ExecutionContext, ToolConfirmation
from turnkeep.agent.events import AgentEvent, Finished
from turnkeep.agent.homes import Homes
from turnkeep.agent.locks import AnyLoopLock
from turnkeep.agent.models import Model, opened
from turnkeep.agent.output import Output
from turnkeep.agent.parts import Parts
from turnkeep.agent.run import Run
from turnkeep.agent.tools import Tools, named_tools
from turnkeep.content import Message, Part
from turnkeep.errors import ConfigError, ContentError, TurnkeepError
from turnkeep.formats.profile import is_blank
from turnkeep.keeper import Keeper
from turnkeep.model import ModelClient, ModelSettings
from turnkeep.optimize.rules import ContextRules
from turnkeep.session import BaseSessionManager
from turnkeep.tokens.counter import TokenCounter

UserInput: TypeAlias = str | Sequence[Part] | Message | None


class Agent:
    """Thinks and acts: asks a model, runs the tools that it calls, until there is an answer.

    Everything is stored as it happens, so a run that was cut off anywhere goes on with `resume`.
    One agent serves any number of sessions, also at once.

    Parameters:
        model: a model client, a name such as "openai/gpt-4o-mini" or "local:smollm2" (which is
            opened when first asked), or an object with `async generate(request)`. Default: that
            of `keeper`.
        tools: tools, or plain functions to make them of.
        instructions: what the model is told in every request.
        max_steps: model calls in one run, at most.
        session_manager: where sessions are kept (default: in memory). Anybody's own will do.
        keeper: in place of a session manager, what `turnkeep.open()` gives: with its store,
            counter, limits and model.
        output_type: what a final answer is read as: a pydantic model, or any type that pydantic
            understands.
        before_llm, after_llm, before_tool, after_tool: callbacks (see `turnkeep.agent.callbacks`).
        settings: how each model call is made.
        tool_choice: "auto", "none", "required" or {"name": ...}.
        parallel_tools: how many tools of one answer run at once, at most.
        context_limits: the table `[context]`, where no keeper brings one; without a limit of its
            own the model's window is one.
        counter: counts tokens, where no keeper brings one.
        on_conflict: "error" or "wait" where another run of the session is going on.
        on_pending: "raise" or "reject" where calls wait for approval and the user says something.
            Both are as the keeper has them unless given; without one, "error" and "raise".

    """

    def __init__(
        self,
        model: Model | None = None,
        tools: Tools | None = None,
        instructions: str = "",
        max_steps: int = 5,
        session_manager: BaseSessionManager | None = None,
        *,
        keeper: Keeper | None = None,
        output_type: Any = None,
        before_llm: Callbacks = None,
        after_llm: Callbacks = None,
        before_tool: Callbacks = None,
        after_tool: Callbacks = None,
        settings: ModelSettings | None = None,
        tool_choice: Any = None,
        parallel_tools: int = 8,
        context_limits: ContextRules | Mapping[str, Any] | None = None,
        counter: TokenCounter | None = None,
        on_conflict: Literal["error", "wait"] | None = None,
        on_pending: Literal["raise", "reject"] | None = None,
    ) -> None:
        if keeper is not None and (session_manager or context_limits or counter):
            raise ConfigError(
                "an agent has a keeper or parts of its own: not keeper= beside session_manager=, "
                "context_limits= or counter="
            )
        if model is None and keeper is None:
            raise ConfigError("an agent needs a model: Agent(model=...), or keeper= with [model]")
        for name, number in (("max_steps", max_steps), ("parallel_tools", parallel_tools)):
            if not isinstance(number, int) or number < 1:
                raise ConfigError(f"{name} is a whole number from 1, not {number!r}")
        self.model = model
        self.tools = named_tools(tools)
        self.instructions = instructions
        self.max_steps = max_steps
        self.output_type = output_type
        self._homes = Homes(
            session_manager,
            keeper,
            limits=context_limits,
            counter=counter,
            on_conflict=on_conflict,
            on_pending=on_pending,
        )
        self._hooks = Hooked.of(
            before_llm=before_llm,
            after_llm=after_llm,
            before_tool=before_tool,
            after_tool=after_tool,
        )
        self._output = None if output_type is None or output_type is str else Output(output_type)
        self._settings = settings or ModelSettings()
        self._tool_choice = tool_choice
        self._parallel = parallel_tools
        self._resources = AsyncExitStack()
        self._client: ModelClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop on which the model was opened."""
        self._opening = AnyLoopLock()

    @property
    def session_manager(self) -> BaseSessionManager:
        """Where sessions are kept."""
        return self._homes.manager

    async def run(
        self,
        user_input: UserInput,
        context: ExecutionContext | None = None,
        session_id: str | None = None,
        tool_confirmations: Sequence[ToolConfirmation] | None = None,
        *,
        user_id: str | None = None,
    ) -> AgentResult:
        """Say something, and run until there is an answer or a person is needed.

        Parameters:
            user_input: a text, parts (pictures, files) or a message. Blank or None: go on where
                the session stands, as `resume` does.
            context: that of an earlier run, to go on with where there is no session; or a new one
                whose state and events tools and callbacks are to see.
            session_id: the session, begun if it does not exist. Without one nothing outlives
                `context`.
            tool_confirmations: decisions on calls that wait. They are recorded first, the approved
                calls run, then the input is added.
            user_id: the session's owner: somebody else's is not found.

        Raises SessionBusy while another run of the session goes on, PendingApproval where calls
        wait and the input is not a decision, ContentError for a decision on what does not wait,
        ModelError where the model gives no answer, ContextOverflow where no request can be made to
        fit. What was stored until then stays, and `resume` goes on from there.
        """
        events = self._events(
            user_input, context, session_id, tool_confirmations, user_id, streaming=False
        )
        result: AgentResult | None = None
        async with contextlib.aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    result = event.result
        assert result is not None
        return result

    async def resume(
        self,
        session_id: str,
        tool_confirmations: Sequence[ToolConfirmation] | None = None,
        *,
        user_id: str | None = None,
    ) -> AgentResult:
        """Go on with a session that was cut off, or that waits for decisions.

        Idempotent tools that were cut off run again; of any other the model is told that its
        outcome is not known. A session that ends with an answer gives it again, unasked.
        """
        return await self.run(None, None, session_id, tool_confirmations, user_id=user_id)

    def stream(
        self,
        user_input: UserInput,
        context: ExecutionContext | None = None,
        session_id: str | None = None,
        tool_confirmations: Sequence[ToolConfirmation] | None = None,
        *,
        user_id: str | None = None,
    ) -> AsyncGenerator[AgentEvent, None]:
        """Run like `run`, and yield what happens as it happens; `Finished` is the last.

        Left early (`aclose`), the run ends there: what the model had said is kept as a cut answer,
        tools that still run are cancelled.
        """
        return self._events(
            user_input, context, session_id, tool_confirmations, user_id, streaming=True
        )

    def run_sync(self, user_input: UserInput, **arguments: Any) -> AgentResult:
        """Run where there is no event loop, as a script does; takes what `run` takes.

        What was opened for it is closed again: it belongs to a loop that ends here.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._once(user_input, arguments))
        raise TurnkeepError("an event loop is running here: use `await agent.run(...)`")

    async def _once(self, user_input: UserInput, arguments: dict[str, Any]) -> AgentResult:
        try:
            return await self.run(user_input, **arguments)
        finally:
            await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the model if the agent opened it; the agent can be used again."""
        self._client = None
        await self._resources.aclose()
        self._resources = AsyncExitStack()

    async def _events(
        self,
        user_input: UserInput,
        context: ExecutionContext | None,
        session_id: str | None,
        confirmations: Sequence[ToolConfirmation] | None,
        user_id: str | None,
        *,
        streaming: bool,
    ) -> AsyncGenerator[AgentEvent, None]:
        said = _message(user_input)
        client = await self.open_model()
        async with self._homes.turn(context, session_id, user_id, client) as (turn, shown):
            run = Run(self._parts(), client, turn, shown, streaming=streaming)
            async with contextlib.aclosing(run.events(said, confirmations or ())) as events:
                async for event in events:
                    yield event

    def _parts(self) -> Parts:
        return Parts(
            tools=self.tools,
            instructions=self.instructions,
            max_steps=self.max_steps,
            hooks=self._hooks,
            output=self._output,
            settings=self._settings,
            parallel=self._parallel,
            tool_choice=self._tool_choice,
        )

    async def open_model(self) -> ModelClient:
        """Give the client of the agent's model, opened once."""
        loop = asyncio.get_running_loop()
        if not isinstance(self.model, str | None) and self._client is not None:
            return self._client if not hasattr(self.model, "open_client") else await self._open()
        if self._client is None or self._loop is not loop:
            async with self._opening:
                if self._client is None or self._loop is not loop:
                    if self._loop is not loop:  # what was opened belongs to a loop that has ended
                        self._resources = AsyncExitStack()
                    self._client, self._loop = await self._open(), loop
        return self._client

    async def _open(self) -> ModelClient:
        if self.model is not None:
            return await opened(self.model, self._resources)
        assert self._homes.keeper is not None
        client = self._homes.keeper.model
        if client is None:
            raise ConfigError(
                "the keeper has no model: name one by [model] client and id, or give Agent(model=)"
            )
        return client


def _message(said: UserInput) -> Message | None:
    if said is None or isinstance(said, Message):
        return said
    if isinstance(said, str):
        return None if is_blank(said) else Message(role="user", content=said)
    if not said:
        raise ContentError("the user's input is an empty list of parts")
    return Message(role="user", content=list(said))
