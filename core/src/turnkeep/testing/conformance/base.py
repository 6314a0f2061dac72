"""What every test of the suite works with: the fixtures, the case, the mark of what it covers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast

import pytest

from turnkeep.errors import SessionNotFound
from turnkeep.store import (
    Capability,
    ErasingStore,
    ForkingStore,
    Head,
    Loaded,
    Record,
    Revision,
    SessionStore,
    new_commit_id,
)
from turnkeep.testing.conformance.processes import SecondProcess
from turnkeep.testing.second_process import Opener

P = ParamSpec("P")
T = TypeVar("T")

Report: TypeAlias = Callable[[str, object], None]
Hook: TypeAlias = Callable[..., Any] | None

SECONDS: Final = 60.0
LONG_SECONDS: Final = 600.0
"""How long a test, and a long one, may take; a store that never answers fails, it does not hang."""

TTL: Final = 0.25
"""Seconds; the clock belongs to the store, so tests of expiry wait for it."""

NOBODY: Final = Revision(b"\0" * 8, 0)
"""A revision that no session has."""


class Coverage(NamedTuple):
    """What `covers` leaves on a test."""

    behaviours: tuple[str, ...]
    long: bool


def covers(
    *behaviours: str, opened: bool = True, long: bool = False
) -> Callable[
    [Callable[Concatenate[Any, Case, P], Coroutine[Any, Any, None]]],
    Callable[Concatenate[Any, Case, P], None],
]:
    """Name the behaviours that a coroutine test shows, and run it on a loop of its own.

    With `opened` the case has an open store. A `long` test gets the mark `prove` from
    `turnkeep.testing.plugin`; a mark from here would fail under --strict-markers without it.
    """

    def decorate(
        test: Callable[Concatenate[Any, Case, P], Coroutine[Any, Any, None]],
    ) -> Callable[Concatenate[Any, Case, P], None]:
        @functools.wraps(test)
        def run(self: Any, case: Case, *args: P.args, **kwargs: P.kwargs) -> None:
            case.report("turnkeep.covers", " ".join(behaviours))

            async def inside() -> None:
                async with asyncio.timeout(LONG_SECONDS if long else SECONDS):
                    async with case.running(opened=opened):
                        await test(self, case, *args, **kwargs)

            asyncio.run(inside())

        run.__turnkeep__ = Coverage(behaviours, long)  # type: ignore[attr-defined]  # our own mark
        return cast("Callable[Concatenate[Any, Case, P], None]", run)

    return decorate


class Case:
    """One test's surroundings: an open `store`, further ones, fresh ids, second processes."""

    store: SessionStore

    def __init__(self, opener: Opener, module: str, report: Report) -> None:
        self.open = opener
        self.report = report
        self._module = module
        self._ids: list[str] = []
        self._processes: list[SecondProcess] = []

    # The test's life

    @asynccontextmanager
    async def running(self, *, opened: bool) -> AsyncIterator[None]:
        """Open the store if wanted, and afterwards remove what the test made."""
        try:
            if not opened:
                yield
                return
            async with self.open() as self.store:
                powers = ", ".join(sorted(self.store.capabilities)) or "none"
                self.report(
                    "turnkeep.store",
                    f"{self.store.name}; durability {self.store.durability}; "
                    f"capabilities: {powers}",
                )
                yield
        finally:
            for process in self._processes:
                process.end()
            await self._clean_up()

    async def _clean_up(self) -> None:
        # As well as it can be done: the test has had its say, and its store may be unusable.
        with contextlib.suppress(Exception):
            async with self.open() as store:
                for session_id in self._ids:
                    with contextlib.suppress(Exception):
                        await store.delete(session_id)
                await store.purge()

    # Sessions

    def new_id(self, prefix: str = "s") -> str:
        """Make an id that nobody has used; the session is deleted after the test."""
        session_id = f"turnkeep-{prefix}-{os.urandom(8).hex()}"
        self._ids.append(session_id)
        return session_id

    def use_id(self, session_id: str) -> str:
        """Have a session of the test's own naming deleted after it."""
        self._ids.append(session_id)
        return session_id

    async def begin(
        self,
        *data: bytes,
        session_id: str | None = None,
        store: SessionStore | None = None,
        **fields: Any,
    ) -> Head:
        """Create a session, and append `data` to it in one append if there is any."""
        store = store or self.store
        session_id = session_id or self.new_id()
        fields.setdefault("commit_id", new_commit_id())
        head = await store.create(session_id, **fields)
        return await self.append(head, *data, store=store) if data else head

    async def append(
        self, head: Head, *data: bytes, store: SessionStore | None = None, **fields: Any
    ) -> Head:
        """Append `data` behind a head, with a commit id of its own unless one is given."""
        fields.setdefault("commit_id", new_commit_id())
        records = [Record(each) for each in data]
        return await (store or self.store).append(
            head.session_id, records, expected=head.revision, **fields
        )

    async def whole(self, session_id: str, store: SessionStore | None = None) -> Loaded:
        """Load a session from its first record; fails if it is not there."""
        found = await (store or self.store).load(session_id, after=0)
        assert isinstance(found, Loaded), f"load gave {found!r} for {session_id!r}"
        return found

    async def live(self, session_id: str, **fields: Any) -> Loaded:
        """Load a session as `fields` ask; fails if it is not there."""
        found = await self.store.load(session_id, **fields)
        assert isinstance(found, Loaded), f"load gave {found!r} for {session_id!r}"
        return found

    async def expired(self, head: Head, lasting: Head | None = None) -> None:
        """Wait until the store's clock has passed a head's expiry; a `lasting` session tells it."""
        assert head.expires is not None, "a session with a ttl has a time of expiry"
        lasting = lasting or await self.begin()
        while True:
            now = (await self.live(lasting.session_id)).now
            if now >= head.expires:
                return
            await asyncio.sleep(min((head.expires - now).total_seconds() + 0.002, 1))

    async def append_in_time(self, head: Head, **fields: Any) -> Head:
        """Append before a short ttl ends; skip only if the store's clock says it has ended."""
        lasting = await self.begin()
        try:
            return await self.append(head, **fields)
        except SessionNotFound:
            now = (await self.live(lasting.session_id)).now
            assert head.expires is None or now >= head.expires, "it is gone too early"
            pytest.skip("this machine is too slow for a short ttl")

    # Powers and hooks

    def needs(self, capability: Capability) -> None:
        """Skip the test, with a reason, if the store does not declare the capability."""
        if capability not in self.store.capabilities:
            pytest.skip(f"the {self.store.name} store does not declare the capability {capability}")

    def forking(self) -> ForkingStore:
        """Give the store as one that forks, or skip."""
        self.needs(Capability.FORK)
        return cast("ForkingStore", self.store)

    def erasing(self) -> ErasingStore:
        """Give the store as one that erases, or skip."""
        self.needs(Capability.ERASE)
        return cast("ErasingStore", self.store)

    def needs_processes(self) -> None:
        """Skip the test, with a reason, if the store lives in one process."""
        if self.store.durability == "none":
            pytest.skip(
                f"the {self.store.name} store lives in one process (durability 'none'); "
                "this needs a second one"
            )

    async def start(self, command: str, **arguments: Any) -> SecondProcess:
        """Start a second process that runs a command of `turnkeep.testing.second_process`."""
        process = SecondProcess(self.open, self._module, command, arguments)
        self._processes.append(process)
        self.report("turnkeep.pid", process.pid)
        await process.begun()
        return process


