"""Scale: weighs single items, and whole contexts in their provider's form, which it checks too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from turnkeep.content import Item, Message, Opaque, Reasoning, ToolCall, ToolResult
from turnkeep.formats.profile import WireMessage
from turnkeep.repair.steps import Repair
from turnkeep.tally import Snapshot, Tally, Way, weigh


class Checked(NamedTuple):
    """A whole context in a provider's form: its tokens, what had to be repaired, what is wrong."""

    tokens: int
    repairs: Sequence[Repair]
    violations: Sequence[str]
    tally: Tally
    snapshot: Snapshot

    def breaks(self, before: Sequence[Repair]) -> str | None:
        """Say what is wrong with it: a rule it breaks, or a repair that was not needed before."""
        if self.violations or not self.repairs:
            return self.violations[0] if self.violations else None
        had = Counter(repair.rule for repair in before)
        for rule, often in Counter(repair.rule for repair in self.repairs).items():
            if often > had[rule]:
                return next(each.what for each in self.repairs if each.rule == rule)
        return None


class Scale:
    """Weighs in one way (provider's form, counter, model, tools); remembers items by identity."""

    def __init__(self, way: Way, instructions: str = "") -> None:
        self.way = way
        self._instructions = instructions
        self._tools = frozenset(tool.name for tool in way.tools)
        self._weights: dict[int, tuple[Item, int]] = {}

    @property
    def binds_thinking(self) -> bool:
        """Whether this provider's models may tie what they thought to what stood before it."""
        return self.way.profile.name == "anthropic"

    def replays(self, item: Reasoning | Opaque) -> bool:
        """Say whether the provider gets an item of its own back."""
        return self.way.profile.replays(item)

    def weigh(self, item: Item) -> int:
        """Give the tokens of an item by itself."""
        known = self._weights.get(id(item))
        if known is None:
            # The item is kept beside its weight, so its identity cannot be taken by another.
            known = self._weights[id(item)] = item, self._weigh(item)
        return known[1]

    def _weigh(self, item: Item) -> int:
        kind = type(item)  # see ITEM_TYPES
        if kind in (Reasoning, Opaque) and not self.replays(item):  # type: ignore[arg-type]
            return 0
        if kind in (ToolCall, ToolResult) and self._undeclared(item.name):  # type: ignore[union-attr]
            return 0  # repair leaves it out
        return weigh(self.way.profile.render([item]), self.way).tokens

    def _undeclared(self, name: str) -> bool:
        return bool(self._tools) and name not in self._tools

    def count(self, texts: Sequence[str]) -> Sequence[int]:
        """Count texts, each by itself."""
        return self.way.counter.count_texts(texts)

    def forget(self, kept: Sequence[Item]) -> None:
        """Let go of the weights of all items but these."""
        kept_ids = set(map(id, kept))
        self._weights = {key: each for key, each in self._weights.items() if key in kept_ids}

    def check(self, items: Sequence[Item]) -> Checked:
        """Render, weigh and check a whole context."""
        tally = Tally(self.way)
        tally.follow(items, len(items))
        snapshot = tally.snapshot()
        system, leading = self._leading(snapshot)
        messages: list[WireMessage] = [*leading, *snapshot.messages()]
        profile = self.way.profile
        body = profile.payload(
            messages=messages, system=system, tools=profile.tools(self.way.tools), cache=False
        )
        # Instructions are counted apart: what is added here is that of the leading messages.
        own = self._weigh_system(system, leading)
        own -= self._weigh_system(*profile.system(self._instructions, []))
        tokens = snapshot.weight.tokens + max(own, 0)
        found = [f"{each.rule} {each.where}: {each.message}" for each in profile.check(body)]
        return Checked(tokens, snapshot.repairs(), found, tally, snapshot)

    def _weigh_system(
        self, system: list[dict[str, object]] | None, leading: Sequence[WireMessage]
    ) -> int:
        texts = self.way.profile.system_texts(system)
        said = sum(self.count(texts.texts)) + texts.overhead
        return said + weigh(leading, self.way).tokens

    def _leading(
        self, snapshot: Snapshot
    ) -> tuple[list[dict[str, object]] | None, list[WireMessage]]:
        first = snapshot.first()
        messages = [item for item in first.items[: first.leading] if isinstance(item, Message)]
        return self.way.profile.system(self._instructions, messages)
