"""Economy: when a rewrite pays."""

import pytest

from turnkeep.optimize.economy import auto_trigger, best_gap, payback
from turnkeep.optimize.rules import ContextRules
from turnkeep.prices import price_row, price_row_for

FIVE_MINUTES = price_row("anthropic-5m")


def test_the_gap_is_the_square_root_rule():
    """sqrt(2 d K / r), by hand: d 1,200, K 1.15 times 10,000, r 0.1."""
    gap = best_gap(target=12_000, standing=2_000, growth=1_200, prices=FIVE_MINUTES)
    assert gap == pytest.approx((2 * 1_200 * 11_500 / 0.1) ** 0.5)


def test_payback_is_what_the_rewrite_costs_over_what_it_saves():
    """Masking 20,000 with 30,000 behind it needs 17 calls at 5-minute prices, 28 at an hour's."""
    assert payback(behind=30_000, saved=20_000, prices=FIVE_MINUTES) == pytest.approx(17.25)
    hour = price_row("anthropic-1h")
    assert payback(behind=30_000, saved=20_000, prices=hour) == pytest.approx(28.5)
    assert payback(behind=30_000, saved=0, prices=hour) is None


def test_the_trigger_stays_below_the_limit_and_above_the_target():
    """With at least a tenth of what can shrink between them, where there is room for it."""
    told = {
        limit: auto_trigger(
            target=limit // 4, standing=0, limit=limit, growth=1_000, prices=FIVE_MINUTES
        )
        for limit in (4_000, 60_000, 1_000_000)
    }
    assert told[4_000] == 3_800
    assert 15_000 < told[60_000] <= 57_000
    assert told[1_000_000] >= 350_000


def test_without_a_cache_only_the_least_progress_counts():
    """Rewriting costs nothing there."""
    free = price_row("no-cache")
    assert auto_trigger(target=10_000, standing=0, limit=40_000, growth=900, prices=free) == 14_000


@pytest.mark.parametrize(
    ("rules", "levels"),
    [
        ({"trigger": 0.5, "target": 0.25}, (5_000, 3_250)),
        ({"trigger": 6_000, "target": 2_000}, (6_000, 2_000)),
        ({"trigger": 0.1, "target": 0.9}, (1_000, 1_000)),
        ({"trigger": 20_000, "target": 20_000}, (10_000, 10_000)),
    ],
)
def test_levels_are_shares_or_tokens(rules, levels):
    """A target is a share of what can shrink; neither is above the limit."""
    made = ContextRules(max_tokens=10_000, **rules)
    told = made.levels(standing=1_000, limit=10_000, growth=100, prices=FIVE_MINUTES)
    assert tuple(told) == levels


@pytest.mark.parametrize(
    ("model", "profile", "row"),
    [
        ("anthropic/claude-sonnet-4-5", "openai-chat", "anthropic-5m"),
        ("", "anthropic", "anthropic-5m"),
        ("deepseek/deepseek-chat", "openai-chat", "deepseek"),
        ("gemini-2.5-pro", "openai-chat", "gemini"),
        ("gpt-4o-mini", "openai-chat", "openai-older"),
        ("gpt-5.6", "openai-responses", "openai-5.6"),
        ("", "openai-chat", "openai-5.6"),
    ],
)
def test_prices_go_by_the_model(model, profile, row):
    """Else by the form of the request."""
    assert price_row_for(model, profile).name == row
