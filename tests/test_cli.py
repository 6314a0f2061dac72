"""The command line, as a person uses it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeep.cli import main

RECORDING = Path(__file__).resolve().parent.parent / "examples" / "recorded-session.jsonl"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a turnkeep.toml for a SQLite file, to work in."""
    (tmp_path / "turnkeep.toml").write_text('[session]\nstore = "sqlite"\nsqlite.path = "s.db"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def turnkeep(capsys):
    """Run a command; give exit code, output and errors."""

    def run(*args):
        capsys.readouterr()
        try:
            code = main(list(args))
        except SystemExit as exit_:
            code = exit_.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


SESSION = [
    {
        "type": "session",
        "id": "one",
        "source": "here",
        "tools": [{"name": "look", "parameters": {"type": "object"}}],
    },
    {"type": "message", "role": "user", "content": "Hi \u2028 there"},
    {"type": "tool_call", "tool_call_id": "c", "name": "look", "arguments": {"at": None}},
    {
        "type": "tool_result",
        "tool_call_id": "c",
        "name": "look",
        "status": "error",
        "content": ["\x1b[31mno\x1b[0m"],
    },
    {"type": "message", "role": "assistant", "content": "Sorry."},
]


def test_a_file_goes_in_and_comes_out(folder, turnkeep):
    """Import, list, show, export."""
    file = write(folder / "one.jsonl", *SESSION)
    assert turnkeep("sessions", "import", file) == (0, f"one: 4 events from {file}\n", "")
    code, out, _ = turnkeep("sessions", "list")
    assert code == 0
    assert out.split("\n")[0].split() == ["SESSION", "USER", "EVENTS", "UPDATED"]
    assert out.split("\n")[1].startswith("one")
    code, out, _ = turnkeep("sessions", "show", "one")
    assert out.split("\n")[1:] == [
        "    1 user Hi there",
        '    2 call look {"at":null}',
        "    3 error look ·[31mno·[0m",
        "    4 assistant Sorry.",
        "",
    ]
    code, out, _ = turnkeep("sessions", "export", "one")
    kept = [json.loads(line) for line in out.split("\n") if line]
    for before, after in zip(SESSION, kept, strict=True):
        assert before.items() <= after.items()


def test_programs_read_json(folder, turnkeep):
    """--json prints one document."""
    file = write(folder / "one.jsonl", *SESSION)
    assert json.loads(turnkeep("sessions", "import", file, "--json")[1]) == {
        "imported": [{"session": "one", "events": 4, "file": file}],
        "failed": 0,
    }
    [info] = json.loads(turnkeep("sessions", "list", "--json")[1])["sessions"]
    assert (info["session_id"], info["events"], info["header"]["source"]) == ("one", 4, "here")
    shown = json.loads(turnkeep("sessions", "show", "one", "--json")[1])
    assert [event["seq"] for event in shown["log"]] == [1, 2, 3, 4]
    assert json.loads(turnkeep("plugins", "--json")[1])["plugins"][0]["name"] == "core"


def test_a_session_that_exists_is_refused_and_others_go_on(folder, turnkeep):
    """The exit code says that something failed; the message names the session."""
    one = write(folder / "one.jsonl", *SESSION)
    two = write(folder / "two.jsonl", {**SESSION[0], "id": "two"}, *SESSION[1:])
    turnkeep("sessions", "import", one)
    code, out, err = turnkeep("sessions", "import", one, two)
    assert (code, "two: 4 events" in out) == (1, True)
    assert "'one' exists already" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "neither turnkeep JSONL"),
        ("nonsense\n", "neither turnkeep JSONL"),
        (
            '{"type": "session", "id": "x"}\n{"type": "message", "role": "usr", "content": ""}\n',
            "bad.jsonl:2",
        ),
        ('{"type": "session", "id": "x"}\n{"type": "sonnet"}\n', "bad.jsonl:2"),
        ('{"type": "session", "id": "x"}\n{"type": "message"\n', "bad.jsonl:2"),
        ('{"type": "session", "id": ""}\n', "bad.jsonl:1"),
        (
            '{"type": "session", "id": "x"}\n{"type": "tool_call", "tool_call_id": "c", "name": "n", "arguments": {"a": 1e999}}\n',
            "bad.jsonl:2",
        ),
    ],
)
def test_a_bad_file_is_refused_with_its_line(folder, turnkeep, text, said):
    """One line on stderr, exit code 1, nothing kept, no traceback."""
    (folder / "bad.jsonl").write_text(text)
    code, out, err = turnkeep("sessions", "import", "bad.jsonl")
    assert (code, out) == (1, "")
    assert said in err
    assert err.count("\n") == 1
    assert turnkeep("sessions", "list")[1] == "no sessions yet\n"