def given(hook: Callable[..., T] | None, name: str, what: str) -> Callable[..., T]:
    """Give an author's hook, or skip with what to override."""
    if hook is None:
        pytest.skip(f"only the author can {what}: override the fixture `{name}`")
    return hook


async def call(hook: Callable[..., Awaitable[T] | T], *args: Any) -> T:
    """Call an author's hook, be it a function or a coroutine function."""
    result = hook(*args)
    return await result if inspect.isawaitable(result) else result


def invalid() -> AbstractContextManager[object]:
    """Expect a ValueError, in whatever words: the contract names the type only."""
    return pytest.raises(ValueError)  # noqa: PT011  # as it says


class Base:
    """The fixtures. An author overrides `opener`, and as many of the others as the store allows."""

    @pytest.fixture
    def opener(self) -> Opener:
        """Give a callable without arguments that opens the store; see docs/conformance.md."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a fixture `opener`: it gives a picklable callable "
            "without arguments that returns an async context manager of a store"
        )

    @pytest.fixture
    def skewed_opener(self) -> Opener | None:
        """Give an opener of the same place by a store whose clock is an hour behind, or None."""
        return None

    @pytest.fixture
    def damage(self) -> Hook:
        """Give a function (session_id, seq) that makes a stored record unreadable, or None."""
        return None

    @pytest.fixture
    def count_stored(self) -> Hook:
        """Give a function () that counts all rows, keys or files in the place, or None."""
        return None

    @pytest.fixture
    def read_raw(self) -> Hook:
        """Give a function () that reads all bytes that the place holds, or None."""
        return None

    @pytest.fixture
    def make_newer(self) -> Hook:
        """Give a function () that makes the closed place look newer than the store, or None."""
        return None

    @pytest.fixture
    def make_older(self) -> Hook:
        """Give a function () that brings the closed place to an older schema, or None."""
        return None

    @pytest.fixture
    def case(self, opener: Opener, request: pytest.FixtureRequest) -> Case:
        """Give one test its surroundings."""
        properties = request.node.user_properties

        # Not `record_property`, which warns where JUnit reports are of the family xunit2.
        def report(name: str, value: object) -> None:
            properties.append((name, value))

        return Case(opener, type(self).__module__, report)
