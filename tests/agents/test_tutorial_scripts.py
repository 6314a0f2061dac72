"""The tutorial's own scripts, word for word but for the package's name, and its names and formulas.

They are read from beside the checkout, so these tests skip where that is not there; what the
scripts do is tested in our own words as well.
"""

import asyncio
import json
import re
import sys
import types
from pathlib import Path

import pytest

import turnkeep
from turnkeep import LlmClient, LlmRequest, Message, SessionManager, ToolCall, ToolResult, tool
from turnkeep.testing.provider import Call, ProviderServer, Say

pytest.importorskip("turnkeep_model_litellm")
pytest.importorskip("turnkeep_tokens_tiktoken")
SHARED = Path(__file__).resolve().parents[3] / "shared"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@tool
def calculator(expression: str) -> str:
    """Work out an arithmetic expression."""
    left, right = expression.split("*")
    return str(int(left) * int(right))


def answers(request):
    """Answer as a model would that knows only what is sent to it."""
    said = [str(message.get("content")) for message in request.body["messages"]]
    last = said[-1]
    if "1234 * 5678" in last and request.body["messages"][-1]["role"] == "user":
        return Say(calls=[Call("calculator", {"expression": "1234*5678"})])
    if request.body["messages"][-1]["role"] == "tool":
        return Say(f"That is {last}.")
    if "my name" in last.lower() and "alice" not in last.lower():
        knows = any("Alice" in each for each in said[:-1])
        return Say("You are Alice, a software engineer." if knows else "I do not know your name.")
    return Say("Nice to meet you!")


@pytest.fixture
def server(monkeypatch):
    with ProviderServer(default=answers) as made:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_API_BASE", made.base_url("openai-chat"))
        monkeypatch.setenv("OPENAI_BASE_URL", made.base_url("openai-chat"))
        yield made
        assert made.rejected == []


@pytest.fixture
def scripts():
    """Give the scripts of the tutorial's section on testing."""
    page = SHARED / "tutorial_episode_9.md"
    if not page.exists():
        pytest.skip("needs the tutorial in ../shared")
    found = [block for block in FENCE.findall(page.read_text()) if "agent_tools" in block
             or "Session Storage Summary" in block]  # fmt: skip
    assert len(found) == 2
    return [block.replace("agent_framework", "turnkeep") for block in found]


async def run_scripts(blocks, capsys, monkeypatch, **names):
    """Run blocks one after the other, as a notebook does."""
    module = types.ModuleType("agent_tools")
    module.calculator = calculator
    monkeypatch.setitem(sys.modules, "agent_tools", module)
    for name, value in names.items():
        monkeypatch.setattr(turnkeep, name, value)
    space = {}
    for block in blocks:
        code = compile(block, "script", "exec", flags=0x2000)  # top-level await is allowed
        made = eval(code, space)
        if asyncio.iscoroutine(made):
            await made
    return capsys.readouterr().out


async def test_the_scripts_run_in_memory(scripts, server, capsys, monkeypatch):
    """Persistence over three runs, isolation, and the summary of what is stored."""
    said = await run_scripts(scripts, capsys, monkeypatch)
    assert "Response 3: You are Alice" in said
    assert "Response 4: I do not know" in said
    assert "That is 7006652." in said
    assert re.findall(r"Events: (\d+)", said) == ["2", "6", "8", "2"]
    assert said.count("Session ID: ") == 2
    assert len(server.requests) == 5


async def test_the_scripts_run_on_sqlite(scripts, server, capsys, monkeypatch, tmp_path):
    """The same, kept in a file; another process would go on there."""
    config = {"session": {"store": "sqlite", "sqlite": {"path": str(tmp_path / "s.db")}}}
    async with turnkeep.open(config) as keep:
        said = await run_scripts(
            scripts[:1], capsys, monkeypatch, InMemorySessionManager=lambda: keep.sessions
        )
        assert len((await keep.sessions.get("user-123")).events) == 8
    assert "Response 3: You are Alice" in said
    async with turnkeep.open(config) as keep:
        agent = turnkeep.Agent(LlmClient("gpt-4o-mini"), session_manager=keep.sessions)
        assert "Alice" in (await agent.run("What's my name?", session_id="user-123")).output


async def test_a_client_answers_a_request_by_itself(server):
    """`generate` without an agent; what goes wrong is its error message."""
    client = LlmClient(model="gpt-4o-mini")
    request = LlmRequest(
        instructions=["Be brief.", "Be kind."], contents=[Message(role="user", content="Hi")]
    )
    response = await client.generate(request)
    assert response.content[0].content == "Nice to meet you!"
    assert response.usage_metadata["output_tokens"] > 0
    assert server.requests[0].body["messages"][0]["content"] == "Be brief.\n\nBe kind."
    failing = LlmClient("gpt-4o-mini", retries=0, api_base="http://127.0.0.1:1/v1", api_key="sk-1")
    response = await failing.generate(request)
    assert "gpt-4o-mini" in response.error_message
    assert "sk-1" not in response.error_message


