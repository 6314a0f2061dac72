"""Fixtures: what reaches tiktoken is seen, and child processes without a network."""

import os
import subprocess
import sys

import pytest

from turnkeep_tokens_tiktoken import counter as module
from turnkeep_tokens_tiktoken.vocabulary import reference

OFFLINE = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was touched")

socket.socket = socket.create_connection = socket.getaddrinfo = refuse
"""


@pytest.fixture
def given_to_tiktoken(monkeypatch):
    """The runs that the counter gives to tiktoken, as they come."""
    runs = []

    class Watched:
        def __init__(self, encoding):
            self.encoding = encoding

        def encode_ordinary(self, run):
            runs.append(run)
            return reference(self.encoding).encode_ordinary(run)

    monkeypatch.setattr(module, "reference", Watched)
    return runs


@pytest.fixture
def offline(tmp_path):
    """Run code in a new interpreter in which sockets raise; gives its lines."""

    def run(code, **variables):
        environ = {name: value for name, value in os.environ.items() if "CACHE_DIR" not in name}
        # tiktoken's default cache lies in the folder for temporary files: an empty one.
        environ |= {"TMPDIR": str(tmp_path), **variables}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", OFFLINE + code],
            capture_output=True,
            text=True,
            env=environ,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split("\n")[:-1]

    return run
