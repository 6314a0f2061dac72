"""What does a coding session of 300 calls cost with summaries by a model, and without?

Through LiteLLM against the strict provider server, which bills as Anthropic does (cache markers,
minimum prefix, lifetime). The tool's results are made up, with sizes as recorded ones have them;
the summaries are of a fixed size, so their price is what is measured, not their worth. Four ways:
nothing but what must fit, `compact` and `notes`, `compact` and `summarize` by the conversation's
own model (its cached prefix is read), and by the same model as if it were another one.

    python benchmarks/summaries.py [--calls N] [--limit TOKENS] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from turnkeep import Keeper, Message, Usage
from turnkeep.optimize.compact import Compact, CompactOptions
from turnkeep.optimize.notes import Notes, NotesOptions
from turnkeep.optimize.plan import Optimizer
from turnkeep.stores.memory import MemoryStore
from turnkeep.testing.provider import Call, ProviderServer, Say, SeenRequest
from turnkeep_memory_summarize import Summarize, SummarizeOptions
from turnkeep_memory_summarize.prompt import HEADINGS
from turnkeep_model_litellm import LitellmClient

MODEL = "anthropic/claude-sonnet-4-5"
DOLLARS = {"plain": 3.0, "read": 0.3, "write": 3.75, "answer": 15.0}
"""Of a million tokens (Anthropic's price list for the model)."""
ASKS = ("to be replaced by a summary", "<history>")
"""What stands in a request for a summary and in no other."""
SUMMARY = "\n".join(
    f"## {heading}\n"
    + "\n".join(f"- line {n} of what was done in src/pkg/module_{n}.py" for n in range(15))
    for heading in HEADINGS
)
TOOLS = [{"name": "read_file", "parameters": {"type": "object"}}]
INSTRUCTIONS = "You are a coding agent. " * 300


def is_summary(seen: SeenRequest) -> bool:
    """Say whether a request asks for a summary."""
    body = json.dumps(seen.body)
    return any(mark in body for mark in ASKS)


def dollars(usage: Usage) -> float:
    """Price a call."""
    plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    parts = (
        (plain, "plain"),
        (usage.cached_tokens, "read"),
        (usage.cache_write_tokens, "write"),
        (usage.output_tokens, "answer"),
    )
    return sum(tokens * DOLLARS[kind] for tokens, kind in parts) / 1e6


def steps_of(way: str, client: LitellmClient) -> Sequence[Optimizer] | None:
    """Give the pipeline of a way; None: no limit but the model's window."""
    if way == "nothing":
        return None
    if way == "notes":
        return [Compact(CompactOptions()), Notes(NotesOptions())]
    own = way == "summarize, own model"
    return [Compact(CompactOptions()), Summarize(client, SummarizeOptions(), own=own)]


async def play(way: str, calls: int, limit: int) -> dict[str, Any]:
    """Play the session one way; give what it cost."""
    made = 0

    def provider(seen: SeenRequest) -> Say:
        nonlocal made
        if is_summary(seen):
            return Say(SUMMARY)
        made += 1
        return Say(f"Step {made}.", calls=[Call("read_file", {"path": f"src/{made}.py"})])

    rng = random.Random(1)  # no secret
    with ProviderServer(api_key="k", default=provider) as server:
        async with LitellmClient(
            MODEL, api_key="k", api_base=server.base_url("anthropic")
        ) as client:
            steps = steps_of(way, client)
            rules = {"max_tokens": 10_000_000 if steps is None else limit, "step_timeout": 60}
            keeper = Keeper(store=MemoryStore(), context=rules, optimizers=steps or [])
            async with keeper as keep, keep.turn("s") as turn:
                await turn.add(Message(role="user", content="Fix it all."))
                for number in range(calls):
                    request = await turn.request(
                        instructions=INSTRUCTIONS,
                        tools=TOOLS,
                        profile="anthropic",
                        model_id=client.model_id,
                    )
                    step = await turn.add_response(await client.generate(request))
                    lines = int(rng.lognormvariate(3.6, 0.9))
                    text = f"some code line {rng.random()} here\n" * lines
                    for call in step.tool_calls:
                        await turn.add_result(call, f"file {number}\n{text}")
        assert not server.rejected, server.rejected[0].error
        every = [(seen, seen.usage) for seen in server.requests if seen.usage is not None]
    asked = [usage for seen, usage in every if is_summary(seen)]
    return {
        "way": way,
        "calls": len(every) - len(asked),
        "summaries": len(asked),
        "dollars": sum(dollars(usage) for _, usage in every),
        "of summaries": sum(map(dollars, asked)),
        "cached": sum(u.cached_tokens for u in asked) / max(sum(u.input_tokens for u in asked), 1),
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=300, metavar="N")
    parser.add_argument("--limit", type=int, default=60_000, metavar="TOKENS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    rows = []
    for way in ("nothing", "notes", "summarize, own model", "summarize, as data"):
        row = asyncio.run(play(way, args.calls, args.limit))
        rows.append(row)
        print(
            f"{way:<22} {row['calls']} calls ${row['dollars']:.3f} "
            f"({row['dollars'] / rows[0]['dollars']:.2f} of nothing); {row['summaries']} summaries "
            f"${row['of summaries']:.3f}, {row['cached']:.0%} of what they read cached"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
