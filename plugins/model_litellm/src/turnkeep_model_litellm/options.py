"""The table `[model.litellm]`, and the keywords of `LitellmClient`: the same things."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

RESERVED: Final = frozenset(
    {
        *("model", "messages", "input", "contents", "stream", "stream_options"),
        *("api_key", "api_base", "base_url", "api_version", "headers", "extra_headers"),
        *("timeout", "max_retries", "num_retries"),
    }
)
"""Names that `extra` may not hold: turnkeep sets them itself, by options of their own."""


class LitellmOptions(BaseModel):
    """How a model is reached and asked.

    What is not given is left to LiteLLM, which reads keys and addresses from each provider's usual
    environment variables, or to the provider.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

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
    timeout: float = Field(default=600.0, gt=0, allow_inf_nan=False)
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

    @field_validator("api_key")
    @classmethod
    def _key(cls, key: SecretStr | None) -> SecretStr | None:
        # Read from a file, it often ends with a newline, which HTTP does not allow.
        return None if key is None else SecretStr(key.get_secret_value().strip())

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, str]) -> dict[str, str]:
        return {name.strip(): value.strip() for name, value in headers.items()}

    @field_validator("extra")
    @classmethod
    def _extra(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(RESERVED & extra.keys()):
            raise ValueError(
                f"{', '.join(taken)}: set by turnkeep; leave it out, or use the option for it"
            )
        return extra
