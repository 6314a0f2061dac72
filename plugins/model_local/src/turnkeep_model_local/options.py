"""The options of a local model."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class LocalOptions(BaseModel):
    """The table `[model.local]`.

    `context_window` is in tokens, for the prompt and the answer of one call; it is rounded up to
    256, and never more than the model was trained for. `max_output` is the most tokens of an
    answer. `threads` compute (None: half of the processors). `slots` calls run at once, each with a
    window of its own; further ones wait.

    `cache_memory` MiB hold the computed prompts of conversations that are in no slot. With a
    `cache_dir` they are kept on disk too, in at most `cache_disk` MiB, and another process that
    continues a session begins with them. They hold the conversation, and outlive the session.

    `port` is that of the HTTP address on 127.0.0.1 (0: any that is free). `api_key` is asked for
    there (None: a new random one, "": none). `quiet = false` shows llama.cpp's log on stderr.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    context_window: int = Field(4096, ge=256, le=1 << 22)
    max_output: int = Field(512, ge=1)
    threads: int | None = Field(None, ge=1, le=512)
    temperature: float = Field(0.0, ge=0)
    seed: int = Field(0, ge=0, lt=(1 << 32) - 1)
    slots: int = Field(2, ge=1, le=64)
    cache_memory: int = Field(256, ge=0)
    cache_dir: Path | None = None
    cache_disk: int = Field(1024, ge=1)
    port: int = Field(0, ge=0, lt=1 << 16)
    api_key: SecretStr | None = None
    quiet: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        open_to_all = self.api_key is not None and not self.api_key.get_secret_value()
        if open_to_all and self.cache_dir is not None:
            # Whoever reaches the address could have other conversations' prompts restored.
            raise ValueError('cache_dir needs a key: leave api_key out, or give one that is not ""')
        return self
