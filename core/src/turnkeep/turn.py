"""Turn: the heart. It keeps what happens as it happens, and hands back what a model call needs.

Everything is stored durably when the call that adds it returns. How turns of one session keep out
of each other's way is told in `turnkeep.lease`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import JsonValue

from turnkeep.approvals import calls_of, closing, decision_on, open_call
from turnkeep.codec import decode_object, encode_object
from turnkeep.content import (
    Item,
    Request,
    ToolCall,
    ToolDefinition,
)
from turnkeep.context import Context, Entry, placed
from turnkeep.errors import ContentError, PendingApproval, StoreUnavailable
from turnkeep.events import Event, new_id, runs_of, utc_now
from turnkeep.formats.response import read_response
from turnkeep.lease import Intent, Lease, TurnRules
from turnkeep.prepared import PreparedRequest
from turnkeep.results import rejection_of, result_of
from turnkeep.sizing import Undo
from turnkeep.step import Step, gated, is_call_of
from turnkeep.store import Head, SessionStore, Ttl, check_id
from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.learned import Learned
from turnkeep.weighing import Weighing

if TYPE_CHECKING:
    from turnkeep.fitting import Fitting
    from turnkeep.optimize.ask import Rewrite

_logger = logging.getLogger("turnkeep")


class Turn:
    """From a user's input to the final answer, or to a pause; made by `Keeper.turn`."""

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        *,
        rules: TurnRules,
        counter: TokenCounter,
        ttl: Ttl = None,
        user_id: str | None = None,
        execution_id: str | None = None,
        learned: Learned | None = None,
        fitting: Fitting | None = None,
    ) -> None:
        self.session_id = check_id(session_id)
        self._fitting = fitting
        self.execution_id = execution_id or new_id()
        self._lease = Lease(
            store,
            session_id,
            rules=rules,
            ttl=ttl,
            user_id=user_id,
            notes=self._notes,
            arrival=None if fitting is None else fitting.arrival,
        )
        self.on_pending = rules.on_pending
        """What a new input does while calls wait for approval."""
        self._counter = counter
        arrival = "" if fitting is None else fitting.arrival.key
        self._weighing = Weighing(counter, learned, arrival=arrival)
        self._prepared: tuple[PreparedRequest, int] | None = None
        """The last request, and the seq of the last event that it holds."""
        self._last: PreparedRequest | None = None
        self._reshaped = False
        """Whether what was prepared last is not the context: what is reported of it is not its."""
        self._requesting = asyncio.Lock()

    @property
    def context(self) -> Context:
        """The live context: what the next request is made of."""
        return self._lease.context

    @property
    def events(self) -> Sequence[Event]:
        """The live events: all of the session's until the first checkpoint, then from it on."""
        return self._lease.events

    @property
    def state(self) -> dict[str, Any]:
        """The session's state as stored; `set_state` replaces it."""
        return self._lease.state

    @property
    def head(self) -> Head | None:
        """The session's head as this turn last saw it; None: it does not exist yet."""
        return self._lease.head

    @property
    def open_calls(self) -> list[ToolCall]:
        """Calls that still want a result.

        Those of an earlier turn were interrupted, approved ones too: whether their tool has run is
        unknown, so only one that does no harm when it runs twice may run again.
        """
        return calls_of(self.context.open_calls())

    @property
    def pending(self) -> list[ToolCall]:
        """Open calls that wait for a decision."""
        return calls_of(self.context.pending())

    async def __aenter__(self) -> Self:
        await self._lease.load()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._lease.close(failing=error is not None)

    async def open(self) -> None:
        """Open the turn before anything is spent, where the first thing is not kept at once.

        Raises SessionBusy, or waits, as the rules say. The context may be read anew.
        """
        await self._lease.write(Intent(("open",), tuple, restarts=True))

    async def add(self, *items: Item, author: str | None = None) -> Sequence[Event]:
        """Keep items; consecutive ones of one author become one event.

        The author is told by the item ("user", "assistant", "tool", "system") unless given. A new
        input of the user first closes the calls that an earlier turn left open, with an error
        result. Raises SessionBusy and PendingApproval before anything is spent, SessionConflict if
        this turn was taken over, ContentError for what is not JSON.
        """
        runs = runs_of(items, author)
        if not runs:
            return []

        def build() -> list[Event]:
            now = utc_now()
            made = [self._event(name, run, timestamp=now) for name, run in runs]
            closed = closing(
                self.context,
                items,
                session_id=self.session_id,
                execution_id=self.execution_id,
                on_pending=self.on_pending,
                loaded_seq=self._lease.loaded_seq,
            )
            return [*closed, *made]

        events = await self._lease.write(Intent(("add", runs), build, restarts=True))
        return events[-len(runs) :]

    async def add_response(
        self,
        response: object,
        *,
        needs_approval: Callable[[ToolCall], bool] | Collection[str] = (),
        partial: bool = False,
    ) -> Step:
        """Keep a model's answer: a body of any known provider, a stream's pieces, items, or a text.

        `needs_approval` names the tools (or tells the calls) that may not run before a decision.
        `partial` marks an answer that was cut off, as a stream without its end is: it is kept, and
        left out of requests. The final answer closes the turn. Raises ContentError for a shape
        that is not known.
        """
        parsed = read_response(response)
        partial = partial or parsed.partial
        own = None if self._fitting is None else self._fitting.recall
        items = [
            item if own and is_call_of(item, own) else gated(item, needs_approval)
            for item in parsed.items
        ]
        calls = [item for item in items if isinstance(item, ToolCall) and not partial]
        prepared, upto = self._prepared or (None, None)
        reshaped = self._reshaped
        undo: Undo | None = None

        def build() -> list[Event]:
            nonlocal undo
            if parsed.usage is not None and not reshaped:
                self._follow()
                seq = self._lease.next_seq
                answer = () if partial else items
                last = seq - 1 if upto is None else upto
                # Before it is stored, so that the notes which go with it hold it already.
                undo = self._weighing.reported(parsed.usage, answer, seq, prepared, last)
            return [self._event("assistant", items, usage=parsed.usage, partial=partial)]

        what = ("add_response", items, partial)
        intent = Intent(what, build, closing=not calls and not partial)
        try:
            [event] = await self._lease.write(intent)
        except BaseException:
            if undo is not None:
                undo()
            raise
        self._prepared = None
        if undo is not None:
            self._weighing.teach(prepared)
        answered = [call for call in calls if own and is_call_of(call, own)]
        if answered:
            try:
                await self._recall()
            except StoreUnavailable as error:  # the answer is stored; the next request asks again
                _logger.warning("session %r: %s", self.session_id, error)
        return Step(
            event,
            [call for call in calls if not call.needs_approval and call not in answered],
            [call for call in calls if call.needs_approval],
            answered,
        )

    async def add_result(
        self,
        call: ToolCall,
        value: object = None,
        *,
        status: Literal["success", "error"] = "success",
    ) -> Event:
        """Keep what a tool gave back: a text, any JSON, a list of parts, or the error it raised.

        Raises PendingApproval if the call waits for a decision, ContentError if it is not open or
        the value is not JSON.
        """
        result = result_of(call, value, status)

        def build() -> list[Event]:
            if open_call(self.context, call, session_id=self.session_id) in self.context.pending():
                raise PendingApproval(self.session_id, (call.name,))
            return [self._event("tool", [result])]

        [event] = await self._lease.write(Intent(("add_result", call, result), build))
        return event

    async def decide(
        self,
        call: ToolCall,
        *,
        approved: bool,
        arguments: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> ToolCall | None:
        """Keep a person's decision; give the call to run, with changed arguments, or None.

        A rejected call gets its error result at once. Each call is decided once, by whoever comes
        first: ContentError for the others.
        """

        def build() -> list[Event]:
            entry = open_call(self.context, call, session_id=self.session_id)
            if entry not in self.context.pending():
                raise ContentError(
                    f"session {self.session_id!r}: call {call.tool_call_id!r} ({call.name}) waits "
                    "for no decision (any more)"
                )
            decision = decision_on(
                entry,
                execution_id=self.execution_id,
                approved=approved,
                arguments=arguments,
                reason=reason,
            )
            rejected = [] if approved else [self._event("tool", [rejection_of(call, reason)])]
            return [decision, *rejected]

        what = ("decide", call, approved, arguments, reason)
        await self._lease.write(Intent(what, build))
        if not approved:
            return None
        return call if arguments is None else call.model_copy(update={"arguments": arguments})

    async def set_state(self, state: dict[str, Any]) -> Event:
        """Replace the session's state. Raises ContentError for what is not JSON."""
        what = f"state of session {self.session_id!r}"
        encoded = encode_object(state, what)
        kept = decode_object(encoded, session_id=self.session_id, what=what)
        [event] = await self._lease.write(
            Intent(
                ("set_state", encoded),
                lambda: [self._event("system", []).carrying(kept)],
                restarts=True,
                state=encoded,
            )
        )
        return event

    async def request(
        self,
        *,
        instructions: str = "",
        tools: Iterable[ToolDefinition | Mapping[str, Any]] = (),
        tool_choice: Any = None,
        model_id: str | None = None,
        profile: str | None = None,
    ) -> PreparedRequest:
        """Prepare the next model call from the live context.

        Where a limit is configured, the context is rewritten first if it is time to; that is stored
        before the request is given. `profile` says in which provider's form it must fit (default:
        as the configuration or the model's name says, or as was asked for last). Raises
        PendingApproval while calls wait for a decision, ContextOverflow where the request cannot be
        made to fit.
        """
        fitting = self._fitting
        if fitting is not None:
            tools = fitting.with_recall(tools)

        def prepare() -> PreparedRequest:
            self._follow()
            return PreparedRequest.of_items(
                self.context.items,
                instructions=instructions,
                tools=tools,
                tool_choice=tool_choice,
                model_id=model_id,
                session_id=self.session_id,
                counter=self._counter,
                tally_for=self._weighing.tally_for(),
                size_of=self._weighing.size_of(model_id or ""),
                stable=self.context.stable,
            )

        async with self._requesting:  # one at a time: each may write
            await self._lease.settle()
            if pending := self.pending:
                raise PendingApproval(self.session_id, tuple(call.name for call in pending))
            if fitting is not None and fitting.recall:
                await self._recall()
            self._lease.exposed = True
            prepared = prepare()
            if fitting is not None:
                chosen = profile or fitting.profile(model_id, self._last)
                if (report := await self._fit(prepared, chosen)) is not None:
                    prepared = prepare()
                    prepared.rewritten = report
            self._last = prepared
            self._prepared = prepared, self._lease.next_seq - 1
            self._reshaped = False
        return prepared

    async def reshape(self, request: Request, *, profile: str) -> PreparedRequest:
        """Prepare another request than the context gives, as a program wants it this once.

        It is repaired and made to fit like any other, and not stored: the log stays as it is, and
        so does what `request` gives next. Raises ContextOverflow where it cannot be made to fit.
        """

        def prepare(items: Sequence[Item]) -> PreparedRequest:
            return PreparedRequest(
                request.model_copy(update={"contents": []}),
                items,
                session_id=self.session_id,
                counter=self._counter,
            )

        prepared = prepare(request.contents)
        if self._fitting is not None:
            fitted = await self._fitting.fit(prepared, self.context, profile=profile)
            prepared = prepare(fitted)
        self._reshaped = True
        return prepared

    async def _fit(self, prepared: PreparedRequest, profile: str) -> dict[str, JsonValue] | None:
        """Rewrite the context if it is time to, and give the report."""
        assert self._fitting is not None
        items, seen = self.context.items, len(self.context.items)
        rewrite = await self._fitting.look(
            prepared,
            self.context,
            profile=profile,
            idle=self._lease.idle(),
            factor=self._weighing.factor(prepared.request.model_id or ""),
            notes=self._lease.notes,
        )
        if rewrite is None:
            return None
        assert self.context.items is items, "what was handed out is not read anew"
        await self._rebase(rewrite, seen)
        self._follow()
        self._weighing.adopt(rewrite.tally)
        return rewrite.report

    async def _rebase(self, rewrite: Rewrite, seen: int) -> None:
        """Store a rewritten context as a checkpoint, and go on from it.

        It was made of the first `seen` items; what was added meanwhile stands behind them.
        """
        fitting = self._fitting
        assert fitting is not None
        kept = await fitting.placed(rewrite.entries)
        whole: list[Entry] = []

        def build() -> list[Event]:
            added = self.context.entries[seen:]
            whole[:] = [*rewrite.entries, *added]
            return [
                fitting.checkpoint(
                    self.context, rewrite, [*kept, *map(placed, added)], self.execution_id
                )
            ]

        await self._lease.write(Intent(("checkpoint", rewrite.report), build, rebases=True))
        for place, entry in enumerate(whole):
            if self.context.items[place] is not entry.item:  # large media stay as they are here
                self.context.put(place, entry.item)

    async def _recall(self) -> None:
        """Answer the open calls that ask to read something back, from the session's log."""
        fitting = self._fitting
        assert fitting is not None
        calls = [call for call in self.open_calls if is_call_of(call, fitting.recall)]
        for call, found in await fitting.answers(calls) if calls else ():
            await self.add_result(call, found.text, status="error" if found.failed else "success")

    def _follow(self) -> None:
        self._weighing.follow(self.context, self._lease.notes)

    def _notes(self) -> dict[str, Any]:
        """Give what the next turn begins with: the old notes if nothing was weighed in this one."""
        notes = self._weighing.notes() or dict(self._lease.notes)
        if self._fitting is None:
            return notes
        notes = {name: each for name, each in notes.items() if name not in ("waits", "owed")}
        return notes | self._fitting.notes(self._lease.notes, self.context.base)

    def _event(self, author: str, content: list[Item], **fields: Any) -> Event:
        return Event.of_items(content, author=author, execution_id=self.execution_id, **fields)
