"""`turnkeep tokens`: what a conversation costs in tokens, by part, and its largest items."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from turnkeep.cli.counting import chosen_counter, counter_options

if TYPE_CHECKING:
    from turnkeep.formats.jsonl import SessionFile
    from turnkeep.tokens.memo import Memo

LARGEST: Final = 10


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tokens",
        help="count the tokens of a conversation, by part",
        description="Count the request that would be sent next: instructions, tools, messages, "
        "calls and results, and the largest items.",
    )
    parser.add_argument("file", metavar="FILE", help="a conversation; - reads standard input")
    parser.add_argument("--model", metavar="ID", help="default: the one that the file names")
    parser.add_argument(
        "--profile",
        default="openai-chat",
        help="openai-chat (default), anthropic, openai-responses, gemini",
    )
    counter_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import asyncio

    return asyncio.run(_count(args))


async def _count(args: argparse.Namespace) -> int:
    import json

    from turnkeep.cli.files import tell
    from turnkeep.errors import ConfigError, ContentError
    from turnkeep.formats import get_profile
    from turnkeep.transfer import read_file

    try:
        get_profile(args.profile)
    except ContentError as error:
        raise ConfigError(str(error)) from None
    async with chosen_counter(args) as counter:
        sessions = read_file(args.file, told=tell)
        counted = [_session(args, session, counter) for session in sessions]
    if args.json:
        print(json.dumps({"sessions": counted}, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(map(_text, counted)))
    return 0


def _session(args: argparse.Namespace, session: SessionFile, counter: Memo) -> dict[str, Any]:
    """Count one conversation."""
    from turnkeep.breakdown import break_down
    from turnkeep.context import Context
    from turnkeep.history import standing_base
    from turnkeep.tokens.learned import Learned
    from turnkeep.transfer import tools_of

    header = session.header
    model = args.model or header.get("model")
    instructions = header.get("instructions")
    for place, event in enumerate(session.events, 1):
        event.stored_as(event.seq or place)  # a plain transcript has no seqs
    base = standing_base(session.events)
    found = break_down(
        Context(session.events[max(base - 1, 0) :], base=base).entries,
        instructions=instructions if isinstance(instructions, str) else "",
        tools=tools_of(header, f"{args.file}: session {session.session_id!r}"),
        model=model if isinstance(model, str) else "",
        profile=args.profile,
        counter=counter,
        learned=Learned.of_user(),
        largest=LARGEST,
    )
    return {"session": session.session_id, **found}


def _text(found: dict[str, Any]) -> str:
    from turnkeep.cli.table import printable, table

    total = found["tokens"]
    rows = [
        (
            f"{name} ({part['items']:,})" if part["items"] else name,
            f"{part['tokens']:,}",
            f"{part['tokens'] / max(total, 1):.1%}",
        )
        for name, part in found["parts"].items()
        if part["tokens"]
    ]
    model = f" for {printable(found['model'])}" if found["model"] else ""
    exact = f"exact for {printable(found['model'])}" if found["exact"] else "an estimate"
    lines = [
        f"{printable(found['session'])}: {total:,} tokens{model}, as {found['profile']}",
        "",
        table(("PART", "TOKENS", "SHARE"), [*rows, ("all", f"{total:,}", "")]),
        "",
        f"Counted by {found['counter']!r}, {exact}.",
        (
            f"Expected of the provider: {found['expected']:,}, at most {found['margin']:,} more "
            f"({found['basis']})."
        ),
    ]
    if found["largest"]:
        largest = [
            (each["at"], printable(each["what"]), f"{each['tokens']:,}")
            for each in found["largest"]
        ]
        lines += ["", "The largest items:", table(("AT", "WHAT", "TOKENS"), largest)]
    return "\n".join(lines)
