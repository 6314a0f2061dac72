"""The plugin, chosen in turnkeep.toml."""

import pytest

import turnkeep
from turnkeep.errors import ConfigError
from turnkeep.plugins import Plugins


def chosen(**options):
    """A configuration with this counter."""
    tokens = {"counter": "tiktoken", **({"tiktoken": options} if options else {})}
    return {"session": {"store": "memory"}, "tokens": tokens}


async def test_it_counts_what_a_turn_sends():
    """The report of a request names the counter, and says for which models it is exact."""
    async with turnkeep.open(chosen()) as keep, keep.turn("user-123") as turn:
        await turn.add(turnkeep.Message(role="user", content="hello world <|endoftext|>"))
        reports = [
            (await turn.request(model_id=model)).report() for model in ("openai/gpt-5", "other")
        ]
        [counted] = keep.counter.count_texts(["hello world <|endoftext|>"])
        assert [report.counter for report in reports] == ["tiktoken:o200k_base"] * 2
        assert [report.exact for report in reports] == [True, False]
        assert [report.tokens - report.overhead for report in reports] == [counted] * 2


@pytest.mark.parametrize("encoding", ["o200k_base", "o200k_harmony", "cl100k_base"])
async def test_an_encoding_can_be_named(encoding):
    """Then it holds for every model."""
    async with turnkeep.open(chosen(encoding=encoding)) as keep:
        assert keep.counter.name == f"tiktoken:{encoding}"
        assert keep.counter.for_model("gpt-4") is keep.counter


@pytest.mark.parametrize("automatic", [{}, {"encoding": "auto"}])
async def test_by_default_models_are_followed(automatic):
    """`for_model` gives the counter of a model's own encoding."""
    async with turnkeep.open(chosen(**automatic)) as keep:
        assert keep.counter.name == "tiktoken:o200k_base"
        assert keep.counter.for_model("openai/gpt-4").name == "tiktoken:cl100k_base"


@pytest.mark.parametrize("options", [{"encoding": "p50k_base"}, {"model": "gpt-5"}])
async def test_other_options_are_refused(options):
    """With the table and the key."""
    with pytest.raises(ConfigError, match=rf"tokens\.tiktoken.*{next(iter(options))}"):
        async with turnkeep.open(chosen(**options)):
            pass


def test_it_is_found_and_offers_one_counter():
    """A row among the plugins."""
    [plugin] = [plugin for plugin in Plugins().found if plugin.name == "tokens_tiktoken"]
    assert (plugin.problem, plugin.offers) == (None, ("token counter tiktoken",))
