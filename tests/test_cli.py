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
    assert "'one' is kept already" in err
    assert turnkeep("sessions", "import", one, "--id", "again")[0] == 0


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
        "RETAINED",
        "IN",
        "PLACE",
        "COST",
        "ALL",
        "IN",
    ]
    assert lines[1].startswith("none ")
    assert lines[1].split()[-6:] == ["0", "2", "100.0%", "100.0%", "1.00", "1.00"]
    assert "R1 a result without its call" in out


def test_a_closed_pipe_is_no_error(folder):
    """`turnkeep … | head` ends quietly."""
    command = f"{sys.executable} -m turnkeep replay {RECORDING} --format json | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=os.environ)
    assert (len(done.stdout), done.stderr) == (10, "")


def test_debug_shows_the_traceback(folder):
    """Only then."""
    with pytest.raises(KeyError):
        main(["--debug", "sessions", "show", "nobody"])


def test_a_file_of_several_sessions_goes_on_behind_one_that_is_kept(folder, turnkeep):
    """A whole export can be restored into a store that holds some of it."""
    turnkeep("sessions", "import", write(folder / "one.jsonl", *SESSION))
    both = write(folder / "both.jsonl", *SESSION, {**SESSION[0], "id": "two"}, *SESSION[1:])
    code, out, err = turnkeep("sessions", "import", both)
    assert (code, out.startswith("two: 4 events")) == (1, True)
    assert "'one' is kept already" in err
    code, _, err = turnkeep("sessions", "import", both, "--id", "x")
    assert (code, "2 sessions" in err) == (1, True)


def test_a_broken_file_keeps_nothing(folder, turnkeep):
    """All of a file is read before any of it is kept, so that it can be mended and repeated."""
    broken = write(
        folder / "b.jsonl", *SESSION, {"type": "session", "id": "two"}, {"type": "sonnet"}
    )
    assert turnkeep("sessions", "import", broken)[0] == 1
    assert turnkeep("sessions", "list")[1] == "no sessions yet\n"


def test_standard_input_is_read_like_a_file(folder):
    """Told by its content, with a byte order mark or not; nothing is an error."""

    def run(text, *args):
        command = [sys.executable, "-m", "turnkeep", *args, "-"]
        return subprocess.run(command, input=text, capture_output=True)

    body = json.dumps(
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Hi"}]}
    )
    assert run(body.encode(), "sessions", "import").stdout.startswith(b"stdin: ")
    lines = "".join(json.dumps(line) + "\n" for line in SESSION)
    assert run(b"\xef\xbb\xbf" + lines.encode(), "sessions", "import").returncode == 0
    for command in (("sessions", "import"), ("replay",)):
        done = run(b"", *command)
        assert (done.returncode, b"neither turnkeep JSONL" in done.stderr) == (1, True)


def test_output_does_not_depend_on_the_locale(folder, turnkeep):
    """An export in any locale can be read back; a closed output is no traceback."""
    line = {"type": "message", "role": "user", "content": "naïve 日本 💾"}
    turnkeep("sessions", "import", write(folder / "u.jsonl", {"type": "session", "id": "u"}, line))
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for action in ("export", "show"):
        command = [sys.executable, "-m", "turnkeep", "sessions", action, "u"]
        done = subprocess.run(command, capture_output=True, env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "日本 💾" in done.stdout.decode()
    done = subprocess.run(
        f"{sys.executable} -m turnkeep sessions list >&-", shell=True, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_ids_and_texts_do_not_drive_the_terminal(folder, turnkeep):
    """Control characters and reversed writing are shown as dots, in lists and in full, too."""
    lines = [
        {"type": "session", "id": "a\x1b[31m\nb"},
        {"type": "message", "role": "user", "content": "x\x07\u202ey\nz"},
    ]
    file = write(folder / "odd.jsonl", *lines)
    for args in (
        ("import", file),
        ("list",),
        ("show", "a\x1b[31m\nb"),
        ("show", "a\x1b[31m\nb", "--full"),
    ):
        code, out, _ = turnkeep("sessions", *args)
        assert code == 0
        assert not set("\x1b\x07\u202e") & set(out)


def test_imported_sessions_get_the_configured_ttl(folder, turnkeep):
    """They expire like any other."""
    with (folder / "turnkeep.toml").open("a") as file:
        file.write('ttl = "1h"\n')
    turnkeep("sessions", "import", write(folder / "one.jsonl", *SESSION))
    [info] = json.loads(turnkeep("sessions", "list", "--json")[1])["sessions"]
    assert info["expires_at"] is not None


def test_replay_does_not_overwrite_what_it_reads(folder, turnkeep):
    """And a file that cannot be written is told by its name."""
    one = write(folder / "one.jsonl", *SESSION)
    before = (folder / "one.jsonl").read_bytes()
    code, _, err = turnkeep("replay", one, "--requests", "one.jsonl")
    assert (code, "would overwrite" in err) == (2, True)
    assert (folder / "one.jsonl").read_bytes() == before
    code, _, err = turnkeep("replay", one, "--requests", "nowhere/x.jsonl")
    assert (code, "nowhere/x.jsonl: cannot be written" in err) == (1, True)


def test_replay_writes_a_page(folder, turnkeep):
    """Beside the table that it prints; not over a recording that it reads."""
    one = write(folder / "one.jsonl", *SESSION)
    code, out, _ = turnkeep("replay", one, "--html", "page.html")
    assert (code, out.startswith("POLICY")) == (0, True)
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    code, _, err = turnkeep("replay", one, "--html", one)
    assert (code, "--html" in err) == (2, True)


@pytest.mark.parametrize("idle", ["-5", "nan", "inf", "soon"])
def test_idle_time_is_a_duration(turnkeep, idle):
    """Seconds, or with a unit as in the configuration."""
    assert turnkeep("replay", str(RECORDING), f"--idle-before-user={idle}")[0] == 2
    assert turnkeep("replay", str(RECORDING), "--idle-before-user=5m")[0] == 0


def test_a_provider_export_says_what_it_repaired(folder, turnkeep):
    """On stderr; and it is one session's request."""
    turnkeep("sessions", "import", write(folder / "one.jsonl", *SESSION))
    code, out, err = turnkeep("sessions", "export", "one", "--format", "openai-chat")
    assert (code, json.loads(out)["messages"][-1]["content"]) == (0, "Continue.")
    assert "'one': R5" in err
    assert turnkeep("sessions", "export", "one", "one", "--format", "anthropic")[0] == 2
