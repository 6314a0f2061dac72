"""The counter's one promise: its counts are tiktoken's."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnkeep_tokens_tiktoken import counter as module
from turnkeep_tokens_tiktoken import vocabulary
from turnkeep_tokens_tiktoken.counter import TiktokenCounter
from turnkeep_tokens_tiktoken.vocabulary import reference

ENCODINGS = ("o200k_base", "cl100k_base")

# Pieces in which a pattern of classes, contractions and white space can go wrong.
PIECES = [
    *(["'s", "'S", "'ſ", "'ſx", "'t", "'T", "'re", "'rE", "'ve", "'VE", "'m", "'M", "'ll", "'Ll", "'lL", "'d", "'D", "'ſs", "'s'", "'", "''", "’s"]),
    *(" ", "  ", "   ", "\t", "\n", "\n\n", "\r", "\r\n", " \n", "\n ", "\v", "\f", "\x1c", "\x1f"),
    *("\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u200b", "\u2028", "\u2029", "\u3000", "\ufeff"),
    *("\0", "\x07", "\x1b[31m", "\x7f", "\u200d", "\u202e", "\ufffd", "\uffff", "\ud800", "\udc00"),
    *("a", "A", "Ab", "aB", "ABC", "word", "ǅ", "ʰ", "ª", "ß", "ſ", "İ", "K", "é", "e\u0301", "\u0301"),
    *("0", "12", "1234", "²", "Ⅷ", "٣", "१२३", "〇", "𝟙", "½"),
    *("中", "文字", "かな", "カナ", "ー", "한글", "ไทย", "हिन्दी", "עברית", "العربية", "Ελλάδα", "Щи", "𐐀", "𠀀"),
    *("!", "/", "//", "...", "=", "====", "{", '"', '":"', "_", "-", "、", "。", "，", "！", "‘", "«"),
    *("🚀", "👩‍👩‍👧", "🏳️‍🌈", "⚠️", "\U0001fae9", "\U0001faea"),
    # Unassigned, private, and of Unicode 15 to 17.
    *("\u0378", "\U000e0fff", "\ue000", "\U0010ffff", "\u088f", "\u1acf", "\ua7ce", "\ua7f1"),
    *("\U00010940", "\U00010950", "\U00011de0", "\U00016ea0", "\U00016ebb", "\U000323b0", "\U0001e6e0"),
    *("<|endoftext|>", "<|endofprompt|>", "<|start|>", "<|fim_prefix|>", "<|endof", "text|>"),
    *('{"a": [1, null]}', "def f(x):\n    return x\n", "http://a.b/c?d=e", "fn main() {\n\t}\n\n"),
]  # fmt: skip
CUT_AFTER = "aZ09\u00b2\u00df\u03b1\u042f\u0587\u05d0\u0628\u0915\u0e01\u3042\u30ab\u4e2d\ud55c"
CUT_BEFORE = '\t\n\r !#(/:@[`{~"$,.-_=+<>?&\u3000\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f'
HOSTILE = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=24).map("".join),
    st.lists(
        st.one_of(
            st.sampled_from(PIECES),
            st.characters(),  # surrogates and unassigned code points are among them
            st.tuples(st.sampled_from(PIECES), st.integers(2, 60)).map(lambda two: two[0] * two[1]),
        ),
        max_size=24,
    ).map("".join),
)


def hostile_texts(seed, count):
    """Texts of a seed: from the pieces above, runs of them, and any code points."""
    choose = random.Random(seed)
    for _ in range(count):
        parts = []
        for _ in range(choose.randrange(1, 16)):
            kind = choose.random()
            if kind < 0.75:
                parts.append(choose.choice(PIECES))
            elif kind < 0.85:
                parts.append(choose.choice(PIECES) * choose.randrange(2, 20))
            elif kind < 0.93:
                parts.append(chr(choose.randrange(0x3000)))
            else:
                parts.append(chr(choose.randrange(0x110000)))
        yield "".join(parts)


def tiktoken_counts(encoding, texts):
    """The truth that the counter is held to."""
    return [len(reference(encoding).encode_ordinary(text)) for text in texts]


def differences(counter, texts):
    """The texts for which the counter and tiktoken differ, with both counts."""
    counted = counter.count_texts(texts)
    return [
        (text, ours, theirs)
        for text, ours, theirs in zip(
            texts, counted, tiktoken_counts(counter.encoding, texts), strict=True
        )
        if ours != theirs
    ]


EITHER = pytest.mark.parametrize("encoding", ENCODINGS)


@EITHER
@given(texts=st.lists(HOSTILE, max_size=4))
def test_counts_are_tiktokens(encoding, texts):
    """Any text, any number of them, each counted by itself."""
    assert differences(TiktokenCounter(encoding), texts) == []


@pytest.mark.prove
@EITHER
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(HOSTILE, min_size=1, max_size=8))
def test_counts_are_tiktokens_for_long(encoding, texts):
    """The same with many more of them."""
    assert differences(TiktokenCounter(encoding), texts) == []


@EITHER
@pytest.mark.parametrize("texts", [4_000, pytest.param(150_000, marks=pytest.mark.prove)])
def test_counts_of_random_texts_are_tiktokens(encoding, texts):
    """Runs, contractions, white space, control characters, code of many scripts, any code point."""
    counter = TiktokenCounter(encoding)
    assert differences(counter, list(hostile_texts(20 * texts, texts))) == []


@EITHER
def test_the_comparison_sees_the_characters_that_matter(encoding):
    """Were all counted by toktok, the same texts would show differences: the tests are no stub."""
    texts = [text.encode("utf-8", "replace").decode() for text in hostile_texts(1, 4_000)]
    assert vocabulary.count_quickly(encoding, texts) != tiktoken_counts(encoding, texts)


@EITHER
@given(HOSTILE, st.sampled_from(CUT_AFTER), st.sampled_from(CUT_BEFORE), HOSTILE)
def test_counts_add_up_across_a_cut(encoding, before, left, right, after):
    """Where the counter cuts, tiktoken itself counts both sides as it counts the whole."""
    one, two = before + left, right + after
    assert module._CUT.search(left + right)
    whole = tiktoken_counts(encoding, [_whole(one + two)])
    assert whole == [sum(tiktoken_counts(encoding, [_whole(one), _whole(two)]))]


def test_a_cut_stands_after_what_all_versions_take_for_a_letter_or_number():
    """Other tables than this Python's agree, and nothing that Unicode 17 added is among them."""
    import regex

    known = regex.compile(r"[\p{L}\p{N}]")
    for code in range(0x110000):
        if module._CUT.search(chr(code) + " "):
            assert known.match(chr(code)), hex(code)
            assert not any(first <= code <= last for first, last in module._NEW)


