"""A PostgreSQL server, and PgBouncer in front of one, as processes of this machine.

Needs their programs (`postgres` and `initdb`, `pgbouncer`) and nothing else.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from turnkeep.testing.servers.process import (
    READY,
    CannotStart,
    ServerFolder,
    ServerProcess,
    find_program,
    free_port,
)

USER: Final = "turnkeep"
PASSWORD: Final = "pa55-of-tests"  # noqa: S105  # of a server that lives as long as a test
DATABASE: Final = "postgres"

_FOLDERS: Final = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/*/bin")
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "logging_collector": "off",
    "log_min_messages": "warning",
}
_PROTOCOL: Final = 196_608  # version 3.0 of the protocol, in a startup message


class PostgresServer:
    """A server with a data folder of its own, a superuser with a password, and UTF-8.

    `config` sets parameters beside those of the tests, for the next start too: change it and start
    again. `fsync=False` is quicker where a test loses no power; `user` is who may log in.
    """

    def __init__(
        self,
        program: str | None = None,
        port: int | None = None,
        config: Mapping[str, str] | None = None,
        *,
        fsync: bool = True,
        folder: Path | None = None,
    ) -> None:
        found = program or self.program()
        if found is None:
            raise CannotStart("postgres or initdb is not installed (`make servers` installs them)")
        self.port = port or free_port()
        self.config = {"fsync": "on" if fsync else "off", **(config or {})}
        self._program = found
        self._folder = ServerFolder("postgres", user=_system_user())
        self.data = (folder or self._folder.path) / "data"
        """The data folder, below `folder` where that is given, which must belong to its user."""
        self._process: ServerProcess | None = None

    @classmethod
    def program(cls) -> str | None:
        """Give the path of `postgres`; None unless `initdb` is beside it."""
        found = find_program("postgres", *_FOLDERS)
        if found is not None and os.access(_beside(found, "initdb"), os.X_OK):
            return found
        return None

    @property
    def url(self) -> str:
        """Give the URL of its database, with the password."""
        return self.url_of(self.port)

    @staticmethod
    def url_of(port: int, *, password: str = PASSWORD, database: str = DATABASE) -> str:
        """Give such a URL with another port, password or database."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{database}"

    @property
    def pid(self) -> int:
        """The number of the first process, whose children serve the connections."""
        assert self._process is not None, "it has not been started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Start it, on the data that it left, and wait until it accepts connections."""
        if not self.data.exists():
            self._make_data()
        settings = {**_SETTINGS, "port": str(self.port), **self.config}
        command = [self._program, "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._process = ServerProcess(
            command,
            folder=self._folder,
            ready=lambda: _accepts(self.port),
            stop_signal=signal.SIGINT,  # the fast way: connections are ended, the data is synced
        )
        self._process.start()

    def kill(self) -> None:
        """End it by SIGKILL, with the processes of its connections: nothing is synced any more."""
        if self._process is None:
            return
        family = self._stopped_family() if self._process.running else []
        self._process.kill()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + READY
        while any(map(_lives, family)) and time.monotonic() < deadline:
            time.sleep(0.01)  # a new server refuses the folder while one of the old ones is there

    def stop(self) -> None:
        """End it in good order; what it kept stays for another start."""
        if self._process is not None:
            self._process.stop()

    def freeze(self) -> None:
        """Let nothing of it run any more, until `thaw`: its connections stay, and say nothing."""
        self._stopped_family()

    def thaw(self) -> None:
        """Let it go on."""
        for pid in [*_children(self.pid), self.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _stopped_family(self) -> list[int]:
        # Each child makes a process group of its own, so a signal to the group would miss them.
        # The parent first: once it has stopped there are no new ones.
        os.kill(self.pid, signal.SIGSTOP)
        family = _children(self.pid)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return [self.pid, *family]

    def _make_data(self) -> None:
        secret = self._folder.path / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        done = subprocess.run(  # noqa: S603  # the program that was found
            [
                _beside(self._program, "initdb"),
                f"--pgdata={self.data}",
                f"--username={USER}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            cwd=self._folder.path,
            user=self._folder.user,
            extra_groups=[] if self._folder.user else None,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            raise CannotStart(f"initdb failed:\n{done.stderr[-2000:]}")


class PgBouncer:
    """PgBouncer in front of a server, or of its port: few connections, shared by many clients."""

    def __init__(
        self,
        postgres: PostgresServer | int,
        pool_mode: str = "transaction",
        program: str | None = None,
        *,
        pool_size: int = 5,
        config: Mapping[str, str] | None = None,
    ) -> None:
        found = program or self.program()
        if found is None:
            raise CannotStart("pgbouncer is not installed (`make servers` installs it)")
        port = postgres if isinstance(postgres, int) else postgres.port
        self.port = free_port()
        folder = ServerFolder("pgbouncer", user=_system_user())
        users = folder.path / "users.txt"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(users),
            "pool_mode": pool_mode,
            "default_pool_size": str(pool_size),
            "max_client_conn": "500",
            "server_login_retry": "1",
            **(config or {}),
        }
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={port}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        file = folder.path / "pgbouncer.ini"
        file.write_text("\n".join([*lines, ""]))
        self._process = ServerProcess(
            [found, str(file)],
            folder=folder,
            ready=lambda: _accepts(self.port),
            stop_signal=signal.SIGTERM,
        )

    @classmethod
    def program(cls) -> str | None:
        """Give the path of `pgbouncer`, if there is one."""
        return find_program("pgbouncer", "/usr/sbin", "/usr/local/sbin")

    @property
    def url(self) -> str:
        """Give the URL of the server's database, by way of PgBouncer."""
        return PostgresServer.url_of(self.port)

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._process.start()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()

    def stop(self) -> None:
        """End it; its clients lose their connections."""
        self._process.stop()

    def freeze(self) -> None:
        """Let it not run any more, until `thaw`."""
        self._process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._process.thaw()


def _beside(program: str, name: str) -> str:
    # The program that was found may be a link into the folder where the others are.
    for folder in (Path(program).parent, Path(program).resolve().parent):
        if (folder / name).exists():
            return str(folder / name)
    return name


def _system_user() -> str:
    """Name whom the server runs as where this process is root, which it refuses to be."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise CannotStart("there is no user `nobody` for a server to run as")


def _accepts(port: int) -> bool:
    """Tell whether a server lets clients in: while it recovers it listens, and refuses them."""
    text = f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
    message = struct.pack("!ii", 8 + len(text), _PROTOCOL) + text
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
        probe.sendall(message)
        return probe.recv(1) == b"R"  # it asks for the password; E would be an error
    return False


def _children(pid: int) -> list[int]:
    return [child for child, parent, _ in _processes() if parent == pid]


def _lives(pid: int) -> bool:
    return any(each == pid and state != "Z" for each, _, state in _processes())


def _processes() -> Iterator[tuple[int, int, str]]:
    """Give number, parent and state of each process of this machine."""
    if not Path("/proc/self/stat").exists():
        command = ["ps", "-A", "-o", "pid=,ppid=,state="]
        text = subprocess.run(command, capture_output=True, check=True, text=True).stdout  # noqa: S603  # a constant
        for pid, parent, state in map(str.split, text.splitlines()):
            yield int(pid), int(parent), state[0]
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name, in brackets, may hold blanks and brackets itself.
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            yield int(folder.name), int(parent), state
