"""Counting tokens: what a counter is, and the one that needs no tokenizer."""

from turnkeep.tokens.counter import TokenCounter
from turnkeep.tokens.estimate import EstimateCounter

__all__ = ["EstimateCounter", "TokenCounter"]
