"""A disk that is really full: what is raised, what is kept, and that it works again with room."""

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from turnkeep.errors import StoreUnavailable
from turnkeep.store import Record
from turnkeep.testing.writers import PARTS, batch, record

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a Unix")

SIZE = 4 << 20
"""Bytes of the small file system."""


def mounted(*command):
    """Mount; gives what went wrong, if anything did."""
    try:
        done = subprocess.run(["mount", *command], capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no program mount"
    return done.stderr.strip() if done.returncode else ""


@pytest.fixture(params=["tmpfs", "ext4 4096", "ext4 1024"])
def small(request, tmp_path):
    """A folder on a file system of its own of 4 MB; ext4 with blocks of a page, and of less."""
    kind, _, block = request.param.partition(" ")
    folder = tmp_path / "small"
    folder.mkdir()
    if kind == "tmpfs":
        fault = mounted("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder))
    else:
        image = tmp_path / "image"
        image.write_bytes(bytes(SIZE))
        try:
            make = ["mkfs.ext4", "-q", "-m", "0", "-b", block, image]
            subprocess.run(make, check=True, capture_output=True)
            fault = mounted("-o", "loop", str(image), str(folder))
        except (OSError, subprocess.CalledProcessError) as error:
            fault = str(error)
    if fault:
        pytest.skip(f"needs the right to mount {kind} (root or CAP_SYS_ADMIN): {fault}")
    yield folder
    subprocess.run(["umount", folder], check=True)


class Ballast:
    """A file that takes all room but some bytes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ballast"

    def leave(self, room: int) -> None:
        """Grow or shrink until so much is free, within a page."""
        self.drop()
        with self.path.open("wb", buffering=0) as file:
            free = os.statvfs(self.path)
            for _ in range(max(free.f_bavail * free.f_frsize - room, 0) // 4096):
                try:
                    file.write(bytes(4096))
                except OSError:
                    break
            os.fsync(file.fileno())

    def drop(self) -> None:
        """Give the room back."""
        self.path.unlink(missing_ok=True)


@pytest.fixture
def ballast(small):
    """What fills the small file system."""
    return Ballast(small)


async def append_until_full(store, head):
    """Append as long as it goes; gives the last head and the error."""
    name = head.session_id
    for _ in range(2000):
        number = head.revision.version + 1
        try:
            head = await store.append(
                name,
                batch(name, 0, number),
                expected=head.revision,
                commit_id=b"%d" % number,
            )
        except StoreUnavailable as error:
            return head, error
    raise AssertionError("the disk never filled up")


def whole(name, versions):
    """All records that a session has then."""
    return [
        record(name, 0, number, part) for number in range(1, versions + 1) for part in range(PARTS)
    ]


@pytest.mark.parametrize("room", [0, 5_000, 200_000])
async def test_a_full_disk_loses_nothing_and_passes(small, ballast, opened, begin, sound, room):
    """StoreUnavailable names file, cause and way out; all is kept, and with room it goes on."""
    path = small / "x.db"
    async with opened(path) as store:
        head, other = await begin(store), await begin(store, "other", records=3)
        ballast.leave(room)
        head, error = await append_until_full(store, head)
        assert re.search(rf"{path}.*(free some|disk's space)", str(error))
        found = await store.load("s", after=0)
        assert found.head == head
        assert list(found.records) == whole("s", head.revision.version)
        large = b"x" * 300_000
        for call in (
            store.create("new", commit_id=b"n", state=large),
            store.append("other", [Record(large)], expected=other.revision, commit_id=b"o"),
        ):
            with pytest.raises(StoreUnavailable):
                await call
        assert (await store.load("other")).head == other
        assert await store.load("new") is None
        ballast.drop()
        await begin(store, "new", records=2)
        number = head.revision.version + 1
        head = await store.append(
            "s", batch("s", 0, number), expected=head.revision, commit_id=b"again"
        )
    async with opened(path) as store:
        kept = await store.load("s", after=0)
        assert list(kept.records) == whole("s", head.revision.version)
    sound(path)


async def test_a_file_closed_on_a_full_disk_opens_again(small, ballast, opened, begin, sound):
    """Closed, and opened again, while there is no room: it is told or works; nothing is lost."""
    path = small / "x.db"
    async with opened(path) as store:
        head = await begin(store)
        ballast.leave(100_000)
        head, _ = await append_until_full(store, head)
    try:
        async with opened(path) as store:
            assert (await store.load("s")).head == head
            head, _ = await append_until_full(store, head)
    except StoreUnavailable as error:
        assert re.search(rf"{path}.*(free some|disk's space)", str(error))
    ballast.drop()
    async with opened(path) as store:
        kept = await store.load("s", after=0)
        assert kept.head == head
        assert list(kept.records) == whole("s", head.revision.version)
    sound(path)


@pytest.mark.parametrize("room", [0, 20_000, 100_000])
async def test_a_first_use_of_a_full_disk_is_told(small, ballast, opened, begin, sound, room):
    """Creating the file without room is StoreUnavailable with the way out; with room it works."""
    path = small / "x.db"
    ballast.leave(room)
    with pytest.raises(StoreUnavailable, match=rf"{path}.*(free some|disk's space)"):
        async with opened(path) as store:
            await append_nothing(store)
    ballast.drop()
    async with opened(path) as store:
        await begin(store, records=2)
    sound(path)


async def append_nothing(store):
    """Begin sessions until it fails."""
    for number in range(100):
        await store.create(f"{number}", commit_id=b"1", state=b"x" * 3000)


@pytest.mark.parametrize(
    "limit", [100_000, *(pytest.param(n, marks=pytest.mark.prove) for n in (45_000, 1_000_000))]
)
def test_a_file_that_may_not_grow_loses_nothing_and_passes(
    worker, finish, opened, path, sound, limit
):
    """RLIMIT_FSIZE amid appends: StoreUnavailable each time, and without the limit it goes on."""
    said = json.loads(finish(worker("fill", limit=limit)))
    assert len(said["errors"]) == 3
    for error in said["errors"]:
        assert re.search(rf"{path}.*(free some|disk's space)", error)
    assert said["version"] == said["full"] + 10

    async def look():
        async with opened() as store:
            return (await store.load("s", after=0)).records

    assert list(asyncio.run(look())) == whole("s", said["version"])
    sound()


async def test_a_read_only_file_system_is_named(small, opened, begin, path):
    """A mount without writing: StoreUnavailable names it, and the way out; also for root."""
    at = small / "x.db"
    async with opened(at) as store:
        await begin(store, records=1)
    assert not mounted("-o", "remount,ro", str(small))
    with pytest.raises(StoreUnavailable, match=rf"{at} is read-only.*another path"):
        async with opened(at):
            pass
    assert not mounted("-o", "remount,rw", str(small))
    async with opened(at) as store:
        assert (await store.load("s")).records == [b"1"]
