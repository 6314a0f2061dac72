"""The estimating token counter: bounds, additivity, cost of long texts, accuracy."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.tokens import EstimateCounter, TokenCounter
from turnkeep.tokens import estimate as module

TRANSCRIPTS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "transcripts"
ANY_TEXT = st.text(st.characters(exclude_categories=()))
COUNTER = EstimateCounter()


def count(text: str) -> int:
    """The estimate of one text."""
    return COUNTER.count_texts([text])[0]


def test_is_a_token_counter_that_is_never_exact() -> None:
    """The estimate has the interface of a counter and claims to be exact for no model."""
    counter: TokenCounter = EstimateCounter()
    assert counter.name == "estimate"
    assert not counter.exact("gpt-4o")


def test_empty_text_has_no_tokens() -> None:
    """An empty text has no tokens, no texts have no counts."""
    assert COUNTER.count_texts([""]) == [0]
    assert COUNTER.count_texts([]) == []


@given(ANY_TEXT.filter(bool))
def test_lies_between_one_and_the_utf8_length(text: str) -> None:
    """Any non-empty text, lone surrogates included, has 1 token to its length in bytes."""
    estimate = count(text)
    assert isinstance(estimate, int)
    assert 1 <= estimate <= len(text.encode("utf-8", "surrogatepass"))


@given(st.lists(ANY_TEXT))
def test_texts_are_counted_each_by_itself(texts: list[str]) -> None:
    """Counts stand in the order of the texts and do not depend on the others, or on the cache."""
    together = COUNTER.count_texts(texts)
    module._cost.cache_clear()
    assert together == [count(text) for text in texts]


def test_special_tokens_are_plain_text() -> None:
    """The spelling of a special token is counted as the text it is, not as one token."""
    assert count("<|endoftext|>") > 1


@given(ANY_TEXT, ANY_TEXT)
def test_joining_texts_adds_little(left: str, right: str) -> None:
    """Joined texts cost at most a few tokens more than the two apart."""
    assert count(left + right) <= count(left) + count(right) + 8


@given(ANY_TEXT)
def test_repeating_a_text_does_not_lower_the_count(text: str) -> None:
    """A text said twice is not counted lower than said once."""
    assert count(text + "\n" + text) >= count(text)


@pytest.mark.parametrize("char", ["a", "A", "0", " ", "\n", "\t", ".", '"', "é", "中", "\ud800"])
def test_pieces_are_bounded_whatever_the_text(char: str) -> None:
    """A run of one character is cut into short pieces: linear work and a small cache."""
    pieces = module._pieces().findall(char * 100_000)
    assert sum(map(len, pieces)) == 100_000
    assert max(map(len, pieces)) <= 129


@given(ANY_TEXT)
def test_pieces_cover_the_text(text: str) -> None:
    """No character is left out of the count."""
    assert "".join(module._pieces().findall(text)) == text


@pytest.mark.parametrize("char", ["a", " ", "0", "中", "\ud800"])
def test_a_long_run_is_counted_in_proportion(char: str) -> None:
    """Ten times the length is ten times the count: no limit, no overflow, no other rule."""
    short, long = count(char * 200_000), count(char * 2_000_000)
    assert 9.9 * short <= long <= 10.1 * short


@cache
def reference() -> Callable[[str], int]:
    """The o200k_base count of a text; skips the test where no tokenizer is installed."""
    bpe_openai = pytest.importorskip(
        "bpe_openai", reason="bpe_openai is not installed: no o200k_base counts to compare with"
    )
    encode = bpe_openai.get_encoding("o200k_base").encode_ordinary
    return lambda text: len(encode(text))


REALISTIC = {
    "English": "The counter reads every message once and remembers how long it was.",
    "Russian": "Счётчик читает каждое сообщение один раз и запоминает его длину.",
    "Greek": "Ο μετρητής διαβάζει κάθε μήνυμα μία φορά και θυμάται το μήκος του.",
    "Arabic": "يقرأ العداد كل رسالة مرة واحدة ويتذكر طولها.",
    "Hebrew": "המונה קורא כל הודעה פעם אחת וזוכר את אורכה.",
    "Hindi": "गणक हर संदेश को एक बार पढ़ता है और उसकी लंबाई याद रखता है।",
    "Thai": "ตัวนับอ่านข้อความแต่ละข้อความหนึ่งครั้งและจำความยาวไว้",
    "Chinese": "计数器只读取每条消息一次，并记住它的长度。",
    "Japanese": "カウンターは各メッセージを一度だけ読み、その長さを覚えます。",
    "Korean": "카운터는 각 메시지를 한 번 읽고 그 길이를 기억합니다.",
    "Turkish": "Sayaç her iletiyi bir kez okur ve uzunluğunu anımsar.",
    "Vietnamese": "Bộ đếm đọc mỗi tin nhắn một lần và ghi nhớ độ dài của nó.",
    "emoji": "Done 🚀 all tests pass ✅ but one warning ⚠️ remains 😅",
    "box drawing": "src\n├── main.py\n│   └── util.py\n└── tests\n──────────────\n",
    "JSON": json.dumps({"path": "src/main.py", "lines": [1, 2, 3], "ok": True}),
    "base64": "Zm9vYmFyIGJheiBxdXV4IHRoZSBxdWljayBicm93biBmb3g2kQ9xV3pLw0aT",
    "UUID": "3f2b8c1e-9d47-4a6b-8e21-7c5d0f9a1b34",
}


@pytest.mark.parametrize("text", REALISTIC.values(), ids=REALISTIC.keys())
def test_realistic_text_is_not_underestimated(text: str) -> None:
    """Text in common scripts and formats is counted high, and at most three times too high."""
    tokens = reference()(text * 5)
    assert tokens <= count(text * 5) <= 3 * tokens


def compact(value: object) -> str:
    """The value as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def item_texts(item: dict[str, Any]) -> list[str]:
    """The texts of one recorded item that a model is sent."""
    if item["type"] == "message":
        return [item["content"]]
    if item["type"] == "tool_call":
        return [item["name"], compact(item["arguments"])]
    return item["content"]


