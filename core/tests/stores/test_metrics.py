"""`metrics`: what is counted, and who reads it."""

import asyncio
import logging
import re

import pytest

import turnkeep
from turnkeep import Message
from turnkeep.config import load_config
from turnkeep.errors import ConfigError, SessionConflict
from turnkeep.store import Record, new_commit_id
from turnkeep.stores.measures import BUCKETS, Metrics
from turnkeep.stores.memory import MemoryStore
from turnkeep.stores.metrics import MeasuredStore, MetricsOptions, opened_metrics, write_whole

SAMPLE = re.compile(r'[a-z_]+(\{([a-z]+="[^"]*",?)*\})? (\d+|\d+\.\d+(e-?\d+)?)')


async def test_calls_errors_and_bytes_are_counted():
    """By operation; a conflict is an error by its name, an unchanged session is not modified."""
    store = MeasuredStore(MemoryStore())
    head = await store.create("s", state=b"12", commit_id=new_commit_id())
    fields = {"expected": head.revision, "state": b"123", "meta": b"1234"}
    await store.append("s", [Record(b"12345")], commit_id=b"1", **fields)
    with pytest.raises(SessionConflict):
        await store.append("s", [Record(b"12345")], commit_id=b"2", **fields)
    found = await store.load("s")
    await store.load("s", known=found.head.revision)
    await store.load("none")
    operations = store.metrics.snapshot().operations
    assert {name: each.calls for name, each in operations.items()} == {
        "append": 2,
        "create": 1,
        "load": 3,
    }
    assert operations["append"].errors == {"SessionConflict": 1}
    assert (operations["append"].bytes_in, operations["append"].bytes_out) == (24, 4)
    assert (operations["load"].bytes_out, operations["load"].not_modified) == (16, 1)
    assert sum(operations["load"].times) == 3
    assert operations["load"].seconds > 0


def test_times_fall_into_classes():
    """Quantiles are the upper ends of the classes."""
    metrics = Metrics("x")
    assert Metrics("x").snapshot().operations == {}
    for seconds in (0.0005, 0.001, 0.002, 0.7, 99):
        metrics.note("load", seconds)
    found = metrics.snapshot().operations["load"]
    assert (found.times[0], found.times[1], found.times[-1]) == (2, 1, 1)
    assert (found.quantile(0.4), found.quantile(0.6)) == (0.001, 0.0025)
    assert (found.quantile(0.8), found.quantile(1)) == (1.0, float("inf"))
    assert found.line() == "5 calls, half within 2.5 ms, 99 % within more than 10 s"


def test_a_snapshot_stays_as_it_was():
    """What comes later is in the next one."""
    metrics = Metrics("x")
    metrics.note("load", 0.1, error="E")
    before = metrics.snapshot()
    metrics.note("load", 0.1, error="E")
    assert (before.operations["load"].calls, before.operations["load"].errors) == (1, {"E": 1})


def test_the_text_is_what_prometheus_reads():
    """Each family has its type, buckets add up, labels are escaped."""
    metrics = Metrics('a "store"')
    for seconds in (0.0005, 3, 99):
        metrics.note("load", seconds, error="StoreUnavailable", bytes_out=7)
    text = metrics.snapshot().to_prometheus()
    lines = text.split("\n")
    assert lines.pop() == ""
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line.replace(r"\"", "")) for line in samples)
    families = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {re.sub("_(bucket|sum|count)$", "", line.split("{")[0]) for line in samples} == families
    labels = r'store="a \"store\"",operation="load"'
    assert f'turnkeep_store_seconds_bucket{{{labels},le="5.0"}} 2' in lines
    assert f'turnkeep_store_seconds_bucket{{{labels},le="+Inf"}} 3' in lines
    assert f"turnkeep_store_seconds_count{{{labels}}} 3" in lines
    assert f'turnkeep_store_errors_total{{{labels},error="StoreUnavailable"}} 3' in lines
    assert len([line for line in samples if "_bucket" in line]) == len(BUCKETS) + 1


