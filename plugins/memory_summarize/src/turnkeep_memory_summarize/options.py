"""The options of the step."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SummarizeOptions(BaseModel):
    """The table `[context.summarize]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(
        default=None,
        min_length=1,
        description="The model that summarizes; default: the conversation's own, which reads what "
        "its provider has cached",
        examples=["litellm:openai/gpt-4o-mini"],
    )
    tokens: int = Field(default=1_500, ge=32, description="Tokens of a summary at most")
    index: int = Field(default=4_000, ge=0, description="Tokens for the index of steps behind it")
    names: int = Field(
        default=3_000, ge=0, description="Tokens for the names where no summary could be had"
    )
    share: float = Field(
        default=0.2, gt=0, le=1, description="Of what can shrink, the most that all of it may take"
    )
    keep_recent: int = Field(default=3, ge=1, description="Newest groups that are never taken out")
    least: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Of what can shrink, the share that must be new for a model to be asked",
    )
    structured: bool = Field(
        default=True,
        description="Ask for fixed headings, and refuse a summary without them; false for small "
        "models",
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        description="A prompt of your own, or the path of a file that holds it; {history} must "
        "stand in it",
        examples=["prompts/summary.txt"],
    )
    timeout: float = Field(
        default=120.0,
        gt=0,
        description="Seconds for all calls of a summary; a [context] step_timeout cuts them short",
    )
    retries: int = Field(
        default=1, ge=0, le=5, description="How often it is asked again for what is no summary"
    )
    thinking: int = Field(
        default=0, ge=0, description="Tokens that the model may think with, beside the summary's"
    )
    window: int | None = Field(
        default=None,
        ge=64,
        description="Tokens that the model takes; default: as its client says",
        examples=[128_000],
    )
    background: bool = Field(
        default=False, description="Begin before a rewrite is due, so that no request waits for it"
    )
    argument: int = Field(default=70, ge=0, description="Characters of an argument in the index")
    quote: int = Field(default=160, ge=0, description="Characters of a message in the index")
