"""Texts are counted once, and a counter that fails is replaced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.tokens.counter import counter_for
from turnkeep.tokens.estimate import EstimateCounter
from turnkeep.tokens.memo import Memo


class Letters:
    """Counts characters, and notes what it was asked."""

    def __init__(self, name="letters", exact=()):
        self.name = name
        self.asked = []
        self._exact = exact

    def count_texts(self, texts):
        self.asked += texts
        return [len(text) for text in texts]

    def exact(self, model):
        return model in self._exact


class Choosy(Letters):
    """Counts the models that begin with "two" by another way."""

    def for_model(self, model):
        return Letters("two") if model.startswith("two") else self


class Broken(Letters):
    """Counts once, then never again."""

    def count_texts(self, texts):
        if self.asked:
            raise OSError("gone")
        return super().count_texts(texts)


texts = st.lists(st.text(max_size=5) | st.text("ab", min_size=45, max_size=60), max_size=20)


@given(st.lists(texts, max_size=5), st.integers(1, 10))
def test_counts_are_those_of_the_counter(calls, capacity):
    """Whatever was asked before, repeated or forgotten."""
    memo = Memo(Letters(), capacity=capacity)
    for call in calls:
        assert memo.count_texts(call) == [len(text) for text in call]
        assert len(memo._counts) <= capacity


def test_a_text_is_counted_once():
    """Within a call and over calls, short or long, also one that UTF-8 cannot hold."""
    counter = Letters()
    memo = Memo(counter)
    long = "x" * 100 + "\ud800"
    assert memo.count_texts(["a", long, "a"]) == [1, 101, 1]
    assert memo.count_texts([long, "b"]) == [101, 1]
    assert counter.asked == ["a", long, "b"]


def test_what_was_asked_last_is_forgotten_last():
    """The memory is bounded."""
    counter = Letters()
    memo = Memo(counter, capacity=2)
    memo.count_texts(["a", "bb"])
    memo.count_texts(["a"])
    memo.count_texts(["ccc"])
    memo.count_texts(["a"])
    assert counter.asked == ["a", "bb", "ccc"]


def test_models_have_counters_of_their_own():
    """Where the counter knows a better way for one."""
    memo = Memo(Choosy(exact={"one"}))
    assert counter_for(memo, "one") is memo
    assert counter_for(memo, "two-b").name == "two"
    assert counter_for(memo, "two-b") is counter_for(memo, "two-c")
    assert counter_for(Letters(), "two").name == "letters"
    assert memo.exact("one")
    assert not memo.exact("other")


def test_a_counter_that_fails_is_replaced_and_named_once(caplog):
    """The run goes on with estimates."""
    memo = Memo(Broken())
    assert memo.count_texts(["abc"]) == [3]
    assert memo.count_texts(["hello world"])[0] > 0
    memo.count_texts(["again"])
    assert memo.name == "estimate (in place of letters: OSError)"
    assert not memo.exact("one")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "letters cannot be used (OSError): tokens are estimated" in caplog.text


class Odd(Letters):
    """Gives what are no counts, or raises where a name or a model is asked for."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def count_texts(self, texts):
        return {
            "short": [1] * (len(texts) - 1),
            "none": None,
            "negative": [-1] * len(texts),
            "float": [1.5] * len(texts),
        }.get(self.fault, [1] * len(texts))

    def for_model(self, model):
        if self.fault == "for_model":
            raise RuntimeError("no such model")
        return self

    def exact(self, model):
        if self.fault == "exact":
            raise RuntimeError("no such model")
        return False


@pytest.mark.parametrize("fault", ["short", "none", "negative", "float", "for_model", "exact"])
def test_whatever_a_counter_does_wrong_texts_are_counted(fault):
    """No call raises, and the counter is given up."""
    memo = Memo(Odd(fault))
    assert not memo.for_model("m").exact("m")
    assert all(count > 0 for count in memo.count_texts(["hello", "world"]))
    assert memo.name.startswith("estimate (in place of letters")


def test_a_counter_given_up_in_the_middle_leaves_one_way_of_counting():
    """Texts that it had counted are counted anew beside the new ones."""
    memo = Memo(Broken())
    memo.count_texts(["x" * 30])
    texts = ["x" * 30, "y" * 30]
    assert memo.count_texts(texts) == EstimateCounter().count_texts(texts)


def test_what_a_counter_says_of_a_text_is_not_logged(caplog):
    """Its sentence may hold the conversation."""

    class Telling(Letters):
        def count_texts(self, texts):
            raise ValueError(f"cannot count {texts[0]}")

    Memo(Telling()).count_texts(["my secret"])
    assert "secret" not in "".join(record.getMessage() for record in caplog.records)