async def test_a_program_reads_the_metrics_of_its_keeper():
    """By the wrapper's name."""
    tables = {"session": {"wrap": ["metrics"]}}
    async with turnkeep.open(tables) as keep:
        async with keep.turn("s") as turn:
            await turn.add(Message(role="user", content="Hi"))
        found = keep.wrapper("metrics").metrics.snapshot()
    assert found.operations["append"].calls > 0
    assert found.store == "memory"


async def test_the_last_report_comes_at_the_end(tmp_path, caplog):
    """In the log and in the file, which is whole whenever it is read."""
    caplog.set_level(logging.INFO, "turnkeep")
    tables = {
        "session": {"wrap": ["metrics"], "metrics": {"path": str(tmp_path / "new" / "m.prom")}}
    }
    async with turnkeep.open(tables) as keep:
        await keep.sessions.create("s")
    assert "memory store, create: 1 call, half within" in caplog.text
    text = (tmp_path / "new" / "m.prom").read_text()
    assert 'turnkeep_store_calls_total{store="memory",operation="create"} 1\n' in text
    names = sorted(file.name for file in (tmp_path / "new").iterdir())
    assert names == [".m.prom.lock", "m.prom"]


async def test_one_process_at_a_time_reports_to_a_file(tmp_path):
    """A command beside a program leaves the program's file alone; so does one that calls nothing."""
    file = tmp_path / "m.prom"
    tables = {"session": {"wrap": ["metrics"], "metrics": {"path": str(file), "every": 0.001}}}
    async with turnkeep.open(tables):
        pass
    assert not file.exists()
    async with turnkeep.open(tables) as keep:
        await keep.sessions.create("s")
        while not file.exists():
            await asyncio.sleep(0.001)
        async with turnkeep.open(tables) as other:
            await other.sessions.get("s")
        assert 'operation="create"' in file.read_text()
    async with turnkeep.open(tables) as other:
        await other.sessions.get("s")
    assert 'operation="create"' not in file.read_text()


async def test_measures_are_labelled(tmp_path):
    """So that the files of several workers are told apart."""
    file = tmp_path / "m.prom"
    options = {"path": str(file), "labels": {"worker": "1"}}
    async with turnkeep.open({"session": {"wrap": ["metrics"], "metrics": options}}) as keep:
        await keep.sessions.create("s")
    line = 'turnkeep_store_calls_total{worker="1",store="memory",operation="create"} 1\n'
    assert line in file.read_text()
    for name in ("le", "a b", ""):
        with pytest.raises(ConfigError, match="a label's name is made of"):
            load_config({"session": {"wrap": ["metrics"], "metrics": {"labels": {name: "1"}}}})


async def test_reports_come_while_the_store_is_open(tmp_path):
    """Every so many seconds."""
    options = MetricsOptions(every=0.001, log=False, path="m.prom")
    logger = logging.getLogger("test")
    async with opened_metrics(MemoryStore(), options, tmp_path, logger) as store:
        await store.create("s", commit_id=b"1")
        while not (tmp_path / "m.prom").exists() or not (tmp_path / "m.prom").read_text():
            await asyncio.sleep(0.001)
        assert 'operation="create"} 1' in (tmp_path / "m.prom").read_text()


async def test_a_file_that_cannot_be_written_ends_no_program(tmp_path, caplog):
    """It is told once."""
    (tmp_path / "file").write_text("")
    options = MetricsOptions(every=0.001, log=False, path="file/m.prom")
    logger = logging.getLogger("test")
    async with opened_metrics(MemoryStore(), options, tmp_path, logger) as store:
        await store.create("s", commit_id=b"1")
        while not caplog.messages:
            await asyncio.sleep(0.001)
        await store.load("s")
    assert len(caplog.messages) == 1
    assert "metrics are not written to" in caplog.text


def test_a_file_is_replaced_whole(tmp_path):
    """A failed write leaves the old one, and nothing beside it."""
    path = tmp_path / "m.prom"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["m.prom"]
