"""From the options to connections: where the server is, and how to say so without a password."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import suppress
from ipaddress import ip_address
from socket import SOCK_STREAM
from typing import Any, Final

import psycopg
from psycopg import conninfo

from turnkeep.errors import StoreError
from turnkeep_session_postgres.faults import CannotConnect, LinkLost, ServerError
from turnkeep_session_postgres.link import Link
from turnkeep_session_postgres.plugin import PostgresOptions
from turnkeep_session_postgres.values import INT8, Statement, int8, to_int

_BACKEND: Final = Statement("SELECT pg_backend_pid()::bigint")
_LIMIT: Final = Statement(
    "SELECT set_config('statement_timeout', $1::text, false),"
    " set_config('idle_in_transaction_session_timeout', $1::text, false)",
    INT8,
)

GRACE: Final = 1.0
"""Seconds by which the server's own limit for a statement comes before ours: its answer tells that
nothing was kept, and the connection is good."""


_URI: Final = re.compile(r"postgres(ql)?://")
_MISPLACED: Final = re.compile(r"@.*@|[/?].*@", re.DOTALL)
"""What follows `://` where a password was not escaped: an @ too many, or one after the host."""


class Connector:
    """Makes connections to one place. `place` names it for messages."""

    def __init__(self, options: PostgresOptions) -> None:
        url = "" if options.url is None else options.url.get_secret_value()
        known = _parsed(url)
        self._conninfo = conninfo.make_conninfo("", **known)
        self._options = options
        password = known.get("password")
        self._secret = str(password) if password else None
        host, port = known.get("host") or known.get("hostaddr"), known.get("port")
        self._hosts = str(host or os.environ.get("PGHOST", "")).split(",")
        self._rounds = 2 if known.get("target_session_attrs") == "prefer-standby" else 1
        where = ":".join(str(each) for each in (host, port) if each) or "the default host"
        database = known.get("dbname") or "the default database"
        self.place = f"PostgreSQL at {where}, database {database}"
        self.pooled = options.pgbouncer is True
        """Whether a pooler is known to stand between: nothing is prepared or set then."""

    async def connect(self) -> Link:
        """Make a connection, ready for statements. Raises CannotConnect."""
        options = self._options
        try:
            link = await Link.connect(
                self._conninfo,
                wait=options.connect_timeout,
                within=options.statement_timeout + GRACE,
                addresses=await self._addresses(),
            )
        except CannotConnect as error:
            raise CannotConnect(self._masked(str(error)), final=error.final) from None
        try:
            await self._prepare(link)
        except (ServerError, LinkLost) as error:
            link.close()
            raise CannotConnect(str(error), final=False) from None
        except BaseException:
            link.close()
            raise
        return link

    async def _prepare(self, link: Link) -> None:
        options = self._options
        if not self.pooled and options.pgbouncer == "auto":
            # A pooler makes up the number that it tells its clients, and passes the question on.
            result = await link.run(_BACKEND, (), within=options.connect_timeout)
            self.pooled = to_int(result.get_value(0, 0) or b"") != link.backend
        if not self.pooled:
            # What this side has given up shall not go on at the server.
            # A 0 would be no limit.
            milliseconds = int8(max(1, round(options.statement_timeout * 1000)))
            await link.run(_LIMIT, (milliseconds,), within=options.connect_timeout)
            link.prepares = True

    async def _addresses(self) -> int:
        """Count what is tried one after the other: a name may stand for several addresses."""
        find, count = asyncio.get_running_loop().getaddrinfo, 0
        for host in self._hosts:
            found: set[Any] = set()
            if host and not host.startswith(("/", "@")) and not _is_address(host):
                # What is wrong with a name, connecting tells.
                with suppress(OSError, UnicodeError, TimeoutError):
                    async with asyncio.timeout(self._options.connect_timeout):
                        found = {each[4] for each in await find(host, 0, type=SOCK_STREAM)}
            count += len(found) or 1
        return count * self._rounds

    def _masked(self, message: str) -> str:
        return message.replace(self._secret, "***") if self._secret else message


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _parsed(url: str) -> dict[str, Any]:
    """Give the parts of a URL or of a libpq connection string.

    Raises StoreError where it is neither, or where a part of the password would be taken for the
    host, the port or the database, which messages show.
    """
    known: dict[str, Any] = {}
    with suppress(psycopg.Error, UnicodeError):
        known = {
            "fallback_application_name": "turnkeep",
            "client_encoding": "utf8",
            **conninfo.conninfo_to_dict(url),
        }
    scheme = _URI.match(url)
    hosts = str(known.get("host") or "").split(",")
    misplaced = (
        bool(_MISPLACED.search(url, scheme.end()))
        if scheme
        else "://" in str(known.get("dbname") or "")
    )
    if (
        not known
        or misplaced
        or any("@" in host[1:] for host in hosts)  # the first may stand for an abstract socket
        or any(not port.isdecimal() for port in str(known.get("port") or "0").split(",") if port)
    ):
        # Without a cause: libpq quotes what it cannot read.
        raise StoreError(
            "url of [session.postgres] is neither postgresql://user:password@host:5432/database"
            " nor a libpq connection string; write special characters in its parts as %XX"
        )
    return known
