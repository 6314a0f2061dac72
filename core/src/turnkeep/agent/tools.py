"""Tools: functions that a model may call, with what an agent has to know of each."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, overload

from pydantic import BaseModel, JsonValue, ValidationError

from turnkeep.agent.schema import arguments_model, descriptions, json_schema
from turnkeep.content import ToolDefinition
from turnkeep.errors import TurnkeepError

if TYPE_CHECKING:
    from turnkeep.agent.context import ExecutionContext

Confirm: TypeAlias = bool | Callable[[dict[str, Any]], bool]
"""Whether a person must agree to a call: always, never, or as its arguments say."""


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
        if inspect.iscoroutinefunction(requires_confirmation):
            raise TurnkeepError(
                f"tool {name}: requires_confirmation is asked at once; give a plain function"
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
                return bool(self.requires_confirmation(deepcopy(arguments)))
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
    without stopping others. A parameter with the hint ExecutionContext is given the run's.
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
        self._contexts = frozenset(
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if _is_context(parameter.annotation)
        )
        """The parameters that are given the run's context."""
        self._model: type[BaseModel] = arguments_model(function, skip=self._contexts)
        super().__init__(
            own,
            said if description is None else description,
            json_schema(self._model, own),
            **options,
        )
        functools.update_wrapper(self, function, updated=())

    def check(self, arguments: dict[str, Any]) -> None:
        """Raise ValueError, with a sentence for the model, for arguments that do not fit."""
        self._values(arguments)

    async def execute(self, context: ExecutionContext, /, **arguments: Any) -> Any:
        """Run the function with arguments as JSON, which become what its hints say."""
        values = self._values(arguments)
        values |= dict.fromkeys(self._contexts, context)
        if _is_async(self.function):
            return await self.function(**values)
        made = await in_thread(self.function, values)
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
        fields = type(read).model_fields
        return {str(info.alias): getattr(read, name) for name, info in fields.items()}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it were no tool."""
        return self.function(*args, **kwargs)


@overload
def tool(
    function: Callable[..., Any],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    requires_confirmation: Confirm = False,
    confirmation_message: str | None = None,
    idempotent: bool = False,
    timeout: float | None = None,
) -> FunctionTool: ...
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
    """Say whether a hint is ExecutionContext, or that or None."""
    if isinstance(hint, str):
        choices = [each.strip(" '\"") for each in hint.removeprefix("Optional").split("|")]
        return choices[0].strip("[]").rpartition(".")[2] == "ExecutionContext"
    kinds = get_args(hint) or (hint,)
    return any(getattr(kind, "__name__", "") == "ExecutionContext" for kind in kinds)


async def in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function in a thread of its own: however many wait, none waits for another.

    A call that is given up goes on there; it holds nobody up, nor the end of the program.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[Any] = loop.create_future()
    running = contextvars.copy_context()

    def tell(value: Any, error: BaseException | None) -> None:
        if waiting.done():
            return
        if error is None:
            waiting.set_result(value)
        elif isinstance(error, StopIteration):
            waiting.set_exception(RuntimeError("the tool raised StopIteration"))
        else:
            waiting.set_exception(error)

    def work() -> None:
        value, error = None, None
        try:
            value = running.run(lambda: function(**arguments))
        except BaseException as raised:  # noqa: BLE001  # told to who waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, value, error)

    name = getattr(function, "__name__", "tool")
    threading.Thread(target=work, name=f"tool {name}", daemon=True).start()
    return await waiting
