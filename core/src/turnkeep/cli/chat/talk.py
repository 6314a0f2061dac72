"""The conversation: read a line, run the agent or a command, show what happens."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from turnkeep.agent import Agent, PendingToolCall, ToolConfirmation
from turnkeep.agent.events import Finished, ModelCalled, ToolStarted
from turnkeep.agent.tools import BaseTool
from turnkeep.cli.chat.commands import Commands
from turnkeep.cli.chat.screen import Screen
from turnkeep.cli.table import printable
from turnkeep.config import load_config
from turnkeep.errors import (
    ConfigError,
    ModelError,
    PendingApproval,
    SessionBusy,
    TurnkeepError,
)
from turnkeep.hookspecs import Env
from turnkeep.keeper import Keeper


def talk(args: argparse.Namespace) -> int:
    """Open what is configured and talk until the user leaves."""
    tools = [tool for name in args.tools for tool in tools_of(name)]
    with asyncio.Runner() as runner:
        resources = AsyncExitStack()
        try:
            config, model = load_config(args.config), None
            if args.model is not None:
                env = Env(data_dir=config.folder, logger=logging.getLogger("turnkeep"))
                opening = config.open_model(args.model, env)
                model = runner.run(resources.enter_async_context(opening))
            keeper = Keeper.from_config(config, model=model)
            runner.run(resources.enter_async_context(keeper))
            if keeper.model is None:
                raise ConfigError(
                    "there is no model to talk to: name one by --model, as openai/gpt-4o-mini, or "
                    'in turnkeep.toml: [model] client = "litellm", id = "openai/gpt-4o-mini". '
                    "Without a key: pip install turnkeep-model-local, and --model local:smollm2"
                )
            agent = Agent(
                keeper=keeper,
                tools=tools,
                instructions=args.instructions,
                max_steps=args.max_steps,
            )
            talking = Talk(runner, keeper, agent, Screen(), args.session)
            talking.begin()
            while talking.step():
                pass
        finally:
            runner.run(resources.aclose())
    return 0


class Talk:
    """One user at a terminal, and one session at a time."""

    def __init__(
        self, runner: asyncio.Runner, keeper: Keeper, agent: Agent, screen: Screen, session: str
    ) -> None:
        self._runner = runner
        self._agent = agent
        self._screen = screen
        self.commands = Commands(keeper, agent, screen, session)

    def begin(self) -> None:
        """Say where we are, and take up what waits for a decision."""
        waiting = self._runner.run(self.commands.greet())
        if waiting:
            self._decide(waiting)

    def step(self) -> bool:
        """Take one line from the user; give whether to go on."""
        try:
            line = self._screen.ask("you> ")
        except (EOFError, KeyboardInterrupt):
            self._screen.line("")
            self._screen.note(self.commands.farewell())
            return False
        if not line.strip():
            return True
        if line.split()[0] == "/go":
            self._again()
            return True
        if line.startswith("/"):
            return self._command(line)
        self._say(line)
        return True

    def _again(self) -> None:
        """Ask for what waits, else go on where the session stands."""
        try:
            waiting = self._runner.run(self.commands.waiting())
        except TurnkeepError as error:
            self._screen.problem(str(error))
            return
        if waiting:
            self._decide(waiting)
        else:
            self._say(None)

    def _command(self, line: str) -> bool:
        try:
            return self._runner.run(self.commands.run(line))
        except KeyboardInterrupt:
            self._screen.line("")
        except TurnkeepError as error:
            self._screen.problem(str(error))
        return True

    def _say(self, text: str | None, decisions: Sequence[ToolConfirmation] = ()) -> None:
        try:
            pending = self._runner.run(self._stream(text, decisions))
        except KeyboardInterrupt:
            self._screen.stopped()
            return
        except PendingApproval as error:
            self._screen.problem(f"{', '.join(error.calls)} waits for you first: /go asks")
            return
        except SessionBusy:
            self._screen.problem(
                f"session {self.commands.session!r} is in use elsewhere, or was cut off a moment "
                "ago: try again later, or /open another"
            )
            return
        except (TurnkeepError, ValueError) as error:
            self._screen.problem(str(error))
            if isinstance(error, ModelError):
                self._screen.note("what you said is kept: /go asks again")
            return
        if pending:
            self._decide(pending)

    async def _stream(
        self, text: str | None, decisions: Sequence[ToolConfirmation]
    ) -> Sequence[PendingToolCall]:
        asked = False
        events = self._agent.stream(text, None, self.commands.session, decisions)
        async with aclosing(events):
            async for event in events:
                self._screen.show(event)
                asked = asked or isinstance(event, ModelCalled | ToolStarted)
                if isinstance(event, Finished):
                    if not asked and event.result.status == "complete":
                        self._screen.note("there is nothing to go on with: the answer stands")
                    self.commands.spent(event.result)
                    return event.result.pending_tool_calls
        return ()

    def _decide(self, calls: Sequence[PendingToolCall]) -> None:
        """Ask for each call; a question left open is asked again another time."""
        decisions: list[ToolConfirmation] = []
        with suppress(EOFError, KeyboardInterrupt):
            decisions += [self._decision(each) for each in calls]
        if len(decisions) < len(calls):
            self._screen.line("")
            self._screen.note("undecided; /go asks again")
            return
        self._say(None, decisions)

    def _decision(self, pending: PendingToolCall) -> ToolConfirmation:
        call = pending.tool_call
        self._screen.question(pending)
        while True:
            said = self._screen.ask("  [y]es, [n]o, [e]dit the arguments, or say why not: ").strip()
            if said.lower() in {"y", "yes"}:
                return ToolConfirmation(tool_call_id=call.tool_call_id, approved=True)
            if said.lower() in {"e", "edit"}:
                changed = self._changed(call.arguments)
                if changed is not None:
                    return ToolConfirmation(
                        tool_call_id=call.tool_call_id, approved=True, modified_arguments=changed
                    )
            elif said:
                reason = None if said.lower() in {"n", "no"} else said
                return ToolConfirmation(
                    tool_call_id=call.tool_call_id, approved=False, reason=reason
                )

    def _changed(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        shown = printable(json.dumps(arguments, ensure_ascii=False))
        said = self._screen.ask(f"  arguments as JSON, instead of {shown}\n  > ")
        try:
            value = json.loads(said)
        except ValueError as error:
            self._screen.problem(f"that is not JSON: {error}")
            return None
        if not isinstance(value, dict):
            self._screen.problem("arguments are an object, as {}")
            return None
        return value


def tools_of(name: str) -> list[BaseTool]:
    """Give the tools in a module, or in a file. Raises ConfigError where there are none."""
    module = _module(name)
    tools = {id(each): each for each in vars(module).values() if isinstance(each, BaseTool)}
    found = list(tools.values())
    if not found:
        raise ConfigError(f"--tools {name}: there is no tool in it; mark functions with @tool")
    return found


def _module(name: str) -> ModuleType:
    path = Path(name)
    try:
        if path.suffix != ".py":
            if "" not in sys.path:
                sys.path.insert(0, "")  # a module beside us, as for `python -m`
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"--tools {name}: {type(error).__name__}: {error}") from error
    return module
