"""`turnkeep replay` of sessions in the store, and of logs that other programs wrote."""

import base64
import json
from pathlib import Path

import pytest

from turnkeep.content import ImagePart, Message, ToolDefinition
from turnkeep.events import Checkpoint, Placed
from turnkeep.formats.jsonl import SessionFile, write_session


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a turnkeep.toml for a SQLite file, to work in."""
    (tmp_path / "turnkeep.toml").write_text('[session]\nstore = "sqlite"\nsqlite.path = "s.db"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


HEADER = {
    "type": "session",
    "id": "one",
    "instructions": "Be brief.",
    "tools": [ToolDefinition(name="look").model_dump()],
}


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def said(role, text):
    return {"type": "message", "role": role, "content": text}


@pytest.fixture
def kept(folder, turnkeep):
    """A session "one" of two questions and answers, with instructions and a tool."""
    lines = [said("user", "a"), said("assistant", "b"), said("user", "c"), said("assistant", "d")]
    turnkeep("sessions", "import", write(folder / "one.jsonl", HEADER, *lines))
    return folder


def sent(turnkeep, *args):
    """The requests that a replay would send."""
    code, _, err = turnkeep("replay", *args, "--requests", "out.jsonl")
    assert (code, err) == (0, "")
    with Path("out.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_a_kept_session_is_played_like_its_file(kept, turnkeep):
    """With the instructions and tools that came with it."""
    assert sent(turnkeep, "one") == (requests := sent(turnkeep, "one.jsonl"))
    assert [len(request["messages"]) for request in requests] == [2, 4]
    assert requests[0]["tools"][0]["function"]["name"] == "look"


def test_what_stands_is_played(kept, turnkeep):
    """Not what was taken back."""
    turnkeep("sessions", "rewind", "one", "2")
    assert [len(request["messages"]) for request in sent(turnkeep, "one")] == [2]


def test_checkpoints_of_the_past_are_not_played(folder, turnkeep):
    """All that was said is, with pictures that a checkpoint only refers to."""
    data = base64.b64encode(b"\x89PNG" + bytes(70_000)).decode()
    seen = Message(role="user", content=[ImagePart(data=data, media_type="image/png")])
    short = Placed(seq=1, index=0, item=Message(role="user", content="short"))
    session = SessionFile("pic", events=[])
    lines = [json.loads(line) for line in write_session(session)]
    lines += [seen.model_dump(exclude_none=True), said("assistant", "b")]
    checkpoint = Checkpoint(contents=[short]).model_dump(mode="json", exclude_none=True)
    lines += [
        {
            "type": "checkpoint",
            **{key: checkpoint[key] for key in ("contents", "previous", "report")},
        },
        said("user", "c"),
        said("assistant", "d"),
    ]
    assert turnkeep("sessions", "import", write(folder / "pic.jsonl", *lines))[0] == 0
    [_, last] = sent(turnkeep, "pic")
    assert len(last["messages"]) == 3
    assert data in json.dumps(last["messages"][0])


def test_files_sessions_and_all_of_them(kept, turnkeep):
    """In the order that they are named; `--all` by id; a file goes before a session."""
    turnkeep("sessions", "fork", "one", "two")
    rows = json.loads(turnkeep("replay", "two", "one.jsonl", "--format", "json")[1])["sessions"]
    assert [row["session"] for row in rows] == ["two", "one"]
    rows = json.loads(turnkeep("replay", "--all", "--format", "json")[1])["sessions"]
    assert [row["session"] for row in rows] == ["one", "two"]
    write(kept / "two", HEADER, said("user", "x"), said("assistant", "y"))
    assert len(sent(turnkeep, "two")) == 1
    assert turnkeep("replay", "one", "--all")[0] == 2


def test_what_is_neither_is_told_in_one_sentence(kept, turnkeep, tmp_path, monkeypatch):
    """Both possibilities are named, where there is no store, too."""
    for name in ("gone", "x" * 400):
        code, out, err = turnkeep("replay", name)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert f"{name}: no such file; as a session: there is no session '{name}'" in err
    (kept / "turnkeep.toml").unlink()
    code, _, err = turnkeep("replay", "gone")
    assert code == 1
    assert "gone: no such file; as a session: no configuration file: sessions would be kept" in err


REQUEST = {"model": "gpt-5", "messages": [{"role": "user", "content": "a"}]}
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "b"}}]}


def test_a_log_is_played_counted_and_imported(folder, turnkeep):
    """What it was taken for and what was left out is said on standard error."""
    file = write(folder / "any.name", {"request": REQUEST, "response": ANSWER}, {"level": "info"})
    told = (
        "turnkeep: any.name: read as a request of OpenAI Chat: 1 session, 2 items\n"
        "turnkeep: any.name: left out: lines without a request (1)\n"
    ).replace("any.name", file)
    code, out, err = turnkeep("replay", file, "--format", "json")
    assert (code, err) == (0, told)
    assert json.loads(out)["policies"][0]["requests"] == 1
    code, out, err = turnkeep("tokens", file, "--json")
    assert (code, err) == (0, told)
    assert json.loads(out)["sessions"][0]["model"] == "gpt-5"
    code, out, err = turnkeep("sessions", "import", file)
    assert (code, out, err) == (0, f"any: 2 events from {file}\n", told)


def test_an_imported_compaction_is_where_the_next_request_begins(folder, turnkeep):
    """And the whole conversation is still in the log."""
    lines = [
        {
            "type": kind,
            "uuid": f"u{place}",
            "parentUuid": f"u{place - 1}" if place else None,
            "sessionId": "s1",
            "isCompactSummary": place == 2,
            "message": {"role": kind, "content": [{"type": "text", "text": text}]},
        }
        for place, (kind, text) in enumerate(
            [("user", "one"), ("assistant", "two"), ("user", "summary"), ("user", "three")]
        )
    ]
    assert turnkeep("sessions", "import", write(folder / "log", *lines))[0] == 0
    _, context, _ = turnkeep("sessions", "show", "s1", "--context")
    assert context.split("\n")[1:-1] == ["    1.0 user summary", "    4.0 user three"]
    _, log, _ = turnkeep("sessions", "show", "s1", "--json")
    assert [entry["type"] for entry in json.loads(log)["log"]] == [
        "event",
        "event",
        "checkpoint",
        "event",
    ]


def test_a_log_cannot_drive_the_terminal(folder, turnkeep):
    """Names of types come from the file."""
    line = {"type": "session_meta", "payload": {"id": "s"}}
    item = {"type": "message", "role": "user", "content": "a"}
    file = write(
        folder / "log",
        line,
        {"type": "x\x1b[31m\u202e"},
        {"type": "response_item", "payload": item},
    )
    code, _, err = turnkeep("tokens", file)
    assert code == 0
    assert not set("\x1b\u202e") & set(err)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "not UTF-8 at byte 43"),
        (b"", "neither turnkeep JSONL"),
        (b'{"messages": [{"role": "user", "con', "neither turnkeep JSONL"),
        (b'{"type": "session_meta", "payload": {"id": "s"}}', "in which nothing was said"),
        (b"[" * 100_000, "neither turnkeep JSONL"),
        (b'{"messages": [{"role": "user", "content": 1e999}]}', "neither turnkeep JSONL"),
    ],
)
@pytest.mark.parametrize("command", [("replay",), ("tokens",), ("sessions", "import")])
def test_broken_files_are_told_in_one_sentence(folder, turnkeep, data, said, command):
    """Whatever command reads them."""
    (folder / "log").write_bytes(data)
    code, out, err = turnkeep(*command, "log")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--summarizer", "extracted"], "unknown summarizer 'extracted'; there are: extractive"),
        (["--summarizer", "recorded:gone.jsonl"], "summaries gone.jsonl: No such file"),
        (["--summarizer", "model:nobody:x"], "nobody"),
        (["--record-summaries", "out.jsonl"], "give --summarizer"),
        (["--summarizer", "extractive", "--record-summaries", "one.jsonl"], "would overwrite"),
    ],
)
def test_a_summarizer_that_cannot_be_had_is_refused(kept, turnkeep, args, said):
    """In one sentence, before anything is played; no file is left behind."""
    code, out, err = turnkeep("replay", "one.jsonl", *args)
    assert (code in {1, 2}, out, err.count("\n")) == (True, "", 1)
    assert said in err
    assert not list(kept.glob("out.jsonl*"))


def test_summaries_are_recorded_and_played_again(kept, turnkeep):
    """A file that says what the model is, even where nothing was asked."""
    asked = ["replay", "one.jsonl", "--format", "json", "--summarizer"]
    code, first, err = turnkeep(*asked, "extractive", "--record-summaries", "said.jsonl")
    assert (code, err) == (0, "")
    [head] = (kept / "said.jsonl").read_text().splitlines()
    assert json.loads(head)["model"] == "extractive"
    code, again, err = turnkeep(*asked, "recorded:said.jsonl")
    assert (code, err) == (0, "")
    [row] = json.loads(again)["policies"]
    assert (row["summaries"], row["summary_cost"]) == (0, 0)
    assert row["tokens_sent"] == json.loads(first)["policies"][0]["tokens_sent"]
    code, _, err = turnkeep(*asked, "recorded:said.jsonl", "--record-summaries", "more.jsonl")
    assert code == 2
    assert "recorded already" in err


def test_a_step_that_asks_is_played_with_a_summarizer(folder, turnkeep):
    """Refused without one; charged, and shown; the same from what was recorded."""
    pytest.importorskip("turnkeep_memory_summarize")
    lines = []
    for number in range(40):
        lines += [
            said("user", f"question {number} " + "q " * 80),
            said("assistant", f"answer {number} " + "a " * 80),
        ]
    write(folder / "long.jsonl", HEADER, *lines)
    policy = 'coding:max_tokens=3000,pipeline=["compact","summarize"]'
    asked = ["replay", "long.jsonl", "--policy", policy]
    code, out, err = turnkeep(*asked)
    assert (code, out) == (2, "")
    assert "--summarizer extractive, model:ID or recorded:FILE" in err
    code, shown, _ = turnkeep(
        *asked, "--summarizer", "extractive", "--record-summaries", "said.jsonl", "--html", "p.html"
    )
    assert code == 0
    assert "THEIR COST" in shown
    assert "Their cost" in (folder / "p.html").read_text()
    assert turnkeep(*asked, "--summarizer", "recorded:said.jsonl") == (0, shown, "")
    rows = json.loads(
        turnkeep(*asked, "--summarizer", "recorded:said.jsonl", "--format", "json")[1]
    )
    assert (
        rows["policies"][0]["summaries"]
        == len((folder / "said.jsonl").read_text().splitlines()) - 1
        > 0
    )
