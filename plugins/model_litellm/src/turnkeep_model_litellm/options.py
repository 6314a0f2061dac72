"""The table `[model.litellm]`, and the keywords of `LitellmClient`: the same things."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class LitellmOptions(BaseModel):
    """How a model is reached and asked.

    What is not given is left to LiteLLM, which reads keys and addresses from each provider's usual
    environment variables, or to the provider.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key: SecretStr | None = None
    """Instead of the provider's environment variable."""
    api_base: str | None = None
    """Address of the server, as LiteLLM wants it for the provider; its own if not given."""
    api_version: str | None = None
    """For providers that have one, such as Azure."""
    api: Literal["auto", "chat", "responses"] = "auto"
    """The form of requests. "auto": Anthropic's Messages for Claude, Gemini's generateContent for
    Gemini, OpenAI Chat for all others. "chat": OpenAI Chat, which LiteLLM translates; "responses":
    OpenAI Responses, where the provider has it."""
    timeout: float = Field(default=600.0, gt=0)
    """Seconds for one call with all its repetitions; the settings of a call may say otherwise."""
    retries: int = Field(default=4, ge=0)
    """How often a call is repeated when the provider is overloaded, out of reach or limits us."""
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_output: int | None = Field(default=None, gt=0)
    """The most tokens to answer with, where a call's settings name none."""
    reasoning_effort: Effort | None = None
    """How hard the model is to think; which of these a model knows is the provider's matter."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """HTTP headers to send with each request."""
    extra: dict[str, JsonValue] = Field(default_factory=dict, repr=False)
    """Passed on: names that begin with `aws_` or `vertex_` to LiteLLM, to say how a cloud is
    reached; with OpenAI Chat all others as arguments of `litellm.acompletion`; in the other forms
    as fields of the request's body, objects merged into what is there."""
