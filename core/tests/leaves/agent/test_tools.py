"""Tools made of functions: their schema, their words, and what they take and give."""

import asyncio
import dataclasses
import datetime as dt
from enum import Enum
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from turnkeep import BaseTool, ExecutionContext, ToolError, TurnkeepError, tool


@tool
def search(query: str, limit: int = 10, kind: Literal["web", "news"] = "web") -> list[str]:
    """Search for something.

    Looks everywhere.

    Args:
        query: what to look for,
            in plain words
        limit (int): how many at most
        kind: where

    Returns:
        What was found.
    """
    return [f"{query}{number}" for number in range(limit)]


def executed(made, **arguments):
    return asyncio.run(made.execute(ExecutionContext(), **arguments))


def test_the_schema_comes_from_hints_and_docstring():
    """Types, defaults, choices and what is said of each parameter."""
    assert search.name == "search"
    assert search.description == "Search for something.\n\nLooks everywhere."
    assert search.parameters == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "query": {"type": "string", "description": "what to look for, in plain words"},
            "limit": {"type": "integer", "default": 10, "description": "how many at most"},
            "kind": {
                "type": "string",
                "enum": ["web", "news"],
                "default": "web",
                "description": "where",
            },
        },
        "required": ["query"],
    }


def test_a_tool_is_still_its_function():
    """Called as such, it does what it did before."""
    assert search("x", 2) == ["x0", "x1"]
    assert search.__name__ == "search"


@pytest.mark.parametrize(
    "doc",
    [
        "Do.\n\n:param a: the first\n:param int b: the second\n:returns: no",
        "Do.\n\nParameters\n----------\na : str\n    the first\nb : int\n    the second\n\nReturns\n-------\nno",
        "Do.\n\nArgs:\n    a (str): the first\n    b: the\n      second\n\nRaises:\n    X: no",
    ],
)
def test_docstrings_of_three_styles_are_read(doc):
    """Sphinx, NumPy and Google."""

    def function(a: str, b: int = 0):
        pass

    function.__doc__ = doc
    made = tool(function)
    assert made.description == "Do."
    said = {name: each["description"] for name, each in made.parameters["properties"].items()}
    assert said == {"a": "the first", "b": "the second"}


def test_arguments_become_what_the_hints_say():
    """Models, dates, enums and dataclasses are made of JSON; what is returned becomes JSON again."""

    class Place(BaseModel):
        city: str

    class Color(Enum):
        RED = "red"

    @dataclasses.dataclass
    class Size:
        width: int

    @tool
    async def book(where: Place, when: dt.date, color: Color, size: Size, note: str | None = None):
        assert isinstance(when, dt.date)
        assert color is Color.RED
        assert size.width == 3
        return where

    given = {"where": {"city": "Ulm"}, "when": "2026-01-02", "color": "red", "size": {"width": 3}}
    assert executed(book, **given) == Place(city="Ulm")


def test_arguments_that_do_not_fit_are_told_in_a_sentence():
    """Without the input, which may be secret, and without a link."""
    with pytest.raises(ValueError, match="limit: Input should be a valid integer") as told:
        executed(search, query="q", limit="hunter2")
    assert "hunter2" not in str(told.value)
    with pytest.raises(ValueError, match="other: Extra inputs"):
        executed(search, query="q", other=1)


def test_what_cannot_come_from_json_is_refused_where_the_tool_is_made():
    """With the tool and the parameter."""
    with pytest.raises(TurnkeepError, match="tool f: parameter 'rest'"):
        tool(lambda: None) if False else tool(_with_rest)
    with pytest.raises(TurnkeepError, match="tool g: a parameter's type"):
        tool(_with_socket)
    with pytest.raises(TurnkeepError, match="lambda needs a name"):
        tool(lambda x: x)


def _with_rest(*rest):
    pass


def _with_socket(s: "socket.socket"):  # noqa: F821
    pass


_with_rest.__name__ = "f"
_with_socket.__name__ = "g"
_with_socket.__annotations__ = {"s": object.__subclasses__.__class__}


def test_the_context_is_given_and_not_declared():
    """A parameter `context: ExecutionContext` is the run's."""

    @tool
    def remember(fact: str, context: ExecutionContext) -> str:
        context.state["fact"] = fact
        return "noted"

    context = ExecutionContext()
    assert asyncio.run(remember.execute(context, fact="x")) == "noted"
    assert context.state == {"fact": "x"}
    assert list(remember.parameters["properties"]) == ["fact"]


def test_descriptions_may_stand_in_the_hints():
    """`Field` says more than the docstring, and wins."""

    @tool
    def f(a: Annotated[int, Field(description="from the field", ge=1)]):
        """F.

        Args:
            a: from the docstring
        """

    assert f.parameters["properties"]["a"] == {
        "type": "integer", "minimum": 1, "description": "from the field",
    }  # fmt: skip


def test_confirmation_may_depend_on_the_arguments():
    """A function says so; one that fails means yes."""

    @tool(requires_confirmation=lambda given: given["amount"] > 100)
    def pay(amount: int):
        pass

    assert [pay.needs_confirmation({"amount": each}) for each in (1, 101)] == [False, True]
    assert pay.needs_confirmation({})


def test_the_question_names_the_arguments():
    """What is missing in a template stays as it is; braces do no harm."""

    @tool(confirmation_message="Pay {amount} to {whom}? {0} {amount.real}")
    def pay(amount: int):
        pass

    assert pay.question({"amount": 3}) == "Pay {amount} to {whom}? {0} {amount.real}"
    pay.confirmation_message = "Pay {amount} to {whom}?"
    assert pay.question({"amount": 3}) == "Pay 3 to {whom}?"


def test_plain_functions_run_in_a_thread():
    """So they may wait without stopping others."""
    import threading

    @tool
    def where():
        return threading.current_thread() is threading.main_thread()

    assert executed(where) is False


def test_a_subclass_says_what_it_does_itself():
    """With a schema of its own."""

    class Echo(BaseTool):
        async def execute(self, context, **arguments):
            return arguments

    echo = Echo("echo", "Say it again", {"type": "object", "properties": {"x": {}}})
    assert executed(echo, x=1) == {"x": 1}
    with pytest.raises(NotImplementedError, match="override execute"):
        executed(BaseTool("bare"))
    assert issubclass(ToolError, TurnkeepError)
