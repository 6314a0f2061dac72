"""`turnkeep replay`: what policies would have sent for recorded conversations, and its cost."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from turnkeep.cli.counting import chosen_counter, counter_options

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from turnkeep.keeper import Keeper
    from turnkeep.model import ModelClient
    from turnkeep.replay.recording import Recording
    from turnkeep.replay.terms import Terms
    from turnkeep.tokens.counter import TokenCounter


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "replay",
        help="play recorded conversations under policies and price them",
        description="For each model call of recorded conversations, build the request that a "
        "policy would have sent, check it against the provider's rules, and price it.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "names",
        nargs="*",
        default=[],
        metavar="FILE|ID",
        help="a file of recorded sessions, or a log of another program; else a session that is "
        "kept in the configured store; - reads standard input",
    )
    which.add_argument("--all", action="store_true", help="every session of the configured store")
    parser.add_argument(
        "--policy",
        action="append",
        metavar="NAME[:KEY=VALUE]",
        help="none, tutorial-window:window_size=20; may be repeated (default: none)",
    )
    parser.add_argument(
        "--summarizer",
        metavar="WHICH",
        help="who answers policies that ask a model for summaries: extractive (sentences picked "
        "by rule, no model), model:ID as in model:openai/gpt-4o-mini, or recorded:FILE",
    )
    parser.add_argument(
        "--record-summaries",
        metavar="OUT.jsonl",
        help="write what the summarizer answers, for --summarizer recorded:OUT.jsonl",
    )
    parser.add_argument(
        "--profile",
        default="openai-chat",
        help="openai-chat (default), anthropic, openai-responses, gemini",
    )
    parser.add_argument("--price", default="anthropic-5m", metavar="ROW", help="a row of prices")
    parser.add_argument(
        "--idle-before-user",
        default="0",
        metavar="SECONDS",
        help="time that passes before each user message; a cache may forget meanwhile",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--requests", metavar="OUT.jsonl", help="write every request, one JSON object a line"
    )
    parser.add_argument(
        "--html", metavar="OUT.html", help="write a page with plots and the request at any call"
    )
    counter_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import asyncio

    return asyncio.run(_replay(args))


async def _replay(args: argparse.Namespace) -> int:
    async with chosen_counter(args) as counter:
        return await _play(args, counter)


async def _play(args: argparse.Namespace, counter: TokenCounter) -> int:
    import json
    from contextlib import AsyncExitStack

    from turnkeep.cli.files import whole_file
    from turnkeep.cli.outcomes import outcome_table
    from turnkeep.replay.html import Page
    from turnkeep.replay.named import parse_policy
    from turnkeep.replay.policies import Everything
    from turnkeep.replay.report import as_json
    from turnkeep.replay.run import replay

    names = args.policy or ["none"]
    for text in names:
        parse_policy(text)  # before anything is opened or asked
    terms = _terms(args, counter)
    _refuse_overwriting(args)
    recordings = await _recordings(args)
    async with AsyncExitStack() as stack:
        sink = page = watch = None
        summarizer = await _summarizer(args, counter, stack)
        policies = [parse_policy(text, summarizer=summarizer) for text in names]
        if args.requests:
            out = stack.enter_context(whole_file(args.requests))

            def sink(request: dict[str, Any]) -> None:
                out.write(json.dumps(request, ensure_ascii=False) + "\n")

        if args.html:
            page = Page(stack.enter_context(whole_file(args.html)))
            watch = page.see
        played = await replay(recordings, policies, terms, sink, watch=watch)
        labels = [policy.label for policy in policies]
        if Everything.label in labels:
            everything = played[labels.index(Everything.label)]
        else:
            [everything] = await replay(recordings, [Everything()], terms, facts=False)
        if page is not None:
            page.finish(recordings, played, everything, terms)
    if args.format == "json":
        json.dump(as_json(played, everything, terms), sys.stdout, indent=2)
        print()
    else:
        print(outcome_table(played, everything, terms))
    return 0


def _terms(args: argparse.Namespace, counter: TokenCounter) -> Terms:
    from turnkeep.config import seconds
    from turnkeep.errors import ConfigError, ContentError
    from turnkeep.formats import get_profile
    from turnkeep.prices import price_row
    from turnkeep.replay.terms import Terms

    try:
        profile = get_profile(args.profile)
    except ContentError as error:
        raise ConfigError(str(error)) from None
    try:
        idle = seconds(args.idle_before_user)
    except ValueError as error:
        raise ConfigError(f"--idle-before-user {args.idle_before_user}: {error}") from None
    return Terms(profile, price_row(args.price), counter, idle)


def _refuse_overwriting(args: argparse.Namespace) -> None:
    from turnkeep.errors import ConfigError

    read = [*args.names, (args.summarizer or "").removeprefix("recorded:")]
    for option, out in (
        ("--requests", args.requests),
        ("--html", args.html),
        ("--record-summaries", args.record_summaries),
    ):
        if out and any(_same_file(out, name) for name in read if name):
            raise ConfigError(f"{option} {out} would overwrite a recording that is read")
    if args.record_summaries and not args.summarizer:
        raise ConfigError("--record-summaries writes what a summarizer answers; give --summarizer")


async def _summarizer(
    args: argparse.Namespace, counter: TokenCounter, stack: AsyncExitStack
) -> ModelClient | None:
    """Open what `--summarizer` names, and the file that its answers go to."""
    from turnkeep.cli.files import whole_file
    from turnkeep.config import load_config
    from turnkeep.replay.summarizer import opened_summarizer

    if not args.summarizer:
        return None
    record = None
    if args.record_summaries:
        record = stack.enter_context(whole_file(args.record_summaries))
    opening = opened_summarizer(args.summarizer, load_config(args.config), counter, record)
    return await stack.enter_async_context(opening)


async def _recordings(args: argparse.Namespace) -> list[Recording]:
    """Read what is named, in this order: what is no file is looked for in the store."""
    from contextlib import AsyncExitStack

    from turnkeep.cli.files import tell
    from turnkeep.cli.sessions.store import lasting
    from turnkeep.errors import ConfigError, SessionNotFound, TurnkeepError
    from turnkeep.replay.recording import read_recordings, stored_recording

    found: list[Recording] = []
    keep: Keeper | None = None
    async with AsyncExitStack() as stack:
        if args.all:
            keep = await stack.enter_async_context(lasting(args))
            ids = sorted([info.session_id async for info in keep.sessions.all()], key=str.encode)
            return [await stored_recording(keep.sessions, session_id) for session_id in ids]
        for name in args.names:
            if name == "-" or _exists(name):
                found += read_recordings([name], tell)
                continue
            try:
                if keep is None:
                    keep = await stack.enter_async_context(lasting(args))
                found.append(await stored_recording(keep.sessions, name))
            except (ConfigError, SessionNotFound) as error:
                raise TurnkeepError(f"{name}: no such file; as a session: {error}") from None
    return found


def _same_file(one: str, two: str) -> bool:
    from pathlib import Path

    return _exists(one) and _exists(two) and Path(one).samefile(two)


def _exists(name: str) -> bool:
    from pathlib import Path

    try:
        return Path(name).exists()
    except OSError:  # the id of a session may be too long for the name of a file
        return False