def test_a_request_body_is_imported_and_exported(folder, turnkeep):
    """OpenAI Chat in, Anthropic Messages out."""
    body = {
        "model": "gpt-x",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }
    (folder / "request.json").write_text(json.dumps(body))
    assert turnkeep("sessions", "import", "request.json")[0] == 0
    code, out, _ = turnkeep("sessions", "export", "request", "--format", "anthropic")
    made = json.loads(out)
    assert (made["system"][0]["text"], made["messages"][0]["content"][0]["text"]) == (
        "Be brief.",
        "Hi",
    )


def test_an_export_that_fails_leaves_no_file(folder, turnkeep):
    """A file takes its name only when it is whole; one that was there stays."""
    turnkeep("sessions", "import", write(folder / "one.jsonl", *SESSION))
    (folder / "out.jsonl").write_text("before")
    assert turnkeep("sessions", "export", "one", "nobody", "--output", "out.jsonl")[0] == 1
    assert (folder / "out.jsonl").read_text() == "before"
    assert turnkeep("sessions", "export", "one", "--output", "out.jsonl") == (0, "", "")
    assert (folder / "out.jsonl").read_text().count("\n") == 5
    assert not list(folder.glob("*.partial"))


def test_sessions_in_memory_are_refused(tmp_path, monkeypatch, turnkeep):
    """They would end with the command; the message says what to write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = turnkeep("sessions", "list")
    assert code == 2
    assert '[session] store = "sqlite"' in err


def test_unknown_sessions_and_commands(folder, turnkeep):
    """1 for what failed, 2 for wrong usage."""
    assert turnkeep("sessions", "show", "nobody")[::2] == (
        1,
        "turnkeep: there is no session 'nobody' (never created, deleted or expired)\n",
    )
    assert turnkeep("sessions", "dance")[0] == 2
    assert turnkeep("replay", str(RECORDING), "--policy", "nothing")[0] == 2
    assert turnkeep("replay", "gone.jsonl")[0] == 1


def test_replay_prints_a_table(turnkeep):
    """A line a policy, and below what was wrong."""
    code, out, err = turnkeep(
        "replay", str(RECORDING), "--policy", "none", "--policy", "tutorial-window:window_size=20"
    )
    assert (code, err) == (0, "")
    lines = out.split("\n")
    assert lines[0].split() == [
        "POLICY",
        "CALLS",
        "TOKENS",
        "SENT",
        "PEAK",
        "CACHED",
        "INVALID",
        "REPAIRED",
        "COST",
    ]
    assert lines[1].startswith("none ")
    assert lines[1].split()[-3:] == ["0", "2", "1.00"]
    assert "R1 a result without its call" in out


def test_a_closed_pipe_is_no_error(folder):
    """`turnkeep … | head` ends quietly."""
    command = f"{sys.executable} -m turnkeep.cli replay {RECORDING} --format json | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ)
    assert (len(done.stdout), done.stderr) == (10, "")


def test_debug_shows_the_traceback(folder):
    """Only then."""
    with pytest.raises(KeyError):
        main(["--debug", "sessions", "show", "nobody"])