async def test_options_that_a_client_does_not_have_are_told():
    """By name, when it is opened."""
    with pytest.raises(turnkeep.ConfigError, match="tempratur"):
        await LlmClient("gpt-4o-mini", tempratur=1).open_client()


def test_tokens_are_counted_by_the_tutorials_formula():
    """4 for a message, its text, its calls' names and arguments, each tool as JSON."""
    import bpe_openai  # the same vocabularies, written by others

    request = LlmRequest(
        instructions="You help.",
        contents=[
            Message(role="user", content="What is 2*3?"),
            ToolCall(tool_call_id="c", name="calculator", arguments={"expression": "2*3"}),
            ToolResult(tool_call_id="c", name="calculator", content=["6"]),
        ],
        tools=[calculator],
    )
    for model, name in (
        ("gpt-4", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("no-such-model", "o200k_base"),
    ):
        encoding = bpe_openai.get_encoding(name)

        def size(text, encoding=encoding):
            return len(encoding.encode(text))

        messages = turnkeep.build_messages(request)
        total = 0
        for message in messages:
            total += 4 + size(message.get("content") or "")
            for each in message.get("tool_calls") or ():
                total += size(each["function"]["name"]) + size(each["function"]["arguments"])
        total += size(json.dumps(calculator.tool_definition))
        assert turnkeep.count_tokens(request, model_id=model) == total


async def test_an_optimizer_callback_works_from_its_threshold_on(server):
    """Sync and async; below it nothing happens, and the log keeps everything."""
    seen = []

    def shrink(context, request):
        seen.append(len(request.contents))
        request.contents = request.contents[-1:]

    async def shrink_later(context, request):
        shrink(context, request)

    for apply in (shrink, shrink_later):
        callback = turnkeep.create_optimizer_callback(apply, threshold=60)
        agent = turnkeep.Agent(LlmClient("gpt-4o-mini"), before_llm=callback)
        context = None
        for text in ("Hi", "word " * 60, "What's my name?"):
            context = (await agent.run(text, context=context)).context
        assert len(context.events) == 6
    assert seen == [3, 5] * 2
    assert len(server.requests[2].body["messages"]) == 1


async def test_the_common_mistakes_cannot_happen():
    """State is loaded, a pause is stored before it is told, nothing is lost by forgetting to save."""
    from turnkeep.testing.models import ScriptedModel

    @tool(requires_confirmation=True)
    def pay(context: turnkeep.ExecutionContext) -> str:
        return "paid"

    @tool
    def count(context: turnkeep.ExecutionContext) -> int:
        context.state["n"] = context.state.get("n", 0) + 1
        return context.state["n"]

    manager = turnkeep.InMemorySessionManager()
    calls = [ToolCall(tool_call_id=each, name=each, arguments={}) for each in ("count", "pay")]
    agent = turnkeep.Agent(ScriptedModel(calls), [pay, count], session_manager=manager)
    paused = await agent.run("go", session_id="s")
    paused.context.events.clear()  # whatever a program does with its copy
    paused.context.state.clear()
    other = turnkeep.Agent(
        ScriptedModel("done"), [pay, count], session_manager=SessionManager(manager.store)
    )
    yes = [turnkeep.ToolConfirmation(tool_call_id="pay", approved=True)]
    result = await other.run("", session_id="s", tool_confirmations=yes)
    assert (result.status, result.output, result.context.state) == ("complete", "done", {"n": 1})
    assert [event.author for event in result.context.events] == [
        "user", "assistant", "tool", "system", "user", "tool", "assistant",
    ]  # fmt: skip


def test_every_name_is_where_the_tutorial_has_it():
    """And at the top, loaded when first used."""
    from turnkeep.tutorial import callbacks, llm, memory, models

    for module, names in (
        (
            models,
            (
                "Session BaseSessionManager InMemorySessionManager ExecutionContext Event Message "
                "ToolCall ToolResult BaseTool FunctionTool tool ToolConfirmation PendingToolCall "
                "AgentResult format_trace display_trace"
            ),
        ),
        (
            memory,
            (
                "count_tokens apply_sliding_window apply_compaction apply_summarization "
                "ContextOptimizer TOOLRESULT_COMPACTION_RULES TOOLCALL_COMPACTION_RULES"
            ),
        ),
        (callbacks, "create_optimizer_callback"),
        (llm, "LlmClient LlmRequest LlmResponse build_messages"),
    ):
        for name in names.split():
            assert getattr(module, name) is getattr(turnkeep, name)
    assert callable(turnkeep.Agent)


async def test_a_trace_tells_what_happened(capsys):
    """Who said, called and got what; cut where it is long."""
    from turnkeep.testing.models import ScriptedModel

    calls = ToolCall(tool_call_id="c", name="calculator", arguments={"expression": "2*3"})
    result = await turnkeep.Agent(ScriptedModel(calls, "6" * 900), [calculator]).run("2*3?")
    turnkeep.display_trace(result.context)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "   user: 2*3?"
    assert lines[3] == '   calls calculator({"expression":"2*3"}) as c'
    assert lines[5] == "   calculator gave success: 6"
    assert lines[7].endswith("666…")
