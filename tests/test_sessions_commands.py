"""`turnkeep sessions fork | rewind | erase | delete | purge`, and the past that `show` tells."""

import json

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a turnkeep.toml for a SQLite file, to work in."""
    (tmp_path / "turnkeep.toml").write_text('[session]\nstore = "sqlite"\nsqlite.path = "s.db"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


SESSION = [
    {"type": "session", "id": "one"},
    {"type": "message", "role": "user", "content": "a"},
]


@pytest.fixture
def three(folder, turnkeep):
    """A session "one" of three messages."""
    lines = [
        SESSION[0],
        *({"type": "message", "role": "user", "content": text} for text in ("a", "b", "c")),
    ]
    turnkeep("sessions", "import", write(folder / "three.jsonl", *lines))
    return folder


def test_a_session_goes_back_and_forward(three, turnkeep):
    """Rewind says how to undo it; show tells log, past and context."""
    assert turnkeep("sessions", "rewind", "one", "1") == (
        0,
        "one stands as after event 1. Back again: turnkeep sessions rewind one 3\n",
        "",
    )
    _, log, _ = turnkeep("sessions", "show", "one")
    assert log.split("\n")[1:-1] == [
        "    1 user a",
        "    2 user b",
        "    3 user c",
        "    4 user took back everything after event 1",
    ]
    _, context, _ = turnkeep("sessions", "show", "one", "--context")
    assert context.split("\n")[1:-1] == ["    1.0 user a"]
    _, past, _ = turnkeep("sessions", "show", "one", "--context", "--at", "2")
    assert past.split("\n")[0].endswith("; as it was after event 2")
    assert past.split("\n")[1:-1] == ["    1.0 user a", "    2.0 user b"]
    turnkeep("sessions", "rewind", "one", "3")
    _, context, _ = turnkeep("sessions", "show", "one", "--context", "--json")
    assert [each["item"]["content"] for each in json.loads(context)["context"]] == ["a", "b", "c"]


def test_a_session_is_forked(three, turnkeep):
    """The copy says where it comes from."""
    assert turnkeep("sessions", "fork", "one", "two", "--at", "2") == (
        0,
        "two: 2 events of one\n",
        "",
    )
    _, out, _ = turnkeep("sessions", "show", "two")
    assert out.split("\n")[0].endswith(", forked from one at event 2")
    code, _, error = turnkeep("sessions", "fork", "one", "two")
    assert code == 1
    assert error == "turnkeep: session 'two' exists already; get it, or choose another id\n"


def test_an_event_is_erased_for_good(three, turnkeep):
    """What stood there is told, not what it said; nobody does it by accident."""
    code, out, error = turnkeep("sessions", "erase", "one", "2")
    assert (code, out) == (1, "")
    assert error == "turnkeep: this cannot be undone: say --yes\n"
    done = turnkeep("sessions", "erase", "one", "2", "--yes", "--reason", "a key")
    assert done == (0, "one: erased 2\n", "")
    _, out, _ = turnkeep("sessions", "show", "one")
    assert out.split("\n")[2] == "    2 user (event, erased: a key)"
    assert b'"b"' not in (three / "s.db").read_bytes()
    again = turnkeep("sessions", "erase", "one", "2", "--yes")
    assert again == (0, "one: erased nothing, it was before\n", "")
    _, exported, _ = turnkeep("sessions", "export", "one")
    (three / "again.jsonl").write_text(exported)
    turnkeep("sessions", "import", str(three / "again.jsonl"), "--id", "copy")
    _, out, _ = turnkeep("sessions", "show", "copy")
    assert out.split("\n")[2] == "    2 user (event, erased: a key)"


def test_sessions_are_deleted(three, turnkeep):
    """Those that are there; the others are named."""
    code, out, error = turnkeep("sessions", "delete", "one", "none", "--yes")
    assert (code, out) == (1, "deleted one\n")
    assert error == "turnkeep: there is no session 'none' (never created, deleted or expired)\n"
    assert turnkeep("sessions", "list") == (0, "no sessions yet\n", "")


def test_expired_sessions_are_purged(folder, turnkeep):
    """What a ttl has ended is removed from the disk."""
    toml = '[session]\nstore = "sqlite"\nttl = "1ms"\nsqlite.path = "s.db"\n'
    (folder / "turnkeep.toml").write_text(toml)
    turnkeep("sessions", "import", write(folder / "one.jsonl", *SESSION))
    assert turnkeep("sessions", "purge") == (0, "1 expired session removed\n", "")
    assert turnkeep("sessions", "purge", "--json") == (0, '{\n  "purged": 0\n}\n', "")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("rewind", "one", "9"), "session 'one' has no event 9: name one from 0 to 3 (0: before"),
        (("show", "one", "--at", "4"), "session 'one' has no event 4: name one from 0 to 3"),
        (("fork", "one", "two", "--at", "-1"), "session 'one' has no event -1"),
        (("erase", "one", "0", "--yes"), "session 'one' has no event 0: name one from 1 to 3"),
        (("rewind", "none", "1"), "there is no session 'none'"),
        (("fork", "one", ""), "a session id has 1 to 512 bytes as UTF-8, this one 0"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(three, turnkeep, command, said):
    """With what is there instead."""
    code, out, error = turnkeep("sessions", *command)
    assert (code, out) == (1, "")
    assert said in error
    assert error.count("\n") == 1