def sessions() -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Each recorded session: its name, the texts of its tools, the texts of each item."""
    for path in sorted(TRANSCRIPTS.glob("*/*.jsonl")):
        lines = path.read_bytes().decode().split("\n")
        head, *items = (json.loads(line) for line in lines if line)
        yield path.stem, [compact(tool) for tool in head["tools"]], [item_texts(i) for i in items]


def requests(
    tools: tuple[int, int], items: list[tuple[int, int]]
) -> Iterator[tuple[str, int, int]]:
    """What, tokens, estimate: growing prefixes, windows of up to 20 items, single items."""
    tokens, estimate = tools
    for at, item in enumerate(items):
        tokens, estimate = tokens + item[0], estimate + item[1]
        yield f"items 0 to {at}", tokens, estimate
        yield f"item {at}", *item
        window = [sum(column) for column in zip(*items[at : at + 20], strict=True)]
        yield f"20 items from {at}", window[0], window[1]
        yield f"20 items from {at} and tools", window[0] + tools[0], window[1] + tools[1]


def test_requests_of_recorded_agents_are_estimated_a_little_high() -> None:
    """No request or text is underestimated; from 2,000 tokens on the ratio is at most 1.30."""
    if not TRANSCRIPTS.is_dir():
        pytest.skip(f"the recorded transcripts are missing: there is no folder {TRANSCRIPTS}")
    tokens_of = reference()

    def both(texts: list[str]) -> tuple[int, int]:
        return sum(map(tokens_of, texts)), sum(COUNTER.count_texts(texts))

    ratios = []
    for name, tools, items in sessions():
        for text in [*tools, *(text for item in items for text in item)]:
            assert count(text) >= tokens_of(text), f"{name}: underestimated: {text[:200]!r}"
        for what, tokens, estimate in requests(both(tools), [both(item) for item in items]):
            assert estimate >= tokens, f"{name}: {what} underestimated"
            if tokens >= 2_000:
                assert estimate <= 1.30 * tokens, f"{name}: {what} overestimated"
                ratios.append(estimate / tokens)
    assert ratios, "no sessions in the transcripts folder"
    assert 1.10 <= sum(ratios) / len(ratios) <= 1.20
