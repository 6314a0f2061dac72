"""Limit: what a limit of the provider's tokens is in our counts.

A limit is in tokens as the provider counts them; our counts differ. What the provider has reported
in this session says by how much, so the limit is put in terms of our counts before the engine looks
at it.
"""

from __future__ import annotations

from turnkeep.prepared import Weighed
from turnkeep.sizing import Size


def limit_for(limit: int, weighed: Weighed, factor: float) -> int:
    """Give the limit for a request in terms of our counts; for `factor` see `own_limit`."""
    if weighed.exact and not weighed.size.anchored:
        return limit  # our count is the provider's
    return own_limit(limit, weighed.tokens, weighed.expected, weighed.size, factor)


def own_limit(limit: int, tokens: int, expected: int, size: Size, factor: float) -> int:
    """Put a limit of the provider's tokens in terms of our counts.

    Parameters: our count of the request, which errs upward, and the one by the provider's formula;
    what the request is expected to be; the provider's tokens for one of ours. What the provider
    counts beyond that (hidden text) cannot be shrunk, so it comes off the limit.
    """
    if not tokens or not expected:
        return limit
    factor = max(factor, 0.01)
    # Without a report nothing is known to be hidden: what is uncertain shrinks with the request.
    hidden = size.most - factor * expected if size.anchored else -1.0
    if hidden < 0:
        factor, hidden = size.most / expected, 0.0
    return max(int((limit - hidden) / (factor * expected / tokens)), 1)


def is_beyond(limit: int, weighed: Weighed, factor: float) -> bool:
    """Tell whether more than the limit was reported beyond what we see of a request."""
    size = weighed.size
    return size.anchored and size.most - factor * weighed.expected >= limit
