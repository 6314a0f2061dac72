"""Which encoding a model has, and for which models counts are exact."""

import pytest
from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

from turnkeep_tokens_tiktoken.counter import TiktokenCounter
from turnkeep_tokens_tiktoken.vocabulary import CARRIED, VocabularyError, encoding_name, reference

MODELS = {
    "gpt-5": "o200k_base",
    "gpt-5-mini": "o200k_base",
    "gpt-4o": "o200k_base",
    "gpt-4.1-nano": "o200k_base",
    "o3": "o200k_base",
    "gpt-4": "cl100k_base",
    "gpt-3.5-turbo-0125": "cl100k_base",
    "gpt-oss-120b": "o200k_harmony",
    "text-davinci-003": "p50k_base",
}
UNKNOWN = [
    "",
    "claude-sonnet-4-5",
    "anthropic/claude-opus-4",
    "gemini-2.5-pro",
    "my/own/model",
    "/",
]


@pytest.mark.parametrize(("model", "encoding"), MODELS.items())
@pytest.mark.parametrize("provider", ["", "openai/", "openrouter/openai/", "azure/"])
def test_a_model_has_its_encoding_with_and_without_provider(model, encoding, provider):
    """The name after the last slash decides."""
    assert encoding_name(provider + model) == encoding


@pytest.mark.parametrize("model", UNKNOWN)
def test_other_models_have_none(model):
    """They are counted by o200k_base, and that is not called exact."""
    assert encoding_name(model) is None
    counter = TiktokenCounter(follow_models=True).for_model(model)
    assert (counter.encoding, counter.exact(model)) == ("o200k_base", False)


@pytest.mark.parametrize(("model", "encoding"), MODELS.items())
def test_following_a_model(model, encoding):
    """Its own encoding where that is carried, and exact for it alone."""
    counter = TiktokenCounter(follow_models=True).for_model(f"openai/{model}")
    carried = encoding in CARRIED
    assert counter.encoding == (encoding if carried else "o200k_base")
    assert counter.name == f"tiktoken:{counter.encoding}"
    assert counter.exact(model) == carried
    assert [other for other in MODELS if counter.exact(other)] == [
        other for other, name in MODELS.items() if name == counter.encoding
    ]


def test_following_one_model_after_another():
    """A counter that came from one model gives those of others, and the default again."""
    counter = TiktokenCounter(follow_models=True)
    for model, encoding in [("gpt-4", "cl100k_base"), ("gpt-oss-20b", "o200k_harmony")]:
        counter = counter.for_model(model)
        assert counter.encoding == encoding
        assert counter.for_model(model) is counter
    assert counter.for_model("unheard-of").encoding == "o200k_base"


def test_a_chosen_encoding_stays():
    """Whoever names an encoding gets it for every model."""
    counter = TiktokenCounter("cl100k_base")
    assert counter.for_model("gpt-5") is counter
    assert not counter.exact("gpt-5")
    assert counter.exact("gpt-4")


def test_models_of_one_vocabulary_differ_in_special_tokens_only():
    """o200k_harmony counts text as o200k_base does."""
    texts = ["plain text", "<|start|>assistant<|message|>", "it'ſ \u088f"]
    one, two = TiktokenCounter("o200k_base"), TiktokenCounter("o200k_harmony")
    assert one.count_texts(texts) == two.count_texts(texts)


def test_all_models_that_tiktoken_knows_are_known():
    """Names and beginnings alike."""
    for model, encoding in MODEL_TO_ENCODING.items():
        assert encoding_name(f"openai/{model}") == encoding
    for start in MODEL_PREFIX_TO_ENCODING:
        assert encoding_name(f"{start}x") is not None


def test_a_vocabulary_that_is_not_carried_is_refused():
    """Never fetched: the sentence says what does not go together."""
    with pytest.raises(VocabularyError, match="p50k_base"):
        reference("p50k_base")
