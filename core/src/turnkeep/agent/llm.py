"""What callbacks see of a model call: a request that they may change, and an answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.agent.tools import BaseTool
from turnkeep.content import Item, Request, Usage
from turnkeep.model import ModelAnswer


class LlmRequest(BaseModel):
    """One model call, to be looked at and changed; nothing of it is stored.

    What a callback leaves is repaired and made to fit before it is sent. `instructions` may be a
    list, which is joined by empty lines.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    instructions: str | list[str] = ""
    contents: list[Item] = Field(default_factory=list)
    tools: list[BaseTool] = Field(default_factory=list)
    tool_choice: Any = None
    model_id: str | None = None

    @property
    def system(self) -> str:
        """The instructions as one text."""
        said = self.instructions
        return said if isinstance(said, str) else "\n\n".join(text for text in said if text)

    def as_request(self) -> Request:
        """Give it in the form that the rest of the package works with."""
        return Request.model_construct(
            instructions=self.system,
            contents=list(self.contents),
            tools=[tool.definition for tool in self.tools],
            tool_choice=self.tool_choice,
            model_id=self.model_id,
        )


class LlmResponse(BaseModel):
    """What a model answered, or why it did not."""

    content: list[Item] = Field(default_factory=list)
    error_message: str | None = None
    usage_metadata: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of_answer(cls, answer: ModelAnswer) -> LlmResponse:
        """Show an answer to a callback."""
        usage = {} if answer.usage is None else answer.usage.model_dump()
        return cls.model_construct(
            content=list(answer.items), error_message=None, usage_metadata=usage
        )

    def usage(self) -> Usage | None:
        """Give the tokens that it names, under our names or OpenAI's; None where it names none."""
        given = self.usage_metadata
        read = given.get("input_tokens", given.get("prompt_tokens"))
        if not isinstance(read, int):
            return None
        written = given.get("output_tokens", given.get("completion_tokens", 0))
        known = {key: given[key] for key in Usage.model_fields if isinstance(given.get(key), int)}
        return Usage(**{"input_tokens": read, "output_tokens": written or 0, **known})
