"""Processes that end: the next one goes on from the stored summary, and pays for nothing twice."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from turnkeep.hookspecs import Env
from turnkeep.replay.extractive import ExtractiveModel

sqlite = pytest.importorskip("turnkeep_session_sqlite.store")

CHILD = """
import asyncio, os, signal, sys
import pytest
sys.path.insert(0, os.environ["PLAY_FOLDER"])
from conftest import Play
from turnkeep.replay.extractive import ExtractiveModel
from turnkeep_session_sqlite.plugin import open_sqlite, SqliteOptions
from turnkeep.hookspecs import Env
import logging

async def main():
    env = Env(data_dir=__import__("pathlib").Path("."), logger=logging.getLogger("t"))
    async with open_sqlite(SqliteOptions(path="s.db"), env) as store:
        game = Play(ExtractiveModel(), store=store)
        game.turn_timeout = 1.0
        async with game.opened() as keep, keep.turn("s") as turn:
            await game.begin(turn)
            await game.go_on(turn, 400, until=1)
            print(game.cover.replace("\\n", "|"), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


class Counted(ExtractiveModel):
    """Keeps what it was sent."""

    def __init__(self):
        super().__init__()
        self.requests = []

    async def generate(self, request, settings):
        self.requests.append(request.to("openai-chat"))
        return await super().generate(request, settings)


async def test_killed_behind_a_checkpoint(play, tmp_path, asked_for):
    """The second process sends the stored summary, and summarizes only what came behind it."""
    import logging
    from pathlib import Path

    from turnkeep_session_sqlite.plugin import SqliteOptions, open_sqlite

    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PLAY_FOLDER": str(Path(__file__).parent)},
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr
    env = Env(data_dir=tmp_path, logger=logging.getLogger("t"))
    async with open_sqlite(SqliteOptions(path="s.db"), env) as store:
        game = play(Counted(), store=store)
        game.turn_timeout = 1.0
        async with game.opened() as keep:
            async with keep.turn("s", on_conflict="wait") as turn:
                game.steps = 100
                await game.go_on(turn)
                assert game.cover == child.stdout.strip("\n").replace("|", "\n")
                assert game.model.requests == []
                await game.go_on(turn, 400, until=1)
            asked = [asked_for(body) for body in game.model.requests]
            assert len(asked) == 1
            refs, lines, _ = asked[0]
            assert [
                line["text"] in child.stdout.replace("|", "\n")
                for line in lines
                if line["from"] == "summary"
            ] == [True]
            assert "#2.0" not in refs
            events = [event async for event in keep.sessions.events("s")]
            covered = {
                placed.seq
                for event in events
                if event.type == "checkpoint"
                for placed in event.contents
            }
            assert covered


async def test_a_second_keeper_goes_on(play, asked_for):
    """In the same process, on the same store: as if it had been one."""
    models = [Counted(), Counted()]
    one = play(models[0])
    async with one.opened() as keep, keep.turn("s") as turn:
        await one.begin(turn)
        await one.go_on(turn, 400, until=2)
    game = play(models[0], store=one.store)
    game.model, game.steps = models[1], one.steps
    async with game.opened() as keep, keep.turn("s") as turn:
        await game.go_on(turn)
        assert game.cover == one.cover
        await game.go_on(turn, 400, until=2)
    refs = [asked_for(body)[0] for model in models for body in model.requests]
    every = [ref for each in refs for ref in each]
    assert len(refs) == 4
    assert len(every) == len(set(every))
