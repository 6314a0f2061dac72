"""What LiteLLM's price map knows of a model: its limits, and what a call costs."""

from __future__ import annotations

from typing import Any

from turnkeep.content import Usage
from turnkeep.model import ModelLimits
from turnkeep_model_litellm.library import library
from turnkeep_model_litellm.target import Target


def limits_of(target: Target) -> ModelLimits:
    """Give a model's limits; of one that the map does not hold, none.

    The map has the most tokens of a prompt. For some models, such as GPT-5, the answer comes on top
    of that; there the window given here is smaller than the true one, and never larger.
    """
    try:
        known: dict[str, Any] = library().get_model_info(
            target.name, custom_llm_provider=target.provider
        )
    except Exception:  # noqa: BLE001  # it raises different errors for what it does not know
        return ModelLimits()
    return ModelLimits(
        context_window=_whole(known.get("max_input_tokens")),
        max_output=_whole(known.get("max_output_tokens")),
    )


def cost_of(target: Target, usage: Usage | None) -> float | None:
    """Give the price of a call in US dollars; None where the map does not hold the model."""
    if usage is None:
        return None
    litellm = library()
    if not _priced(target):
        return None
    # Anthropic tells apart what it keeps for five minutes and for an hour.
    ages = (usage.__pydantic_extra__ or {}).get("cache_creation")
    details: dict[str, Any] = {"cached_tokens": usage.cached_tokens}
    if isinstance(ages, dict):
        details["cache_creation_token_details"] = ages
    counts = litellm.Usage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        cache_creation_input_tokens=usage.cache_write_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        prompt_tokens_details=details,
    )
    try:
        prompt, answer = litellm.cost_per_token(
            model=target.name, custom_llm_provider=target.provider, usage_object=counts
        )
    except Exception:  # noqa: BLE001  # as above
        return None
    return float(prompt + answer)


def _priced(target: Target) -> bool:
    """Say whether the map has a price of a model: LiteLLM takes one that it lacks for free."""
    litellm = library()
    try:
        info = litellm.get_model_info(target.name, custom_llm_provider=target.provider)
    except Exception:  # noqa: BLE001  # as above
        return False
    held = litellm.model_cost.get(info.get("key")) or {}
    return any("cost" in name and value is not None for name, value in held.items())


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value > 0 else None