@pytest.mark.prove
@EITHER
def test_counts_add_up_across_every_cut(encoding):
    """All kinds of ends and beginnings, with all pieces around them."""
    odd = [piece for piece in PIECES if "\ud800" not in piece and "\udc00" not in piece]
    encode = reference(encoding).encode_ordinary
    for left in "aZ0\u00df\u0628\u4e2d":
        for right in CUT_BEFORE:
            for before in odd:
                one = before + left
                size = len(encode(one))
                for after in odd:
                    two = right + after
                    assert len(encode(one + two)) == size + len(encode(two)), (one, two)


@EITHER
@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_special_and_odd_pieces_between_words(encoding, piece):
    """Each by itself, doubled, between words, in capitals, at the ends of lines."""
    frames = ("{}", "{0}{0}", "a{}b", "a {} b", "A{}'S", "it{}s", "1{}2", " {}\n", "\n{} \n ")
    texts = [frame.format(piece) for frame in frames]
    assert differences(TiktokenCounter(encoding), texts) == []


@EITHER
def test_special_tokens_are_text(encoding):
    """What a user writes never counts as the control token it looks like."""
    [count] = TiktokenCounter(encoding).count_texts(["<|endoftext|>"])
    assert count > 1


@EITHER
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HOSTILE, inner, max_size=4),
    ),
    st.booleans(),
)
def test_json_counts_as_tiktoken_counts_it(encoding, value, escaped):
    """As it is sent, with and without escapes."""
    text = json.dumps(value, ensure_ascii=escaped)
    assert differences(TiktokenCounter(encoding), [text]) == []


@EITHER
def test_a_batch_counts_like_single_texts(encoding):
    """The order is kept, nothing leaks from one text to the next, none at all is fine."""
    counter = TiktokenCounter(encoding)
    texts = ["", *hostile_texts(7, 500), "plain", ""]
    assert counter.count_texts(texts) == [counter.count_texts([text])[0] for text in texts]
    assert counter.count_texts([]) == []
    assert counter.count_texts([""]) == [0]


@EITHER
def test_recorded_sessions_count_as_tiktoken_counts_them(encoding, transcripts):
    """Every text of every recorded session: as it is, as a line of JSON, all values by themselves."""
    counter, counted = TiktokenCounter(encoding), 0
    for path in transcripts:
        with path.open(encoding="utf-8", newline="\n") as lines:
            known = set()
            for line in lines:
                known.add(line)
                known.update(strings(json.loads(line)))
            assert differences(counter, sorted(known)) == []
            counted += len(known)
    assert counted > 1000


# Letters, marks and numbers show by contractions and case, digits by groups, white space by lines.
CONTEXTS = ("A{0}'S{0}a", "the{0}The  {0}'s 12{0}345", " {0}{0}\n\n{0}", "\u3042{0}/{0}, {0}")


@pytest.mark.prove
@pytest.mark.timeout(1800)
@EITHER
def test_every_code_point_counts_as_tiktoken_counts_it(encoding):
    """All 1.1 million in four contexts; toktok alone differs on what Unicode 17 added, nowhere else."""
    counter, differing = TiktokenCounter(encoding), set()
    for context in CONTEXTS:
        for start in [*range(0, 0xD800, 0x800), *range(0xE000, 0x110000, 0x800)]:
            codes = range(start, start + 0x800)
            texts = [context.format(chr(code)) for code in codes]
            truth = tiktoken_counts(encoding, texts)
            assert counter.count_texts(texts) == truth
            alone = vocabulary.count_quickly(encoding, texts)
            differing |= {
                code for code, *both in zip(codes, alone, truth, strict=True) if both[0] != both[1]
            }
    added = {code for first, last in module._NEW for code in range(first, last + 1)}
    assert differing <= added
    # Marks are no class of their own in the pattern of cl100k_base.
    assert len(differing) == {"o200k_base": 4699, "cl100k_base": 4657}[encoding]


def strings(value):
    """All texts inside a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def _whole(text):
    """Lone surrogates replaced first: a cut never falls into a pair, as both its sides are known."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
