"""Fixtures: servers as child processes and over HTTP on free ports.

Coroutine tests are run by the workspace's conftest.py.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeep_tools_mcp import McpServer

SERVERS = Path(__file__).resolve().parent / "servers"


@pytest.fixture
def demo():
    """Make a server of the official SDK, run as a child process."""

    def make(**options):
        return McpServer.stdio(sys.executable, str(SERVERS / "demo.py"), "stdio", **options)

    return make


@pytest.fixture
def raw(tmp_path):
    """Make a server that behaves as told; it writes to `tmp_path / "raw"`."""

    def make(behaviour, **options):
        script = str(SERVERS / "raw.py")
        return McpServer.stdio(sys.executable, script, behaviour, str(tmp_path / "raw"), **options)

    return make


class HttpServer:
    """The server of the official SDK on a port of its own; it can be killed and started again."""

    def __init__(self, kind):
        self.kind = kind
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/{'mcp' if kind == 'http' else 'sse'}"
        self._child = None

    def start(self):
        self._child = subprocess.Popen(
            [sys.executable, str(SERVERS / "demo.py"), self.kind, str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while self._child.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
        raise RuntimeError("the server ended at its start")

    def kill(self):
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None


@pytest.fixture(params=["auto", pytest.param("legacy", marks=pytest.mark.prove)])
def protocol(request):
    """Both generations of the protocol: what the SDK negotiates, and the handshake before 2026."""
    return request.param


@pytest.fixture
def http():
    """The server over streamable HTTP."""
    server = HttpServer("http").start()
    yield server
    server.kill()


@pytest.fixture
def sse():
    """The server over HTTP with SSE."""
    server = HttpServer("sse").start()
    yield server
    server.kill()


@pytest.fixture
def until():
    """Wait until something holds; the test's own timeout is the only limit."""

    async def wait(holds):
        while not holds():
            await asyncio.sleep(0.01)

    return wait
