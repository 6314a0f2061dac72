"""Starting second processes, talking with them, ending them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from threading import Timer
from typing import Any, Final

from turnkeep.testing.second_process import Opener, Task

LIMIT: Final = 120.0
"""Seconds after which a second process is killed, so that a test fails instead of hanging."""


class SecondProcess:
    """A new interpreter that runs one command of `turnkeep.testing.second_process`."""

    def __init__(
        self, opener: Opener, module: str, command: str, arguments: dict[str, Any]
    ) -> None:
        try:
            pickled = pickle.dumps(opener)
        except Exception as error:
            raise TypeError(
                f"the fixture `opener` gives {opener!r}, which cannot be pickled for a second "
                f"process ({error}): give functools.partial of a function of your test module and "
                "of plain values"
            ) from error
        file = getattr(sys.modules.get(module), "__file__", None)
        path = os.pathsep.join(each for each in sys.path if each)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # a pipe nobody reads fills up
        self._process = subprocess.Popen(
            [sys.executable, "-m", "turnkeep.testing.second_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._timer = Timer(LIMIT, self._process.kill)
        self._timer.daemon = True
        self._timer.start()
        self._write(Task(command, arguments, pickled, module, file).line())

    @property
    def pid(self) -> int:
        """Its process id, never this process's own."""
        return self._process.pid

    async def begun(self) -> None:
        """Wait until its interpreter runs; it says its pid."""
        said = await self.line()
        # Where the interpreter is started by a launcher, the launcher's pid is another one.
        assert said["pid"] != os.getpid(), "the second process is the first one"

    async def line(self) -> Any:
        """Give the next thing it says; fails with its errors if it ended instead."""
        line = await asyncio.to_thread(self._out.readline)
        if not line.endswith("\n"):
            await self._ended()
            raise AssertionError(f"the second process ended without an answer:\n{self.errors()}")
        return json.loads(line)

    async def go(self) -> None:
        """Let it go on from where it waits."""
        await asyncio.to_thread(self._write, "go\n")

    async def finish(self) -> list[Any]:
        """Wait for its end; gives what else it said. Fails with its errors if it failed."""
        said = await self._rest()
        code = await self._ended()
        assert code == 0, f"the second process failed:\n{self.errors()}"
        return said

    async def kill(self) -> list[Any]:
        """Kill it (SIGKILL where there are signals); gives what it had said until then."""
        self._process.kill()
        said = await self._rest()
        await self._ended()
        return said

    def errors(self) -> str:
        """Give what it wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def end(self) -> None:
        """Kill it if it still runs, and let go of everything."""
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(OSError):  # not sent to a process that was killed
                    pipe.close()

    @property
    def _out(self) -> Any:
        return self._process.stdout

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    async def _rest(self) -> list[Any]:
        text: str = await asyncio.to_thread(self._out.read)
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    async def _ended(self) -> int:
        code = await asyncio.to_thread(self._process.wait)
        self._timer.cancel()
        return code
