"""Parts: what an agent is made of, as its runs need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from turnkeep.agent.callbacks import Hooked
from turnkeep.agent.output import Output
from turnkeep.agent.tools import BaseTool
from turnkeep.model import ModelSettings


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an agent is made of, as a run needs it."""

    tools: dict[str, BaseTool] = field(default_factory=dict)
    instructions: str = ""
    max_steps: int = 5
    hooks: Hooked = field(default_factory=Hooked)
    output: Output | None = None
    settings: ModelSettings = field(default_factory=ModelSettings)
    parallel: int = 8
    tool_choice: Any = None

    @property
    def system(self) -> str:
        """The instructions, with what a typed output adds to them."""
        if self.output is None:
            return self.instructions
        return f"{self.instructions}\n\n{self.output.instruction}".strip()
