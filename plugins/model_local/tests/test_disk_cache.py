"""The folder of computed prompts: whole files only, bounded, nobody else's files touched."""

import os

import pytest

from turnkeep_model_local.disk_cache import DiskCache


@pytest.fixture
def weights(tmp_path):
    """Something to tell models apart by."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def cache(tmp_path, weights):
    """A cache of at most 100 bytes."""
    made = DiskCache(tmp_path / "kept", 100)
    made.prepare(weights, "1")
    return made


def put(cache, conversation, content):
    """Write a file as llama.cpp would."""
    name = cache.begin()
    (cache.folder / name).write_bytes(content)
    return cache.finish(name, conversation)


def test_what_was_kept_is_found(cache):
    """The newest of a conversation, and what is held stays; the folder is its owner's."""
    assert cache.find("a") is None
    put(cache, "a", b"old")
    name = put(cache, "a", b"new")
    assert (cache.find("a"), cache.find("b")) == (name, None)
    held = cache.hold(name)
    put(cache, "a", b"newer")
    assert (cache.folder / held).read_bytes() == b"new" and cache.hold(name) is None
    cache.drop(held)
    name = cache.find("a")
    assert len(list(cache.folder.iterdir())) == 1
    assert (cache.folder.stat().st_mode & 0o777, (cache.folder / name).stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )


def test_models_and_versions_are_told_apart(cache, weights):
    """What one has computed is of no use to another."""
    put(cache, "a", b"state")
    other = DiskCache(cache.folder, 100)
    other.prepare(weights, "2")
    assert other.find("a") is None


@pytest.mark.parametrize("damage", [b"", b"stat", b"statf", b"state "])
def test_a_damaged_file_is_removed(cache, damage):
    """And never given to llama.cpp."""
    name = put(cache, "a", b"state")
    (cache.folder / name).write_bytes(damage)
    assert cache.hold(name) is None
    assert not list(cache.folder.iterdir())


def test_the_oldest_make_room(cache):
    """Those not used for longest; what is not ours stays, what was abandoned goes."""
    (cache.folder / "notes.txt").write_bytes(b"x" * 500)
    (cache.folder / "unfinished-1").write_bytes(b"x")
    os.utime(cache.folder / "unfinished-1", (0, 0))
    names = {}
    for place, conversation in enumerate("abc"):
        names[conversation] = put(cache, conversation, conversation.encode() * 30)
        os.utime(cache.folder / names[conversation], (place, place))
    cache.drop(cache.hold(names["a"]))  # used: now "b" is the oldest
    put(cache, "d", b"d" * 30)
    assert [cache.find(each) is not None for each in "abcd"] == [True, False, True, True]
    assert (cache.folder / "notes.txt").exists()
    assert not (cache.folder / "unfinished-1").exists()


def test_what_is_too_large_is_not_kept(cache):
    """A folder has its limit."""
    assert put(cache, "a", b"x" * 101) is None
    assert cache.find("a") is None
