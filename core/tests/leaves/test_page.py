"""The page of a replay: its data is that of the JSON, it loads nothing, and text stays text."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from turnkeep.content import Message, ToolCall, ToolDefinition, ToolResult
from turnkeep.formats import PROFILE_NAMES, get_profile
from turnkeep.prices import PriceRow
from turnkeep.replay.html import Page
from turnkeep.replay.policies import Everything, Outgoing, TutorialWindow
from turnkeep.replay.recording import Recording
from turnkeep.replay.report import HEAD, as_json, figures
from turnkeep.replay.run import replay, total
from turnkeep.replay.terms import Terms
from turnkeep.testing.letters import Letters

ROW = PriceRow("row", write=2, read=0.1, output=5, minimum=0, step=1, lifetime=10, lookback=20)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "</script><script>document.title='x'</script><!-- <img src=//x> & \u2028 \u202e\u200f \" ' </pre>"


class Rewriting:
    """Rewrites the context at the second call, and cannot send the third."""

    label = "rewriting:<b>"

    async def play(self, recording, terms):
        for number, place in enumerate(recording.calls):
            report = {"reason": HOSTILE, "steps": [{"name": "notes", "before": 9, "after": 3}]}
            yield Outgoing(
                [],
                terms.profile.render(recording.items[:place]),
                number,
                checkpoint=number == 1,
                report=report if number == 1 else None,
                overflow=HOSTILE if number == 2 else None,
                limit=400,
            )


def items(text):
    made = [Message(role="user", content=text)]
    for number in range(3):
        made.append(
            ToolCall(
                tool_call_id=f"c{number}", name="read_file", arguments={"path": f"{text}{number}"}
            )
        )
        made.append(
            ToolResult(tool_call_id=f"c{number}", name="read_file", content=[text, "12345"])
        )
    return made


RECORDINGS = [
    Recording.of_items(f"one {HOSTILE}", items(HOSTILE), [ToolDefinition(name="read_file")]),
    Recording.of_items("silent", [Message(role="user", content="hi")]),
    Recording.of_items("two", items("src/a.py")),
]
POLICIES = [Everything(), TutorialWindow(2), Rewriting()]


class Parsed(HTMLParser):
    """A page as a browser reads it: its elements, its data, and the cells of its tables."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.rows, self.styles = [], {}, [], []
        self._open = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open == "script":
            name = self.elements[-1][1].get("id", "code")
            self.scripts[name] = self.scripts.get(name, "") + data
        elif self._open == "style":
            self.styles.append(data)
        elif self._open in {"td", "th"}:
            self.rows[-1][-1] += data

    def data(self, name):
        return json.loads(self.scripts[name])


async def page_of(recordings=RECORDINGS, policies=POLICIES, profile="openai-chat"):
    """Play and give the text of the page, the outcomes, the terms and the requests."""
    out, requests = io.StringIO(), []
    terms = Terms(get_profile(profile), ROW, Letters())
    page = Page(out)
    played = await replay(recordings, policies, terms, requests.append, watch=page.see)
    page.finish(recordings, played, played[0], terms)
    return out.getvalue(), played, terms, requests


async def test_its_figures_are_those_of_the_json():
    """In its data, in the tables, and summed over its calls."""
    text, played, terms, _ = await page_of()
    page = Parsed(text)
    assert page.data("figures") == as_json(played, played[0], terms)
    whole = total(played[0])
    assert page.rows[0] == [name.capitalize() for name in HEAD]
    assert page.rows[1:4] == [list(figures(total(outcomes), whole)) for outcomes in played]
    for number, place in enumerate((0, 2)):
        for calls, outcomes in zip(page.data(f"calls-{number}"), played, strict=True):
            told = outcomes[place]
            sent = [call for call in calls if call["overflow"] is None]
            assert len(calls) - len(sent) == told.overflows
            assert sum(call["tokens"] for call in sent) == told.tokens_sent
            assert sum(call["cached"] for call in calls) == told.cached_tokens
            assert all(c["cached"] + c["written"] + c["plain"] == c["tokens"] for c in sent)
            assert sum(bool(call["violations"]) for call in calls) == told.invalid
            assert [sum(call["facts"][n] for call in calls) for n in range(4)] == [
                told.facts, told.visible, told.original, told.in_place,
            ]  # fmt: skip


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_every_request_can_be_put_together(profile):
    """Each call names its messages; they are those that were sent, but for cache markers."""
    text, _, _, requests = await page_of(profile=profile)
    page = Parsed(text)
    found = []
    for number in range(2):
        messages = page.data(f"messages-{number}")
        assert len({json.dumps(message) for message in messages}) == len(messages)
        for calls in page.data(f"calls-{number}"):
            sent = []
            for call in calls:
                sent = [*sent[: call["keep"]], *call["new"]]
                bodies = [messages[place][1] for place in sent]
                if bodies and "tools" in bodies[0]:
                    bodies = bodies[1:]
                found.append(bodies)
                assert sum(messages[place][0] for place in sent) <= call["tokens"]
    assert found == [_bare(request["messages"]) for request in requests]


