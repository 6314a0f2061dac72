"""A server as a process of this machine: started, killed, frozen, started again on its data."""

from __future__ import annotations

import atexit
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

READY: Final = 60.0
"""Seconds a server may take until it answers; a machine that is busy with tests is slow."""
PORTS: Final = range(11_000, 19_000)
"""Below those that outgoing connections take, with room for a cluster's second one 10,000 above."""


class CannotStart(Exception):
    """A server's program is missing, or it ended before it answered."""


class Server(Protocol):
    """What tests do to a server."""

    @property
    def url(self) -> str:
        """How a client reaches it."""
        ...

    def start(self) -> None:
        """Start it on the data that it left, and wait until it answers."""
        ...

    def kill(self) -> None:
        """End it by SIGKILL."""
        ...

    def stop(self) -> None:
        """End it in good order; what it kept stays for another start."""
        ...


def find_program(name: str, *folders: str) -> str | None:
    """Give the path of a program on the PATH, or in one of the folders (patterns), newest first."""
    if (found := shutil.which(name)) is not None:
        return found
    for pattern in folders:
        base, _, rest = pattern.partition("*")
        for folder in sorted(Path(base).glob(f"*{rest}"), reverse=True) if rest else [Path(base)]:
            if os.access(folder / name, os.X_OK):
                return str(folder / name)
    return None


def free_port() -> int:
    """Give a port that nothing listens on, nor on the one 10,000 above it."""
    for port in random.sample(PORTS, len(PORTS)):
        with suppress(OSError):
            for each in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
            return port
    raise CannotStart("no port is free")


def answers(port: int) -> bool:
    """Tell whether something accepts connections on a port of this machine."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class ServerFolder:
    """A folder for a server's data that the user it runs as may use; gone when this process ends.

    `user` names who the server runs as where this process is root; else it is this process's user.
    """

    def __init__(self, name: str, *, user: str | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"turnkeep-{name}-"))
        self.user = user if os.geteuid() == 0 else None
        if self.user is not None:
            known = pwd.getpwnam(self.user)
            os.chown(self.path, known.pw_uid, known.pw_gid)
        atexit.register(self.remove)

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.path, ignore_errors=True)


class ServerProcess:
    """One process of a server. Its output goes to a file, whose end an error quotes.

    `ready` tells whether it answers. Signals go to its whole group, as a kernel would take it;
    `children` finds those of its processes that have groups of their own, by the number of the
    first one.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: ServerFolder,
        ready: Callable[[], bool],
        stop_signal: signal.Signals = signal.SIGTERM,
        children: Callable[[int], list[int]] = lambda _: [],
    ) -> None:
        self.command = list(command)
        self.log = folder.path / f"{Path(command[0]).name}.log"
        self._folder = folder
        self._ready = ready
        self._stop_signal = stop_signal
        self._children = children
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of the running process."""
        assert self._process is not None, "it has not been started"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers. Raises CannotStart with the end of its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # a command of this module's callers
                self.command,
                cwd=self._folder.path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._folder.user,
                extra_groups=[] if self._folder.user else None,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                tail = self.log.read_text(errors="replace")[-2000:]
                raise CannotStart(f"{self.command[0]} does not answer:\n{tail}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, by SIGKILL, frozen or not, and wait until nothing of it is left."""
        if self._process is None or not self.running:
            return
        family = self.freeze()
        self._signal(family, signal.SIGKILL)
        self._process.wait(READY)
        deadline = time.monotonic() + READY
        # A new server may refuse the folder while one of the old ones is there.
        while any(map(_lives, family)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        """Ask it to end, frozen or not, and wait; SIGKILL if it does not."""
        if self._process is None or not self.running:
            return
        self._signal([], self._stop_signal)
        self.thaw()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def freeze(self) -> list[int]:
        """Let nothing of it run any more, until `thaw`: its connections stay, and say nothing.

        Gives the numbers of its children.
        """
        self._signal([], signal.SIGSTOP)  # the parent first: then there are no new ones
        family = self._children(self.pid)
        self._signal(family, signal.SIGSTOP)
        return family

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(self._children(self.pid), signal.SIGCONT)

    def _signal(self, family: Sequence[int], how: signal.Signals) -> None:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, how)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, how)


def children(pid: int) -> list[int]:
    """Give the numbers of a process's own."""
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
