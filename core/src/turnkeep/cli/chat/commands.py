"""The commands of a chat: what the context holds, what it cost, other sessions, going back."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Sequence

from turnkeep.agent import Agent, AgentResult, PendingToolCall
from turnkeep.breakdown import break_down
from turnkeep.cli.chat.screen import Screen, money
from turnkeep.cli.table import local_time, printable, table
from turnkeep.content import Message, Usage, sum_usage
from turnkeep.events import Checkpoint, Event, Retract, new_id
from turnkeep.keeper import Keeper
from turnkeep.tokens.learned import Learned
from turnkeep.turn import Turn

SHOWN = 20
"""Sessions that are listed."""


class Commands:
    """What begins with a slash."""

    def __init__(self, keeper: Keeper, agent: Agent, screen: Screen, session: str) -> None:
        self.session = session
        self._keeper = keeper
        self._agent = agent
        self._screen = screen
        self._cost: float | None = 0.0
        self._every: dict[str, tuple[Callable[[str], Awaitable[bool | None]], str]] = {
            "/context": (self._context, "what the next request is made of, in tokens"),
            "/tokens": (self._tokens, "what this session has used, as the provider reported it"),
            "/sessions": (self._sessions, "the newest sessions"),
            "/open": (self._open, "ID: go on in another session, begun if it is not there"),
            "/rewind": (self._rewind, "[N]: take back what you said last (or the last N times)"),
            "/fork": (self._fork, "[ID]: go on in a copy; this session stays as it is"),
            "/help": (self._help, "this list"),
            "/quit": (self._quit, "leave; everything is kept (Ctrl-D does, too)"),
        }

    async def run(self, line: str) -> bool:
        """Run a command; give whether the chat goes on."""
        name, _, rest = line.partition(" ")
        if name not in self._every:
            near = difflib.get_close_matches(name, self._every, 1)
            hint = f"did you mean {near[0]}?" if near else "/help lists what there is"
            self._screen.problem(f"there is no command {name}; {hint}")
            return True
        return await self._every[name][0](rest.strip()) is not False

    def spent(self, result: AgentResult) -> None:
        """Take in what a run cost."""
        known = self._cost is not None and result.cost is not None
        self._cost = (self._cost or 0) + (result.cost or 0) if known else None

    async def greet(self) -> Sequence[PendingToolCall]:
        """Say which session this is; give the calls in it that wait for the user."""
        async with self._keeper.turn(self.session) as turn:
            events = turn.events
            said = inputs(events)
            if not events:
                self._screen.note(f"session {self.session!r} begins here; /help lists commands")
            else:
                when = local_time(events[-1].timestamp)
                self._screen.note(
                    f"session {self.session!r}: {len(said)} inputs, the last event at {when}; "
                    "/help lists commands"
                )
                self._last(turn)
        return await self.waiting()

    async def waiting(self) -> Sequence[PendingToolCall]:
        """Give the calls that wait for the user."""
        async with self._keeper.turn(self.session) as turn:
            pending = turn.pending
        tools = self._agent.tools
        return [
            PendingToolCall(
                tool_call=call,
                confirmation_message=tools[call.name].question(call.arguments)
                if call.name in tools
                else f"Run {call.name}?",
            )
            for call in pending
        ]

    def _last(self, turn: Turn) -> None:
        """Show how the conversation stood: the last input and the answer to it."""
        shown: list[str] = []
        for item in reversed(turn.context.items):
            if isinstance(item, Message) and item.role in {"user", "assistant"}:
                text = item.content if isinstance(item.content, str) else "(parts)"
                shown.append(f"{'you> ' if item.role == 'user' else ''}{text}")
                if item.role == "user":
                    break
        for line in reversed(shown):
            self._screen.note(line)

    async def _context(self, _rest: str) -> None:
        async with self._keeper.turn(self.session) as turn:
            client = await self._agent.open_model()
            weighed = break_down(
                turn.context.entries,
                instructions=self._agent.instructions,
                tools=[tool.definition for tool in self._agent.tools.values()],
                model=client.model_id,
                profile=client.profile,
                counter=self._keeper.counter,
                learned=Learned(),
                largest=3,
            )
            checkpoints = [event for event in turn.events if isinstance(event, Checkpoint)]
        rows = [
            (name, f"{part['items']:,}", f"{part['tokens']:,}")
            for name, part in weighed["parts"].items()
            if part["tokens"] or part["items"]
        ]
        self._screen.line(table(("PART", "ITEMS", "TOKENS"), rows))
        limit = self._keeper.limit
        room = f" of {limit:,}" if limit else "; no limit is known, so it only grows"
        self._screen.line(f"the next request has about {weighed['expected']:,} tokens{room}")
        for event in checkpoints[-1:]:
            said = event.report
            self._screen.line(
                f"rewritten at event {event.seq} ({said.get('reason')}): "
                f"{said.get('tokens_before')} tokens became {said.get('tokens_after')}"
            )

    async def _tokens(self, _rest: str) -> None:
        total, calls, last = Usage(), 0, None
        async for event in self._keeper.sessions.events(self.session):
            if event.usage is not None:
                calls, last = calls + 1, event.usage
                total = sum_usage([total, last]) or total
        if last is None:
            self._screen.line("no model call of this session has reported its tokens yet")
            return
        rows = [
            (name, *(f"{getattr(each, key):,}" for each in (last, total)))
            for name, key in (
                ("read", "input_tokens"),
                ("  of them cached", "cached_tokens"),
                ("  of them written to a cache", "cache_write_tokens"),
                ("answered", "output_tokens"),
                ("  of them reasoning", "reasoning_tokens"),
            )
        ]
        self._screen.line(table(("TOKENS", "LAST CALL", f"ALL {calls} CALLS"), rows))
        if self._cost:
            self._screen.line(f"since you came: {money(self._cost)}")

    async def _sessions(self, _rest: str) -> None:
        infos, more = await self._keeper.sessions.list(limit=SHOWN)
        rows = [
            (
                "*" if info.session_id == self.session else "",
                printable(info.session_id),
                info.events,
                local_time(info.updated_at),
            )
            for info in infos
        ]
        self._screen.line(table(("", "SESSION", "EVENTS", "UPDATED"), rows))
        if more:
            self._screen.line(f"the newest {SHOWN}; `turnkeep sessions list` has them all")

    async def _open(self, rest: str) -> None:
        if not rest:
            self._screen.problem("which one? /open ID; /sessions lists them")
            return
        before, self.session = self.session, rest
        try:
            waiting = await self.greet()
        except BaseException:
            self.session = before  # as for an id that cannot be one
            raise
        if waiting:
            self._screen.note("a call waits for you; /go asks")

    async def _rewind(self, rest: str) -> None:
        times = int(rest) if rest.isascii() and rest.isdigit() else 1 if not rest else 0
        if not times:
            self._screen.problem("how many inputs? /rewind 2")
            return
        session = await self._keeper.sessions.get(self.session)
        said = [] if session is None else inputs(session.events)
        if not said:
            self._screen.problem("there is nothing to take back")
            return
        back = said[-times:][0]
        assert back.seq is not None
        await self._keeper.sessions.rewind(self.session, back.seq - 1)
        texts = [item.content for item in back.content if isinstance(item, Message)]
        text = "; ".join(each for each in texts if isinstance(each, str))
        assert session is not None
        self._screen.note(f"taken back from here on: {text}")
        show = f"turnkeep sessions show {self.session} --at {session.events[-1].seq}"
        self._screen.note(f"nothing is deleted: `{show}`")

    async def _fork(self, rest: str) -> None:
        name = rest or f"{self.session}-{new_id()[-6:]}"
        await self._keeper.sessions.fork(self.session, name)
        self._screen.note(f"this is {name!r} now; {self.session!r} stays as it is")
        self.session = name

    async def _help(self, _rest: str) -> None:
        rows = [(name, about) for name, (_, about) in self._every.items()]
        rows.insert(0, ("/go", "ask again, or go on with what was cut off or waits"))
        self._screen.line("\n".join(f"{name:<10} {about}" for name, about in rows))

    async def _quit(self, _rest: str) -> bool:
        self._screen.note(self.farewell())
        return False

    def farewell(self) -> str:
        """Say what becomes of the session."""
        if self._keeper.sessions.store.durability == "none":
            return f"session {self.session!r} was kept in memory, and ends here"
        return f"kept in session {self.session!r}; go on whenever you like"


def inputs(events: Sequence[Event]) -> list[Event]:
    """Give the user's inputs that stand: those that nothing took back."""
    standing: list[Event] = []
    for event in events:
        if isinstance(event, Retract):
            if event.after is not None:
                standing = [each for each in standing if (each.seq or 0) <= (event.after or 0)]
        elif event.type == "event" and event.author == "user" and event.content:
            standing.append(event)
    return standing
