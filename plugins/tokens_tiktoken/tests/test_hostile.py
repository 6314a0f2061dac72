"""Hostile input is counted, never an exception, and costs no more than its size."""

import json

import pytest

from turnkeep_tokens_tiktoken.counter import MAX_PIECE, TiktokenCounter
from turnkeep_tokens_tiktoken.vocabulary import reference

EITHER = pytest.mark.parametrize(
    "encoding", ["o200k_base", pytest.param("cl100k_base", marks=pytest.mark.prove)]
)
UNASSIGNED, NEW = "\u0378", "\u088f"
RUNS = [
    " ",
    "\n",
    "\t",
    "a",
    "A",
    "=",
    "0",
    "ſ",
    "'ſ",
    "中",
    "\u0301",
    "🚀",
    UNASSIGNED,
    NEW,
    "\ud800",
]


@EITHER
@pytest.mark.parametrize("run", RUNS, ids=ascii)
def test_ten_megabytes_of_one_character(encoding, run, given_to_tiktoken):
    """Counted, in proportion to its length; tiktoken, which panics on some of them, sees none."""
    counter = TiktokenCounter(encoding)
    size = 10_000_000 // len(run.encode("utf-8", "surrogatepass"))
    [tenth, whole] = counter.count_texts([run * (size // 10), run * size])
    assert 0 < 9.9 * tenth <= whole <= 10.1 * tenth <= 101 * size
    assert given_to_tiktoken == []


@EITHER
@pytest.mark.parametrize("run", RUNS, ids=ascii)
def test_runs_that_tiktoken_can_take_count_as_it_counts_them(encoding, run):
    """Up to the longest piece it is given, and four times that."""
    for size in (MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, 4 * MAX_PIECE):
        text = run * (size // len(run))
        if run in ("'ſ", NEW) and len(text) > MAX_PIECE:
            continue  # toktok's count, by the rule; see below
        [count] = TiktokenCounter(encoding).count_texts([text])
        assert count == len(reference(encoding).encode_ordinary(text))


@pytest.mark.parametrize("first", ["", "\u0301", "!", "A", "'", " ", "\n", "\u0378"], ids=ascii)
@pytest.mark.parametrize(
    "run", ["A", "a", "ǅ", "中", "ʰ", "\u0301", " ", "\t", "\n", "\r", "!", "1"]
)
@EITHER
def test_the_longest_piece_is_far_from_what_tiktoken_fails_on(encoding, first, run):
    """Four times as long, whatever makes its regular expression go back furthest, it still counts."""
    for last in ("", "'s", "x", " "):
        text = first + run * (4 * MAX_PIECE) + last
        assert reference(encoding).encode_ordinary(text)


@EITHER
def test_only_too_long_a_piece_is_not_exact(encoding, given_to_tiktoken):
    """The one exception: its count is toktok's, and what stands around it is counted as ever."""
    counter = TiktokenCounter(encoding)
    odd = NEW * (MAX_PIECE + 1)
    [alone, around] = counter.count_texts([odd, f"it{NEW} is a {odd} b and{NEW}"])
    assert given_to_tiktoken == [f"it{NEW} is", f" and{NEW}"]
    assert alone < around < alone + 30


@EITHER
@pytest.mark.parametrize("odd", [UNASSIGNED, NEW, "'ſ"], ids=ascii)
def test_tiktoken_gets_the_odd_words_only(encoding, odd, given_to_tiktoken):
    """One strange character in a long text costs one word by the slower way."""
    text = "some usual words, and {more} of them.\n" * 10_000
    [usual] = TiktokenCounter(encoding).count_texts([text])
    [count] = TiktokenCounter(encoding).count_texts([f"{text}an odd{odd} word. {text}"])
    assert [odd in run for run in given_to_tiktoken] == [True]
    assert sum(map(len, given_to_tiktoken)) < 20
    assert 2 * usual < count < 2 * usual + 20


@EITHER
@pytest.mark.parametrize("frame", ["word{} ", "{} ", "{}a,", "中{}、", "{}\n"])
@pytest.mark.parametrize("odd", [UNASSIGNED, NEW, "'ſ"], ids=ascii)
def test_the_slower_way_is_linear_too(encoding, frame, odd, given_to_tiktoken):
    """A text of nothing but odd words: tiktoken is given each character once, and no long run."""
    text = frame.format(odd) * 30_000
    [count] = TiktokenCounter(encoding).count_texts([text])
    assert sum(map(len, given_to_tiktoken)) <= len(text)
    assert max(map(len, given_to_tiktoken), default=0) <= MAX_PIECE
    assert count == len(reference(encoding).encode_ordinary(text)) or not given_to_tiktoken


@EITHER
def test_a_text_of_every_character(encoding):
    """All code points in one text, in order and spread out."""
    every = [chr(code) for code in range(0x110000)]
    counter = TiktokenCounter(encoding)
    joined, spread = counter.count_texts(["".join(every), "a ".join(every[:0x18000])])
    assert len(every) < joined < 4 * len(every)
    assert 2 * 0x18000 < spread < 6 * 0x18000


@EITHER
def test_surrogates_count_as_tiktoken_counts_them(encoding):
    """Halves as U+FFFD, pairs as the character they make."""
    texts = ["\ud800", "\udc00\ud800", "a\udfffb", "\ud83d\ude80", "x \ud800\ud83d\ude80\udc00 y"]
    counts = TiktokenCounter(encoding).count_texts(texts)
    assert counts == [len(reference(encoding).encode_ordinary(text)) for text in texts]
    assert counts[:1] + counts[3:4] == TiktokenCounter(encoding).count_texts(["\ufffd", "🚀"])


@EITHER
def test_deep_json(encoding):
    """Depth means nothing to a counter."""
    deep = "[" * 200_000 + "]" * 200_000
    objects = '{"a":' * 100_000 + json.dumps("ſ\u0378") + "}" * 100_000
    counts = TiktokenCounter(encoding).count_texts([deep, objects])
    assert counts == [len(reference(encoding).encode_ordinary(text)) for text in (deep, objects)]