def _bare(value):
    if isinstance(value, dict):
        return {key: _bare(below) for key, below in value.items() if key != "cache_control"}
    return [_bare(below) for below in value] if isinstance(value, list) else value


async def test_checkpoints_and_overflows_are_told():
    """Reports as they are, and links to their calls beside the plot."""
    text, *_ = await page_of()
    page = Parsed(text)
    calls = page.data("calls-0")[2]
    assert [call["checkpoint"] for call in calls] == [False, True, False]
    assert calls[1]["report"]["steps"] == [{"name": "notes", "before": 9, "after": 3}]
    assert (calls[2]["overflow"], calls[0]["limit"]) == (HOSTILE, 400)
    links = [about["href"] for tag, about in page.elements if tag == "a"]
    assert links == ["#1.3.2", "#1.3.3", "#2.3.2", "#2.3.3"]
    assert sum(tag == "svg" for tag, _ in page.elements) == 6


async def test_it_loads_nothing():
    """No address but within the page, and its own policy lets only its own code run."""
    text, *_ = await page_of([RECORDINGS[2]])
    page = Parsed(text)
    for _, about in page.elements:
        assert not {"src", "srcset", "data", "action", "style", "onclick"} & set(about)
        assert about.get("href", "#").startswith("#")
    [style] = page.styles
    assert not re.search(r"url\(|@import|https?:", style + page.scripts["code"])
    [policy] = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    for kind, code in (("style", style), ("script", page.scripts["code"])):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


async def test_hostile_text_stays_text():
    """It ends no element, makes none, and turns no reading direction of the file."""
    tame, *_ = await page_of([Recording.of_items("one", items("tame"))])
    text, *_ = await page_of([Recording.of_items(f"one {HOSTILE}", items(HOSTILE))])
    shapes = [[tag for tag, _ in Parsed(page).elements if tag != "path"] for page in (tame, text)]
    assert shapes[0] == shapes[1]
    assert not set("\u2028\u202e\u200f") & set(text)
    # A browser ends a script at `</script` and a space, too, and at more behind `<!--`.
    data = [script for name, script in Parsed(text).scripts.items() if name != "code"]
    assert len(data) == 5
    assert not any("<" in script for script in data)
    [messages] = [value for name, value in Parsed(text).scripts.items() if name == "messages-0"]
    assert any(body.get("content") == HOSTILE for _, body in json.loads(messages))


@pytest.mark.parametrize("recordings", [[], [RECORDINGS[1]]])
async def test_nothing_to_show_is_a_page_too(recordings):
    """Recordings without a call, or none at all: the table is there, and no plot."""
    page = Parsed((await page_of(recordings))[0])
    assert [row[1] for row in page.rows[1:4]] == ["0"] * 3
    assert [row["requests"] for row in page.data("figures")["sessions"]] == [0] * 3 * len(
        recordings
    )
    assert not any(tag in {"svg", "figure"} for tag, _ in page.elements)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
async def test_a_browser_shows_the_request_at_a_call(tmp_path):
    """By its address; the hostile text is there to read and did nothing."""
    file = tmp_path / "page.html"
    file.write_text((await page_of())[0], encoding="utf-8", newline="\n")
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000", "--dump-dom", f"{file.as_uri()}#1.3.2",
        ],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    shown = Parsed(done.stdout)
    assert "Request at call 2, rewriting" in done.stdout
    assert "<title>What each policy would have sent</title>" in done.stdout
    assert ["notes", "9", "3"] in shown.rows
    assert not any(tag == "img" for tag, _ in shown.elements)
    assert "\u27e8U+202E\u27e9" in done.stdout
