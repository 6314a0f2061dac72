"""Which provider a model belongs to, and in which form it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from turnkeep.errors import ModelError
from turnkeep_model_litellm.library import library
from turnkeep_model_litellm.options import LitellmOptions

_ASKED: Final = {
    "anthropic": (
        "validate_anthropic_messages_environment",
        "transform_anthropic_messages_request",
        "get_complete_url",
        "sign_request",
    ),
    "gemini": ("sync_get_auth_token_and_url",),
    "openai-responses": ("validate_environment", "get_complete_url"),
}
"""What `envelopes` asks of LiteLLM's knowledge of a provider."""


@dataclass(frozen=True)
class Target:
    """A model as LiteLLM knows it.

    `name` is the provider's own name of it, `profile` the form of its requests. `config` is
    LiteLLM's knowledge of where such a request goes and how it is authorized; None for OpenAI
    Chat, which LiteLLM sends itself.
    """

    model: str
    name: str
    provider: str
    profile: str
    config: Any


def find_target(model: str, options: LitellmOptions) -> Target:
    """Find the provider of a model and the form to ask it in. Raises ModelError."""
    if not model:
        raise ModelError(
            'no model is named: set [model] id, such as "openai/gpt-4o-mini" or '
            '"anthropic/claude-sonnet-4-5"'
        )
    litellm = library()
    try:
        name, provider, *_ = litellm.get_llm_provider(model, api_base=options.api_base)
        kind = litellm.LlmProviders(provider)
    except Exception:  # noqa: BLE001  # whatever LiteLLM raises, it does not know the model
        raise ModelError(
            f"LiteLLM does not know whose model {model!r} is: write it as provider/name, such as "
            f'"openai/{model.rpartition("/")[2]}" for a server that speaks OpenAI Chat',
            model=model,
        ) from None
    try:
        return _Finder(model, name, kind, options).find()
    except (AttributeError, ImportError, TypeError) as error:
        # What is asked of LiteLLM here is not all promised by it.
        raise ModelError(
            f"{model}: this LiteLLM is not one that turnkeep-model-litellm knows ({error}); "
            "install litellm 1.110",
            model=model,
        ) from error


@dataclass
class _Finder:
    model: str
    name: str
    kind: Any
    options: LitellmOptions

    def find(self) -> Target:
        configs = library("litellm.utils").ProviderConfigManager
        if self.options.api == "responses":
            config = configs.get_provider_responses_api_config(
                provider=self.kind, model=self.name, api_base=self.options.api_base
            )
            if config is None:
                raise ModelError(
                    f"{self.model}: LiteLLM knows no Responses API of {self.kind.value!r}; set "
                    '[model.litellm] api = "auto"',
                    model=self.model,
                )
            return self._target("openai-responses", config)
        name = self.name.lower()
        if self.options.api == "auto" and (self.kind.value == "anthropic" or "claude" in name):
            config = configs.get_provider_anthropic_messages_config(
                model=self.name, provider=self.kind
            )
            if config is not None:
                return self._target("anthropic", config)
        if self.options.api == "auto" and "gemini" in name:
            config = configs.get_provider_google_genai_generate_content_config(
                model=self.name, provider=self.kind
            )
            if config is not None:
                return self._target("gemini", config)
        return self._target("openai-chat", None)

    def _target(self, profile: str, config: Any) -> Target:
        for name in _ASKED.get(profile, ()):
            if not hasattr(config, name):
                raise AttributeError(f"{type(config).__name__} has no {name}")
        return Target(self.model, self.name, self.kind.value, profile, config)
