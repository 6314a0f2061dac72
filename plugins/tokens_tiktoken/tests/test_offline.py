"""The vocabularies come with the packages: no network, no cache, nobody else disturbed."""

import pytest

COUNT = """
from turnkeep_tokens_tiktoken.counter import TiktokenCounter
for encoding in ("o200k_base", "o200k_harmony", "cl100k_base"):
    counter = TiktokenCounter(encoding)
    counter.load()
    print(*counter.count_texts(["hello world", "it'\\u017f \\u088f", "\\u0378" * 3]))
"""
COUNTS = ["2 6 6", "2 6 6", "2 7 6"]


@pytest.mark.parametrize("place", ["unset", "unwritable", "off"])
def test_no_network_whatever_the_cache(offline, tmp_path, place):
    """Neither without a cache folder, nor with one that cannot be made, nor with caching turned off."""
    blocked = tmp_path / "file"
    blocked.write_text("where a folder should be")
    variables = {
        "unset": {},
        "unwritable": {"TIKTOKEN_CACHE_DIR": str(blocked / "cache")},
        "off": {"TIKTOKEN_CACHE_DIR": ""},
    }[place]
    assert offline(COUNT, **variables) == COUNTS
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_tiktoken_itself_is_left_alone(offline):
    """Its loader, registry and definitions are those of before, while and after ours are made."""
    code = """
import os, threading
import tiktoken.load, tiktoken.registry, tiktoken_ext.openai_public as public
from turnkeep_tokens_tiktoken import vocabulary

def state():
    return (
        dict(vars(tiktoken.load)), dict(vars(public)), dict(tiktoken.registry.ENCODINGS),
        tiktoken.registry.ENCODING_CONSTRUCTORS, sys.modules["tiktoken_ext.openai_public"],
        dict(os.environ),
    )

before, during, carried = state(), [], vocabulary._carried
vocabulary._carried = lambda name: (during.append(state()), carried(name))[1]
vocabulary.reference("o200k_base")
print(len(during), during == [before], state() == before)
"""
    assert offline(code) == ["1 True True"]


def test_a_vocabulary_that_is_not_tiktokens_is_refused(offline):
    """One token changed: the hash that tiktoken asks for does not fit, and the sentence says so."""
    code = """
from turnkeep_tokens_tiktoken import vocabulary
carried = vocabulary._carried
vocabulary._carried = lambda name: [b"x", *carried(name)[1:]]
try:
    vocabulary.reference("cl100k_base")
except vocabulary.VocabularyError as error:
    print("cl100k_base" in str(error), "install versions that go together" in str(error))
"""
    assert offline(code) == ["True True"]


def test_eight_threads_at_once(offline):
    """First use by many at once: one makes the encoding, all count alike."""
    code = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from turnkeep_tokens_tiktoken import vocabulary
from turnkeep_tokens_tiktoken.counter import TiktokenCounter

made, carried, barrier = [], vocabulary._carried, Barrier(8)
vocabulary._carried = lambda name: (made.append(name), carried(name))[1]

def count(number):
    barrier.wait()
    encoding = ("o200k_base", "cl100k_base")[number % 2]
    return encoding, *TiktokenCounter(encoding).count_texts(["hello world", "it'\\u017f \\u088f"])

with ThreadPoolExecutor(8) as pool:
    print(*sorted(set(pool.map(count, range(8)))), sorted(made))
"""
    assert offline(code) == [
        "('cl100k_base', 2, 7) ('o200k_base', 2, 6) ['cl100k_base', 'o200k_base']"
    ]


def test_the_plugins_face_loads_neither_tokenizer(offline):
    """Listing plugins is quick: megabytes of vocabulary are loaded when the counter is opened."""
    code = """
import turnkeep_tokens_tiktoken.plugin as plugin
print([spec.name for spec in plugin.token_counters()])
print({"tiktoken", "toktok", "regex", "requests"} & sys.modules.keys())
"""
    assert offline(code) == ["['tiktoken']", "set()"]
