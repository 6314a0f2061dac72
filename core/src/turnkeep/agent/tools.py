"""Tools: functions that a model may call, with what an agent has to know of each."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

from pydantic import BaseModel, JsonValue, ValidationError

from turnkeep.agent.schema import arguments_model, descriptions, json_schema
from turnkeep.content import ToolDefinition
from turnkeep.errors import TurnkeepError

if TYPE_CHECKING:
    from turnkeep.agent.context import ExecutionContext

Confirm: TypeAlias = bool | Callable[[dict[str, Any]], bool]
"""Whether a person must agree to a call: always, never, or as its arguments say."""

_CONTEXT: Final = "context"
"""A parameter of this name with the hint ExecutionContext is given the run's, not the model's."""


class BaseTool:
    """What a model may call. Subclasses override `execute`.

    Parameters: `requires_confirmation` whether a person must agree first (or a function of the
    arguments that says so), `confirmation_message` what the person is asked, with `{name}` for
    arguments; `idempotent` whether running it twice does no harm, so that a call which a crash cut
    off may run again; `timeout` in seconds, after which a call is given up.
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        parameters: Mapping[str, JsonValue] | None = None,
        *,
        requires_confirmation: Confirm = False,
        confirmation_message: str | None = None,
        idempotent: bool = False,
        timeout: float | None = None,
    ) -> None:
        self.name = name
        self.description = description
        self.parameters: dict[str, JsonValue] = dict(
            parameters or {"type": "object", "properties": {}}
        )
        self.requires_confirmation = requires_confirmation
        self.confirmation_message = confirmation_message
        self.idempotent = idempotent
        self.timeout = timeout

    @property
    def tool_definition(self) -> dict[str, Any]:
        """The tool as OpenAI Chat declares it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": self.parameters,
            },
        }

    @property
    def definition(self) -> ToolDefinition:
        """The tool as requests of ours declare it."""
        return ToolDefinition(
            name=self.name, description=self.description, parameters=self.parameters
        )

    def needs_confirmation(self, arguments: dict[str, Any]) -> bool:
        """Say whether a person must agree to a call with these arguments.

        A function that fails to say so means yes.
        """
        if callable(self.requires_confirmation):
            try:
                return bool(self.requires_confirmation(arguments))
            except Exception:  # noqa: BLE001  # a stranger's function: in doubt a person is asked
                return True
        return bool(self.requires_confirmation)

    def question(self, arguments: dict[str, Any]) -> str:
        """Say what a person is asked before a call with these arguments."""
        if self.confirmation_message is None:
            return f"Run {self.name}?"
        shown = _Shown({name: str(value) for name, value in arguments.items()})
        try:
            return self.confirmation_message.format_map(shown)
        except (ValueError, AttributeError, IndexError, TypeError):
            return self.confirmation_message

    def check(self, arguments: dict[str, Any]) -> None:
        """Raise ValueError, with a sentence for the model, for arguments that do not fit."""

    async def execute(self, context: ExecutionContext, /, **arguments: Any) -> Any:
        """Run it. What it returns is the result; what it raises is told to the model.

        Raise ToolError for a sentence that is meant for the model as it stands.
        """
        raise NotImplementedError(f"tool {self.name} does not say what it does: override execute")

    async def __call__(self, context: ExecutionContext, /, **arguments: Any) -> Any:
        """Run it, as `execute` does."""
        return await self.execute(context, **arguments)


class _Shown(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


class FunctionTool(BaseTool):
    """A tool made of a function: its name, words and schema are the function's own.

    An async function runs on the loop, a plain one in a thread of its own, so that it may wait
    without stopping others. A parameter `context: ExecutionContext` is given the run's context.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        **options: Any,
    ) -> None:
        said = descriptions(inspect.getdoc(function) or "")[0]
        own = name or getattr(function, "__name__", "")
        if not own or own == "<lambda>":
            raise TurnkeepError("a tool made of a lambda needs a name: tool(name=…)")
        self.function = function
        skip = frozenset(
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.name == _CONTEXT and _is_context(parameter.annotation)
        )
        self._wants_context = bool(skip)
        self._model: type[BaseModel] = arguments_model(function, skip=skip)
        super().__init__(
            own,
            said if description is None else description,
            json_schema(self._model),
            **options,
        )
        functools.update_wrapper(self, function, updated=())

    def check(self, arguments: dict[str, Any]) -> None:
        """Raise ValueError, with a sentence for the model, for arguments that do not fit."""
        self._values(arguments)

    async def execute(self, context: ExecutionContext, /, **arguments: Any) -> Any:
        """Run the function with arguments as JSON, which become what its hints say."""
        values = self._values(arguments)
        if self._wants_context:
            values[_CONTEXT] = context
        if _is_async(self.function):
            return await self.function(**values)
        made = await asyncio.to_thread(self.function, **values)
        return await made if inspect.isawaitable(made) else made

    def _values(self, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            read = self._model.model_validate(arguments)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}"
                for fault in error.errors(include_url=False, include_input=False)
            )
            raise ValueError(f"the arguments do not fit: {faults}") from None
        return {name: getattr(read, name) for name in type(read).model_fields}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it were no tool."""
        return self.function(*args, **kwargs)


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    requires_confirmation: Confirm = False,
    confirmation_message: str | None = None,
    idempotent: bool = False,
    timeout: float | None = None,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a tool of a function, as `@tool` or `@tool(requires_confirmation=True)`.

    Name, description and schema come from the function: its name, docstring and type hints. The
    options are those of `BaseTool` (`timeout` in seconds). Raises TurnkeepError for a function
    whose parameters cannot come from JSON.
    """
    if function is not None:
        return FunctionTool(function, **options)
    return lambda each: FunctionTool(each, **options)


Tools: TypeAlias = Iterable[BaseTool | Callable[..., Any]]
"""Tools, or plain functions to make them of."""


def named_tools(tools: Tools | None) -> dict[str, BaseTool]:
    """Give tools by their names. Raises TurnkeepError where two have the same."""
    found: dict[str, BaseTool] = {}
    for each in tools or ():
        one = each if isinstance(each, BaseTool) else FunctionTool(each)
        if one.name in found:
            raise TurnkeepError(f"two tools are called {one.name!r}; give each its own name")
        found[one.name] = one
    return found


def _is_async(function: Callable[..., Any]) -> bool:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
        getattr(inner, "__call__", None)  # noqa: B004  # an object that is called
    )


def _is_context(hint: object) -> bool:
    if isinstance(hint, str):
        return hint.rpartition(".")[2].strip("'\"") == "ExecutionContext"
    return getattr(hint, "__name__", "") == "ExecutionContext"
