"""One connection: a statement goes out, its answer comes in, in one round trip.

psycopg makes the connection; statements go through its lower half, `psycopg.pq`, with one reader
on the event loop for the connection's life. A call costs a third of the CPU of `execute`, and a
timeout needs no answer of a server that has none: the connection is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import pq

from turnkeep_session_postgres.faults import (
    UNPREPARED,
    CannotConnect,
    LinkLost,
    ServerError,
    ends_connection,
    is_final,
    one_line,
)
from turnkeep_session_postgres.values import Statement, Value

_GOOD: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_BINARY: Final = pq.Format.BINARY
_SEVERITY: Final = pq.DiagnosticField.SEVERITY_NONLOCALIZED
_SQLSTATE: Final = pq.DiagnosticField.SQLSTATE
_PRIMARY: Final = pq.DiagnosticField.MESSAGE_PRIMARY

LEAST_WAIT: Final = 2
"""Seconds: psycopg gives no address less."""


class Link:
    """A connection, used by one call at a time. `alive` turns False for good."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], within: float) -> None:
        self.alive = True
        self.prepares = False
        """Whether statements are prepared; not behind a pooler that exchanges the server."""
        self.within = within
        """Seconds that an answer may take, where a call says nothing else."""
        self.idle_since = 0.0
        self._connection = connection  # else it would end the connection when it is collected
        self._pq = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._file = self._pq.socket
        """Its number. libpq closes it by itself, and may not be asked for it then."""
        self._waiting: asyncio.Future[pq.abc.PGresult] | None = None
        self._result: pq.abc.PGresult | None = None
        self._writing = False
        self._prepared: set[bytes] = set()
        self._loop.add_reader(self._file, self._readable)

    @classmethod
    async def connect(
        cls, conninfo: str, *, wait: float, within: float, addresses: int = 1
    ) -> Link:
        """Make a connection in `wait` seconds, whose answers may take `within`.

        `addresses`: how many there are to try, each for as long. Raises CannotConnect.
        """
        each = max(LEAST_WAIT, round(wait))
        most = wait if addresses == 1 else each * addresses + 1
        try:
            async with asyncio.timeout(most):
                connection = await psycopg.AsyncConnection.connect(
                    conninfo, autocommit=True, connect_timeout=each
                )
        except (TimeoutError, psycopg.errors.ConnectionTimeout):
            raise CannotConnect(
                f"there is no connection after {wait:g} s (option connect_timeout)"
                + (f" at any of {addresses} addresses" if addresses > 1 else ""),
                final=False,
            ) from None
        except (psycopg.Error, OSError, UnicodeError) as error:
            message = one_line(str(error))
            raise CannotConnect(message, final=is_final(message)) from None
        return cls(connection, within)

    @property
    def backend(self) -> int:
        """The number of the server's process, as the other end of the connection gives it."""
        return self._pq.backend_pid

    async def run(
        self, statement: Statement, values: Sequence[Value], *, within: float | None = None
    ) -> pq.abc.PGresult:
        """Run a statement and give its result, with binary values.

        Raises ServerError, after which the connection is good, and LinkLost, after which it is not.
        """
        link, name = self._pq, statement.name
        if not self.prepares:
            text, types = statement.text, statement.types
            return await self._ask(
                within, link.send_query_params, text, values, types, statement.formats, _BINARY
            )
        if name not in self._prepared:
            await self._ask(within, link.send_prepare, name, statement.text, statement.types)
            self._prepared.add(name)
        return await self._ask(
            within, link.send_query_prepared, name, values, statement.formats, _BINARY
        )

    def close(self) -> None:
        """Let go of it. It needs no answer and never waits."""
        if self.alive:
            self.alive = False
            for remove in (self._loop.remove_writer, self._loop.remove_reader):
                # The first of two leaves the other watched, which fails where libpq has closed the
                # socket by itself (or another transport has its number by now); the loop has then
                # forgotten both.
                with suppress(OSError, RuntimeError):
                    remove(self._file)
            self._pq.finish()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            _break(waiting, "the connection was closed")

    async def _ask(
        self, within: float | None, send: Callable[..., None], *args: Any
    ) -> pq.abc.PGresult:
        if not self.alive:
            raise LinkLost("the connection was lost", sent=False)
        if self._waiting is not None:
            # Two answers could not be told apart; the other call is tried again elsewhere, too.
            self.close()
            raise LinkLost("the connection was in use by another call", sent=False)
        self._waiting = waiting = self._loop.create_future()
        seconds = within or self.within
        timer = self._loop.call_later(seconds, self._expire, seconds)
        try:
            try:
                send(*args)
                self._flush()
            except psycopg.Error as error:
                self._lose(error)  # part of it may have left
            result: pq.abc.PGresult = await waiting
        except LinkLost:
            raise
        except BaseException:
            # An argument of a wrong type, no memory, or a cancelled opening: what was sent of it,
            # and whether an answer comes, is not known.
            self.close()
            raise
        finally:
            timer.cancel()
        if result.status in _GOOD:
            return result
        severity, sqlstate, message = (
            one_line((result.error_field(field) or b"").decode(errors="replace"))
            for field in (_SEVERITY, _SQLSTATE, _PRIMARY)
        )
        if not sqlstate or ends_connection(severity, sqlstate) or not self.alive:
            # Without one it is libpq that speaks: of an answer that it cannot read, to a statement
            # that the server may well have done.
            self.close()
            said = one_line(result.error_message.decode(errors="replace"))
            message = message or said or "the answer was no result"
            raise LinkLost(message, sent=True)
        if sqlstate in UNPREPARED:
            self._prepared.clear()
        raise ServerError(sqlstate, message)

    def _flush(self) -> None:
        more = self._pq.flush() != 0
        if more is not self._writing:
            self._writing = more
            if more:
                self._loop.add_writer(self._file, self._writable)
            else:
                self._loop.remove_writer(self._file)

    def _writable(self) -> None:
        try:
            self._flush()
        except psycopg.Error as error:
            self._lose(error)

    def _readable(self) -> None:
        link = self._pq
        try:
            link.consume_input()
            if self._writing:
                self._flush()  # what a server that sends waits for is that we read, and it reads
            if self._waiting is None:
                # Nothing was asked: a notice, or the end of the connection.
                link.is_busy()
                if link.status == pq.ConnStatus.BAD:
                    self.close()
                return
            while not link.is_busy():
                result = link.get_result()
                if result is None:
                    waiting, self._waiting = self._waiting, None
                    answer, self._result = self._result, None
                    if link.status == pq.ConnStatus.BAD:
                        # Now, not once the answer is looked at: libpq has closed the socket, and
                        # the next one of the program may get its number.
                        self.close()
                    if answer is not None and not waiting.done():
                        waiting.set_result(answer)
                    return
                # An error after a good result is that of the commit; after an error, of the end.
                if self._result is None or self._result.status in _GOOD:
                    self._result = result
        except psycopg.Error as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        answer, self._result = self._result, None
        waiting, self._waiting = self._waiting, None
        self.close()
        if waiting is None or waiting.done():
            return
        if answer is not None and answer.status not in _GOOD:
            waiting.set_result(answer)  # it says why
        else:
            _break(waiting, one_line(str(error)) or "the connection was lost")

    def _expire(self, seconds: float) -> None:
        """Give the connection up: a server that says nothing would not hear of a cancel either."""
        self._lose(
            TimeoutError(f"there was no answer within {seconds:g} s (option statement_timeout)")
        )


def _break(waiting: asyncio.Future[pq.abc.PGresult], reason: str) -> None:
    """End a wait for an answer, for which nobody may be left to hear of it."""
    waiting.set_exception(LinkLost(reason, sent=True))
    waiting.exception()  # else the loop would log that it was never looked at
