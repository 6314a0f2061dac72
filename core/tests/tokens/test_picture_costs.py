"""What pictures cost by provider, model, detail and size, against the published examples."""

import base64
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.formats.images import Size
from turnkeep.tokens.formulas import formula_for
from turnkeep.tokens.formulas.anthropic import HIGH, STANDARD, Tier
from turnkeep.tokens.formulas.anthropic import picture as anthropic_picture
from turnkeep.tokens.formulas.gemini import MOST
from turnkeep.tokens.formulas.gemini import picture as gemini_picture
from turnkeep.tokens.formulas.openai_images import RULES, Patches, Tiles, rule_for
from turnkeep.tokens.formulas.openai_images import picture as openai_picture

SIDE = st.integers(1, 12_000) | st.integers(1, 2**32 - 1)
DETAIL = st.sampled_from(["low", "high", "original", "auto", "?"])
MODEL = st.sampled_from([*RULES, "another"])


def png(width: int, height: int) -> str:
    """The base64 of the start of a PNG."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + struct.pack(">II", width, height)
    return base64.b64encode(head).decode()


def shown(profile: str, width: int, height: int, model: str, **more: Any) -> int:
    """The tokens that a picture adds to a message of this profile."""
    formula = formula_for(profile)
    data = png(width, height)
    url = {"url": f"data:image/png;base64,{data}", **more}
    source = {"type": "base64", "media_type": "image/png", "data": data}
    body: dict[str, Any] = {
        "openai-chat": {"role": "user", "content": [{"type": "image_url", "image_url": url}]},
        "anthropic": {"role": "user", "content": [{"type": "image", "source": source}]},
        "gemini": {
            "role": "user",
            "parts": [{"inlineData": {"mimeType": "image/png", "data": data}, **more}],
        },
    }[profile]
    return formula.frame(body, model) - formula.frame({"role": "user"}, model)


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), "high", 765),
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("openai/gpt-4o-mini-2024-07-18", (512, 512), "low", 2833),
        ("gpt-4o-mini", (512, 512), "auto", 2833 + 5667),
        ("o3", (512, 512), "high", 225),
        ("gpt-5", (512, 512), "high", 210),
        ("gpt-6-astra", (1024, 1024), "high", 1229),
        ("gpt-6-astra", (2048, 2048), "high", 3000),
        ("gpt-6-astra", (4096, 512), "high", 2458),
        ("gpt-4.1-mini", (1024, 1024), "high", math.ceil(1024 * 1.62)),
        ("o4-mini", (1800, 2400), "high", math.ceil(1452 * 1.72)),
        ("gpt-4.1-nano", (1800, 2400), "high", math.ceil(1452 * 2.46)),
    ],
)
def test_openai_pictures(model: str, size: tuple[int, int], detail: str, tokens: int) -> None:
    """Tiles and patches cost what the guide's examples and tables say."""
    assert shown("openai-chat", *size, model, detail=detail) == tokens


@pytest.mark.parametrize(
    ("size", "standard", "high"),
    [
        ((200, 200), 64, 64),
        ((1000, 1000), 1296, 1296),
        ((1092, 1092), 1521, 1521),
        ((1920, 1080), 1560, 2691),
        ((2000, 1500), 1564, 3888),
        ((3840, 2160), 1560, 4784),
        ((2160, 3840), 1560, 4784),
    ],
)
def test_anthropic_pictures(size: tuple[int, int], standard: int, high: int) -> None:
    """Pictures cost what the table in "Vision" says, on both tiers, upright or not."""
    assert shown("anthropic", *size, "claude-sonnet-4-6") == standard
    assert shown("anthropic", *size, "claude-opus-4-7") == high
    assert shown("anthropic", *size, "") == high


@pytest.mark.parametrize(
    ("size", "model", "tokens"),
    [
        ((384, 384), "gemini-2.5-flash", 258),
        ((960, 540), "gemini-2.5-flash", 6 * 258),
        ((960, 540), "gemini-3-pro-preview", 1120),
        ((10, 10), "", 1120),
    ],
)
def test_gemini_pictures(size: tuple[int, int], model: str, tokens: int) -> None:
    """Tiles cost what "Image understanding" says, Gemini 3 its fixed figure."""
    assert shown("gemini", *size, model) == tokens


def test_gemini_resolutions() -> None:
    """Gemini 3 counts by the resolution that is asked for."""
    for level, tokens in [("LOW", 280), ("MEDIUM", 560), ("HIGH", 1120), ("ULTRA_HIGH", 2240)]:
        wanted = {"level": f"MEDIA_RESOLUTION_{level}"}
        assert shown("gemini", 9, 9, "gemini-3-flash", mediaResolution=wanted) == tokens


@given(MODEL, DETAIL, st.integers(1, 2048), st.integers(1, 2048))
def test_a_picture_of_unknown_size_costs_the_most_at_openai(
    model: str, detail: str, width: int, height: int
) -> None:
    """No picture of up to 2,048 pixels a side costs more than one by URL, at the same detail."""
    cost = openai_picture(Size(width, height), detail, model)
    assert 1 <= cost <= openai_picture(None, detail, model)


@given(st.sampled_from([STANDARD, HIGH]), SIDE, SIDE)
def test_a_picture_of_unknown_size_costs_the_most_at_anthropic(
    tier: Tier, width: int, height: int
) -> None:
    """No picture costs more than the tokens of its tier, which one by URL costs."""
    assert 1 <= anthropic_picture(width, height, tier) <= tier.tokens
    model = "claude-sonnet-4-5" if tier is STANDARD else "claude-opus-4-8"
    url = {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}
    formula = formula_for("anthropic")
    assert formula.frame(url, model) - formula.frame({}, model) == tier.tokens


@given(SIDE, SIDE, st.sampled_from(["gemini-2.5-pro", "gemini-3-pro", ""]))
def test_a_picture_of_unknown_size_costs_the_most_at_gemini(
    width: int, height: int, model: str
) -> None:
    """No picture costs more than one by URI."""
    assert (
        258 <= gemini_picture(Size(width, height), None, model) <= gemini_picture(None, None, model)
    )
    assert gemini_picture(None, None, "gemini-2.0-flash") == MOST


@given(st.integers(1, 3_000), st.integers(1, 3_000), st.integers(2, 6), MODEL, DETAIL)
def test_a_larger_picture_never_costs_less_at_openai(
    width: int, height: int, factor: int, model: str, detail: str
) -> None:
    """Of two pictures of one shape the larger costs at least as much, until patches are cut."""
    rule = rule_for(model)
    small, large = Size(width, height), Size(width * factor, height * factor)
    if isinstance(rule, Tiles):
        assert rule.cost(small, detail) <= rule.cost(large, detail)
        return
    assert isinstance(rule, Patches)
    limit = rule.limit(detail)
    patches = -(-large.width // 32) * -(-large.height // 32)
    if patches <= limit.patches and max(large) <= limit.side:
        assert rule.cost(small, detail) <= rule.cost(large, detail)


@given(st.integers(1, 600), st.integers(1, 600), st.integers(2, 6))
def test_a_larger_picture_never_costs_less_at_anthropic(
    width: int, height: int, factor: int
) -> None:
    """Of two pictures of one shape the larger costs at least as much, until it is shrunk."""
    across, down = -(-width * factor // 28), -(-height * factor // 28)
    if max(across, down) * 28 <= HIGH.edge and across * down <= HIGH.tokens:
        large = anthropic_picture(width * factor, height * factor)
        assert anthropic_picture(width, height) <= large == across * down
