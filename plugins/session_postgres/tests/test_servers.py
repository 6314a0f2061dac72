"""The server of these tests: whatever state it is left in, nothing of it stays behind."""

import subprocess
import sys

import psycopg
import pytest

from turnkeep.testing.servers.postgres import PostgresServer
from turnkeep.testing.servers.process import children

ABANDONED = """
import psycopg
from turnkeep.testing.servers.postgres import PostgresServer
from turnkeep.testing.servers.process import children
server = PostgresServer(fsync=False)
server.start()
connection = psycopg.connect(server.url)
print(server.pid, *children(server.pid))
server.freeze()
"""


def alive(pids):
    """Which of these processes are there."""
    found = subprocess.run(["ps", "-A", "-o", "pid=,state="], capture_output=True, text=True)
    rows = [line.split() for line in found.stdout.splitlines()]
    return {int(pid) for pid, state in rows if not state.startswith("Z")} & set(pids)


def test_a_frozen_server_that_is_stopped_leaves_no_process():
    """It is thawed first, and its data is whole for another start."""
    if (program := PostgresServer.program()) is None:
        pytest.skip("needs postgres and initdb (`make servers` installs them)")
    server = PostgresServer(program=program, fsync=False)
    server.start()
    with psycopg.connect(server.url):
        family = [server.pid, *children(server.pid)]
        assert len(family) > 2
        server.freeze()
        server.stop()
        assert not alive(family)
    server.start()
    server.stop()


def test_a_frozen_server_that_is_forgotten_ends_with_its_process():
    """As after a test that failed between freeze and thaw."""
    if PostgresServer.program() is None:
        pytest.skip("needs postgres and initdb (`make servers` installs them)")
    command = [sys.executable, "-c", ABANDONED]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    family = [int(each) for each in done.stdout.split()]
    assert len(family) > 2
    assert not alive(family)
