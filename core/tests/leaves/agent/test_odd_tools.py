"""Tools that do what tools should not, and still have a result, or are refused where they are made."""

import asyncio
import threading

import pytest

from turnkeep import (
    Agent,
    BaseTool,
    ExecutionContext,
    TurnkeepError,
    tool,
)
from turnkeep.testing.models import ScriptedModel


async def test_a_tool_whose_own_task_was_cancelled_has_a_result(call, results):
    """It is not the run that was cancelled."""

    @tool
    async def wait():
        inner = asyncio.ensure_future(asyncio.sleep(9))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    result = await Agent(ScriptedModel(call("wait", "w"), "ok"), [wait]).run("go")
    assert results(result.context) == {"w": "what it waited for was cancelled, outcome unknown"}


async def test_an_error_that_cannot_be_said_is_named(call, results):
    """By its type."""

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    @tool
    def fail():
        raise Mute

    result = await Agent(ScriptedModel(call("fail", "f"), "ok"), [fail]).run("go")
    assert "Mute" in results(result.context)["f"]


async def test_plain_tools_do_not_wait_for_each_other(call, results):
    """Each has a thread of its own, however many there are."""
    together = threading.Barrier(12, timeout=30)

    @tool
    def meet() -> str:
        together.wait()
        return "met"

    model = ScriptedModel([call("meet") for _ in range(12)], "ok")
    result = await Agent(model, [meet], parallel_tools=12).run("go")
    assert set(results(result.context).values()) == {"met"}


async def test_what_a_tool_does_to_its_arguments_stays_its_own(call):
    """The next request says what the model has said."""

    class Pops(BaseTool):
        async def execute(self, context, /, **arguments):
            arguments["list"].clear()
            return "ok"

    def spoil(context, made):
        made.arguments["list"].append("spoilt")

    parameters = {"type": "object", "properties": {"list": {"type": "array"}}}
    model = ScriptedModel(call("pops", list=[1]), "ok")
    await Agent(model, [Pops("pops", "", parameters)], before_tool=spoil).run("go")
    [made] = model.requests[1]["messages"][1]["tool_calls"]
    assert made["function"]["arguments"] == '{"list":[1]}'


async def test_a_check_that_fails_loses_no_answer(manager, call):
    """The model is told when the call would run."""

    class Odd(BaseTool):
        def check(self, arguments):
            raise RuntimeError("odd")

        async def execute(self, context, /, **arguments):
            return "ran"

    model = ScriptedModel(call("odd", "o"), "ok")
    result = await Agent(model, [Odd("odd", requires_confirmation=True)]).run("go")
    assert result.output == "ok"


def test_parameters_may_have_any_name():
    """Those of pydantic's own methods, too; the context by any name."""

    @tool
    def f(
        json: str,
        copy: int,
        _x: int,
        model_config: str,
        ctx: ExecutionContext | None = None,
        schema: str = "s",
    ):
        return [json, copy, _x, model_config, ctx is not None, schema]

    assert set(f.parameters["properties"]) == {"json", "copy", "_x", "model_config", "schema"}
    given = {"json": "j", "copy": 1, "_x": 2, "model_config": "m"}
    made = asyncio.run(f.execute(ExecutionContext(), **given))
    assert made == ["j", 1, 2, "m", True, "s"]


def test_a_method_without_its_object_is_no_tool():
    """The error says what is."""
    with pytest.raises(TurnkeepError, match="bound method"):

        class Thing:
            @tool
            def act(self, x: int):
                return x


def test_confirmation_is_asked_at_once():
    """An async function for it is refused where the tool is made."""

    async def ask(arguments):
        return True

    with pytest.raises(TurnkeepError, match="give a plain function"):
        tool(requires_confirmation=ask)(lambda_like)


def lambda_like():
    pass
