"""Rules: the table `[context]` — the limit, when a context is rewritten, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from turnkeep.model import ModelLimits
from turnkeep.optimize.economy import CEILING, auto_trigger
from turnkeep.optimize.presets import PRESETS, with_preset
from turnkeep.prices import PriceRow

Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Tokens: TypeAlias = Annotated[int, Field(gt=1)]
Cap: TypeAlias = Share | Annotated[int, Field(ge=0)]


class Use(BaseModel):
    """A step of a pipeline with options of its own, as in `{ use = "window", groups = 40 }`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str

    @property
    def options(self) -> dict[str, Any]:
        """The options that stand beside the name."""
        return dict(self.__pydantic_extra__ or {})


LEAST_WINDOW: Final = 4
"""Tokens below which nothing is said of a window: a reserve must leave something."""
DEFAULT_PIPELINE: Final = ("compact", "notes")


class ContextRules(BaseModel):
    """How contexts are kept within a limit. Without `max_tokens` they only grow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Literal["coding", "chat", "cheap"] | None = Field(
        default=None,
        description="Sets what is not set here, as replays of recordings found best",
        examples=["coding"],
    )
    max_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Tokens that a request may have at most, its answer included; default: the "
        "window of the model. Where neither is known, contexts are not rewritten",
        examples=[50_000],
    )
    reserve: int = Field(
        default=0,
        ge=0,
        description="Tokens of it that are left for the answer; default: what the model answers "
        "with at most, up to a quarter, 0 where that is not known",
    )
    trigger: Literal["auto"] | Share | Tokens = Field(
        default="auto",
        description='Above this a context is rewritten: a share of the limit, tokens, or "auto": '
        "by what the model's cache costs",
    )
    target: Share | Tokens = Field(
        default=0.2,
        description="What a rewrite gets down to: a share of what can shrink, or tokens",
    )
    pipeline: list[str | Use] = Field(
        default=list(DEFAULT_PIPELINE),
        description="Steps of a rewrite, in order; each ends it once the target is reached",
    )
    arrival_cap: Cap = Field(
        default=0.1,
        description="A tool's result above this is shortened as it comes in: a share of the limit, "
        "or tokens; 0: never",
    )
    arrival_caps: dict[str, Cap] = Field(
        default={},
        description="The same for single tools",
        examples=[{"read_file": 8_000}],
    )
    recall: bool = Field(
        default=True, description="Give the model a tool that reads back what was taken out"
    )
    prices: str = Field(
        default="auto", description='Row of prices that "auto" reckons with; "auto": the model\'s'
    )
    profile: str = Field(
        default="auto",
        description='Whose form of request must fit: "auto" goes by the model and by what was '
        "asked for last",
    )
    step_timeout: float | None = Field(
        default=None,
        gt=0,
        description="Seconds that a step may take; default: 30, or what the step asks for",
        examples=[60.0],
    )

    def for_model(self, limits: ModelLimits) -> Self:
        """Give the rules with what is not set taken from a model's limits.

        `max_tokens` is its window then, and `reserve` its limit of output, at most a quarter.
        """
        window = self.max_tokens or limits.context_window
        if window is None or window < LEAST_WINDOW:
            return self
        new: dict[str, Any] = {"max_tokens": window}
        if "reserve" not in self.model_fields_set and limits.max_output is not None:
            new["reserve"] = min(limits.max_output, window // 4)
        return self.model_copy(update=new)

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, table: Any) -> Any:
        if not isinstance(table, Mapping) or "preset" not in table:
            return table
        steps = {key for preset in PRESETS.values() for key in preset} - set(cls.model_fields)
        return {key: below for key, below in with_preset(table).items() if key not in steps}

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.max_tokens is not None and self.reserve >= self.max_tokens:
            raise ValueError("reserve must be less than max_tokens, or nothing is left to send")
        return self

    @property
    def limit(self) -> int | None:
        """Tokens that a request may have; None without a limit."""
        return None if self.max_tokens is None else max(self.max_tokens - self.reserve, 1)

    def cap(self, tool: str | None = None) -> int:
        """Give the tokens above which a tool's result is shortened as it comes in; 0: never."""
        cap = self.arrival_cap if tool is None else self.arrival_caps.get(tool, self.arrival_cap)
        return int(cap * (self.limit or 0)) if isinstance(cap, float) and cap <= 1 else int(cap)

    def levels(
        self, *, standing: int, limit: int, growth: float, prices: PriceRow, bound: bool = False
    ) -> Levels:
        """Give the sizes at which things happen to a request of `standing` and more tokens.

        `bound`: what the model thought is tied to what stands before it, so a rewrite waits as long
        as it can.
        """
        free = max(limit - standing, 0)
        share = isinstance(self.target, float) and self.target <= 1
        target = standing + int(self.target * free) if share else int(self.target)
        target = min(target, limit)
        if bound:
            trigger = int(CEILING * limit)
        elif self.trigger == "auto":
            trigger = auto_trigger(
                target=target, standing=standing, limit=limit, growth=growth, prices=prices
            )
        else:
            given = float(self.trigger)
            trigger = int(given * limit if given <= 1 else given)
        return Levels(min(trigger, limit), min(target, trigger))


class Levels(NamedTuple):
    """Tokens above which a context is rewritten, and what it should get down to."""

    trigger: int
    target: int
