"""Callbacks: functions of the program's own, around each model call and each tool call.

Each may be async or plain. In order:

- `before_llm(context, request)` may change the request, or answer in the model's place by giving
  an `LlmResponse`;
- `after_llm(context, response)` may give another response to be kept instead;
- `before_tool(context, call)` may give a result, and the tool is not run;
- `after_tool(context, result)` may give another result to be kept instead.

What one raises ends the run; what was stored until then stays. Where `after_tool` raises, the call
is kept with an error in its result's place, as its tool has run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Callback: TypeAlias = Callable[..., Any]
Callbacks: TypeAlias = Callback | Iterable[Callback] | None


@dataclass(frozen=True)
class Hooked:
    """The callbacks of an agent, each kind in its order."""

    before_llm: Sequence[Callback] = ()
    after_llm: Sequence[Callback] = ()
    before_tool: Sequence[Callback] = ()
    after_tool: Sequence[Callback] = ()

    @classmethod
    def of(cls, **given: Callbacks) -> Hooked:
        """Take one callback, several, or none for each kind."""
        return cls(**{kind: _several(each) for kind, each in given.items()})


def _several(given: Callbacks) -> Sequence[Callback]:
    if given is None:
        return ()
    return (given,) if callable(given) else tuple(given)


async def called(callback: Callback, *args: object) -> Any:
    """Call a callback, async or not."""
    result = callback(*args)
    return await result if inspect.isawaitable(result) else result
