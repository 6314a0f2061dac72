"""`dedupe`: a result that a newer one makes superfluous gives way to a line about it."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field

from turnkeep.content import Ref, ToolCall, ToolResult, compact_json, result_text
from turnkeep.context import Entry
from turnkeep.optimize.edits import with_content
from turnkeep.optimize.plan import Edit, Plan, Replace
from turnkeep.optimize.reference import mark
from turnkeep.optimize.shorten import gap, is_media
from turnkeep.optimize.view import View


class DedupeOptions(BaseModel):
    """Which repeated results give way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    results: int = Field(default=150, ge=0, description="Tokens above which a result is looked at")
    keep_recent: int = Field(default=0, ge=0, description="Newest groups that are left as they are")
    tools: list[str] = Field(
        default=[],
        description="Tools of which the same call again makes the older result superfluous, though "
        "its content differs; for tools that read",
        examples=[["read_file"]],
    )


class Dedupe:
    """Stubs older results that are repeated word for word, or superseded by the same call again."""

    def __init__(self, options: DedupeOptions) -> None:
        self._options = options

    async def plan(self, view: View) -> Plan | None:
        """Give the edits (see `Optimizer`)."""
        newest: dict[bytes, Ref] = {}
        edits: list[Edit] = []
        old = {
            entry.ref
            for group in view.before_recent(self._options.keep_recent)
            for entry in view.entries_of(group)
        }
        for entry, keys in reversed(self._results(view)):
            newer = next((newest[key] for key in keys if key in newest), None)
            for key in keys:
                newest.setdefault(key, entry.ref)
            if newer is None or entry.ref not in old or entry.ref in view.fixed:
                continue
            assert isinstance(entry.item, ToolResult)
            size = len(result_text(entry.item))
            content = [gap(size, entry.ref, f"the same is in a newer result, {mark(newer)}")]
            if view.weigh(with_content(entry.item, content)) < view.weigh(entry.item):
                edits.append(Replace(entry, content))
        return Plan(edits[::-1]) if edits else None

    def _results(self, view: View) -> list[tuple[Entry, list[bytes]]]:
        """Give the results that are long enough, each with what makes two of them alike."""
        found: list[tuple[Entry, list[bytes]]] = []
        calls: dict[str, ToolCall] = {}
        for entry in view.entries:
            item = entry.item
            if type(item) is ToolCall:
                calls[item.tool_call_id] = item
            if type(item) is not ToolResult or entry.form == "stub":
                continue
            if item.status == "error" or view.weigh(item) <= self._options.results:
                continue
            if any(map(is_media, item.content)):
                continue
            keys = [_key("text", result_text(item))]
            call = calls.get(item.tool_call_id)
            if call is not None and call.name in self._options.tools:
                keys.append(_key("call", call.name, compact_json(call.arguments)))
            found.append((entry, keys))
        return found


def _key(*texts: str) -> bytes:
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=16).digest()
