"""`turnkeep chat`: what a person types and sees, through LiteLLM against the strict server."""

import os
import select
import subprocess
import sys
import time

import pytest

from turnkeep.testing.provider import Call, Fault, ProviderServer, Say

pytest.importorskip("turnkeep_model_litellm")
TOML = '[session]\nstore = "sqlite"\n[session.sqlite]\npath = "s.db"\n'
TOOLS = """
from turnkeep import tool

@tool
def weather(city: str) -> str:
    "Say the weather."
    return f"sunny in {city}\\x1b[31m"

@tool(requires_confirmation=True, confirmation_message="Pay {amount} EUR?")
def pay(amount: int) -> str:
    "Pay."
    return f"paid {amount}"
"""


@pytest.fixture
def server():
    with ProviderServer(api_key="sk-1") as made:
        yield made
        assert made.rejected == []


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "turnkeep.toml").write_text(TOML)
    (tmp_path / "shop.py").write_text(TOOLS)
    return tmp_path


@pytest.fixture
def environment(server):
    return os.environ | {
        "OPENAI_API_BASE": server.base_url("openai-chat"),
        "OPENAI_API_KEY": "sk-1",
        "NO_COLOR": "1",
    }


COMMAND = (sys.executable, "-m", "turnkeep", "chat", "--model", "openai/gpt-4o-mini")


@pytest.fixture
def chat(folder, environment):
    """Chat with these lines typed; gives what is shown."""

    def run(*lines, args=("--tools", "shop.py"), code=0):
        done = subprocess.run(
            [*COMMAND, *args], cwd=folder, env=environment, input="\n".join([*lines, ""]),
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def test_a_conversation_with_tools_and_a_question(server, chat):
    """Calls, results, the question and the changed arguments are shown; nothing drives the screen."""
    server.answer(
        Say(calls=[Call("weather", {"city": "Ulm"}), Call("pay", {"amount": 500})]),
        Say("Sunny, and pa\x1bid."),
    )
    shown = chat("Book it.", "e", '{"amount": 5}').splitlines()
    told = [line for line in shown if not line.startswith("[")]
    assert told[:12] == [
        "session 'chat' begins here; /help lists commands",
        "you> Book it.",
        '→ weather {"city":"Ulm"}',
        "← weather: sunny in Ulm·[31m",
        "Pay 500 EUR?",
        '  pay {"amount":500}',
        "  [y]es, [n]o, [e]dit the arguments, or say why not: e",
        '  arguments as JSON, instead of {"amount": 500}',
        '  > {"amount": 5}',
        '→ pay {"amount":5}',
        "← pay: paid 5",
        "Sunny, and pa·id.",
    ]
    assert "kept in session 'chat'" in shown[-1]


@pytest.mark.prove
def test_tomorrow_it_goes_on_also_with_what_waits(server, chat):
    """The input ended in the middle of the question; it is asked again."""
    server.answer(Say(calls=[Call("pay", {"amount": 500})]))
    assert "undecided; /go asks again" in chat("Pay.")
    server.answer(Say("Then not."), Say("You wanted to pay."))
    shown = chat("too much", "What did I want?")
    assert "session 'chat': 1 inputs" in shown
    assert "Pay 500 EUR?" in shown
    assert "Then not." in shown
    assert "too much" in str(server.requests[1].body["messages"])


@pytest.mark.prove
def test_the_commands(server, chat):
    """Context, tokens, sessions, going back, a copy, another session, and what is no command."""
    server.answer(*(Say(f"answer {number}") for number in range(3)))
    shown = chat(
        "one", "two", "/context", "/tokens", "/rewind", "/fork copy", "three", "/go", "/sessions",
        "/open chat", "/rewnd", "/help", "/quit", "never said",
    )  # fmt: skip
    for expected in (
        "user messages      3",
        "ALL 2 CALLS",
        "taken back from here on: two",
        "`turnkeep sessions show chat --at 4`",
        "this is 'copy' now; 'chat' stays as it is",
        "*  copy",
        "session 'chat': 1 inputs",
        "there is no command /rewnd; did you mean /rewind?",
        "there is nothing to go on with: the answer stands",
        "/tokens    what this session has used",
    ):
        assert expected in shown, expected
    said = [m["content"] for m in server.requests[2].body["messages"]]
    assert said == ["one", "answer 0", "three"]
    assert "never said" not in shown


@pytest.mark.prove
def test_a_model_that_fails_is_told_and_asked_again(server, chat, folder):
    """What was said is kept."""
    (folder / "turnkeep.toml").write_text(f"{TOML}[model.litellm]\nretries = 0\n")
    server.answer(Fault.server_error(500), Say("here"))
    shown = chat("hello", "/go", args=())
    assert "! openai/gpt-4o-mini" in shown
    assert "what you said is kept: /go asks again" in shown
    assert "here" in shown
    assert len(server.requests[1].body["messages"]) == 1


def test_what_cannot_begin_says_why(chat, folder, environment):
    """No tools in a file, a file that is not there, no model."""
    (folder / "empty.py").write_text("x = 1\n")
    assert "empty.py: there is no tool in it" in chat(args=("--tools", "empty.py"), code=2)
    assert "nothing.py: FileNotFoundError" in chat(args=("--tools", "nothing.py"), code=2)
    done = subprocess.run(
        [sys.executable, "-m", "turnkeep", "chat"], cwd=folder, env=environment,
        input="", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--model local:smollm2" in done.stderr


class Terminal:
    """A chat in a terminal of its own, typed at."""

    def __init__(self, folder, environment):
        ours, theirs = os.openpty()
        self.shown = ""
        self.handle = ours
        self.process = subprocess.Popen(
            COMMAND, cwd=folder, env=environment | {"TERM": "xterm"},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509  # nothing of this process is used
        )  # fmt: skip
        os.close(theirs)

    def wait_for(self, text):
        end = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self.handle], [], [], 0.1)[0]:
                self.shown += os.read(self.handle, 4096).decode()

    def type(self, text):
        self.shown = ""
        os.write(self.handle, text.encode())


def _own_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.prove
def test_ctrl_c_stops_an_answer_and_ctrl_d_leaves(server, folder, environment):
    """What was shown of it is kept; the next line goes on."""
    server.answer(Say("word " * 400, fault=Fault.slow(between=0.05)), Say("the end"))
    terminal = Terminal(folder, environment)
    terminal.wait_for("you> ")
    terminal.type("tell me\r")
    terminal.wait_for("word word")
    terminal.type("\x03")
    terminal.wait_for("stopped; what was said so far is kept")
    terminal.wait_for("you> ")
    terminal.type("go on\r")
    terminal.wait_for("the end")
    terminal.wait_for("you> ")
    terminal.type("\x04")
    terminal.wait_for("kept in session 'chat'")
    assert terminal.process.wait(20) == 0
    os.close(terminal.handle)
    assert [m["role"] for m in server.requests[1].body["messages"]] == ["user", "user"]
