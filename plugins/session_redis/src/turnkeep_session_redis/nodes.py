"""The servers: each made when it is needed, one for each address, closed together."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError

from turnkeep_session_redis.node import Node, Wire
from turnkeep_session_redis.place import PORT, Address


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
    """Servers by address. They retry nothing by themselves: `link` does, for all alike."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._nodes: dict[Address, Node] = {}

    def __getitem__(self, address: Address) -> Node:
        if (found := self._nodes.get(address)) is None:
            found = self._nodes[address] = Node(_making(address, self._login), self._login.timeout)
        return found

    def follow(self, service: Address, sentinels: Discovers) -> None:
        """Let an address stand for the primary that sentinels name."""
        self._nodes[service] = Node(
            _making(Address(service.host, PORT), self._login),
            self._login.timeout,
            partial(sentinels.discover_master, service.host),
        )

    async def close(self) -> None:
        """Close every connection."""
        nodes, self._nodes = list(self._nodes.values()), {}
        await asyncio.gather(*(node.close() for node in nodes))


def _making(address: Address, login: Login) -> Callable[[], Wire]:
    """Give what makes a connection; nothing is connected yet."""
    settings = _settings(login)
    kind: type[Any] = SSLConnection if login.tls else Connection
    if address.port:
        settings |= {"host": address.host, "port": address.port}
    else:
        kind = UnixDomainSocketConnection
        settings["path"] = address.host
        del settings["socket_keepalive"]
    return lambda: cast("Wire", kind(**settings))


def _settings(login: Login) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "db": login.database,
        "username": login.username,
        "password": login.password,
        "socket_timeout": None,  # `node` has one around all of an exchange
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


def redirected(error: MovedError | AskError, asked: Address) -> Address:
    """Tell where a server of a Cluster sends us; without a host, or with "?", it means its own."""
    return Address(asked.host if error.host in {"", "?"} else error.host, int(error.port))
