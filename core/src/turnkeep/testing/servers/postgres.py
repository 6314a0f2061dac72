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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from turnkeep.testing.servers.process import (
    CannotStart,
    ServerFolder,
    ServerProcess,
    children,
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
    def log(self) -> str:
        """What it has written to its log so far."""
        assert self._process is not None, "it has not been started"
        return self._process.log.read_text(errors="replace")

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
            children=children,
        )
        self._process.start()

    def kill(self) -> None:
        """End it by SIGKILL, with the processes of its connections: nothing is synced any more."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End it in good order; what it kept stays for another start."""
        if self._process is not None:
            self._process.stop()

    def replica(self) -> PostgresServer:
        """Make another server, to be started, that follows this one, which runs, as a standby."""
        made = PostgresServer(self._program, config=self.config)
        self._run(
            made._folder,
            "pg_basebackup",
            f"--pgdata={made.data}",
            f"--dbname={self.url}",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        )
        return made

    def promote(self) -> None:
        """Let a standby follow no longer, and take writes. It returns when it does."""
        self._run(self._folder, "pg_ctl", "promote", f"--pgdata={self.data}", "--wait")

    def freeze(self) -> None:
        """Let nothing of it run any more, until `thaw`: its connections stay, and say nothing."""
        assert self._process is not None, "it has not been started"
        self._process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None, "it has not been started"
        self._process.thaw()

    def _make_data(self) -> None:
        secret = self._folder.path / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            self._folder,
            "initdb",
            f"--pgdata={self.data}",
            f"--username={USER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )

    def _run(self, folder: ServerFolder, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's own programs as the server's user."""
        done = subprocess.run(  # noqa: S603  # one beside the program that was found
            [_beside(self._program, name), *arguments],
            cwd=folder.path,
            user=folder.user,
            extra_groups=[] if folder.user else None,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            raise CannotStart(f"{name} failed:\n{done.stderr[-2000:]}")


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
