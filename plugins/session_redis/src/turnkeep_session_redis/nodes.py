"""Clients of single servers: made when they are needed, one for each address, closed together."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

from redis.asyncio import (
    Connection,
    ConnectionPool,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError

from turnkeep_session_redis.place import Address

Reply: TypeAlias = Any
"""What a server answers; it is looked at where the command is known."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """Who we are, and how a connection is made. Its repr shows no password."""

    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    timeout: float = 5.0
    connections: int = 50

    def __repr__(self) -> str:
        return "Login()"


class Discovers(Protocol):
    """Knows where the primary of a service is."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Give its host and port."""
        ...


class Nodes:
    """Clients by address. They retry nothing by themselves: `link` does, for all alike."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._clients: dict[Address, Redis] = {}

    def __getitem__(self, address: Address) -> Redis:
        if (found := self._clients.get(address)) is None:
            found = self._clients[address] = client_of(address, self._login)
        return found

    def follow(self, service: Address, sentinels: Discovers) -> None:
        """Let an address stand for the primary that sentinels name."""
        kind = SentinelManagedSSLConnection if self._login.tls else SentinelManagedConnection
        pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]  # redis-py has no types there
            service.host,
            sentinels,
            connection_class=kind,
            max_connections=self._login.connections,
            **_settings(self._login),
        )
        self._clients[service] = Redis.from_pool(pool)

    async def drop_idle(self, address: Address) -> None:
        """Close what is not in use, so that the next call connects anew, by a fresh look-up."""
        with suppress(Exception):
            await self[address].connection_pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        await asyncio.gather(*(client.aclose() for client in clients), return_exceptions=True)


def client_of(address: Address, login: Login) -> Redis:
    """Make a client; nothing is connected yet."""
    settings = _settings(login)
    kind: type[Any] = SSLConnection if login.tls else Connection
    if address.port:
        settings |= {"host": address.host, "port": address.port}
    else:
        kind = UnixDomainSocketConnection
        settings["path"] = address.host
        del settings["socket_keepalive"]
    pool = ConnectionPool(connection_class=kind, max_connections=login.connections, **settings)
    return Redis.from_pool(pool)


def _settings(login: Login) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "db": login.database,
        "username": login.username,
        "password": login.password,
        "socket_timeout": login.timeout,
        "socket_connect_timeout": login.timeout,
        "socket_keepalive": True,
        "protocol": 2,  # no handshake, and nothing that a server sends unasked
        "retry": Retry(NoBackoff(), 0),
    }
    if login.tls:
        settings |= {
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_check_hostname": True,
            "ssl_ca_certs": _text(login.tls_ca),
            "ssl_certfile": _text(login.tls_cert),
            "ssl_keyfile": _text(login.tls_key),
        }
    return settings


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser())


async def ask(client: Redis, *command: Any) -> Reply:
    """Send one command."""
    return await cast("Any", client).execute_command(*command)


async def ask_all(client: Redis, commands: list[tuple[Any, ...]]) -> list[Reply]:
    """Send commands over one connection in one go; errors of the server stand among the answers."""
    pipeline: Any = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return cast("list[Reply]", await pipeline.execute(raise_on_error=False))


def redirected(error: MovedError | AskError, asked: Address) -> Address:
    """Tell where a server of a Cluster sends us; without a host it means its own."""
    return Address(error.host or asked.host, int(error.port))
