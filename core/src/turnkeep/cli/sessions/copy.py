"""`sessions copy`: sessions of one configured store into another one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from turnkeep.config import Config
    from turnkeep.config.wrappers import OpenedStore
    from turnkeep.copying import Copied

PATIENCE: Final = 3
"""So many sessions in a row for which a store cannot be reached end the run."""
_WORDS: Final = {
    "copied": "copied",
    "continued": "continued",
    "renewed": "made anew",
    "same": "the same already",
    "gone": "gone meanwhile",
    "refused": "refused",
    "failed": "failed",
}
_DONE: Final = ("copied", "continued", "renewed")


def register(actions: Any) -> None:
    """Add it."""
    parser = actions.add_parser(
        "copy",
        help="copy sessions into another store",
        description="Copy sessions from the store of one configuration into that of another, and "
        "see that they are the same there. Repeat it to complete a run that was cut off, or to "
        "take over what is new. What the target has of its own is never written over. Exit codes: "
        "0 all is there, 1 some sessions were refused or failed.",
    )
    parser.add_argument("--from", dest="source", required=True, metavar="TOML", help="read from")
    parser.add_argument("--to", dest="target", required=True, metavar="TOML", help="written to")
    parser.add_argument("--user", help="only this user's")
    parser.add_argument(
        "--since",
        type=_moment,
        metavar="TIME",
        help='only those written to since: "2026-11-30", "2026-11-30T12:00Z", or "24h" for the '
        "last 24 hours",
    )
    parser.add_argument("--dry-run", action="store_true", help="write nothing; say what would be")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _moment(text: str) -> datetime:
    """Read a time, or how long ago it was. Without a zone it is the machine's."""
    from turnkeep.config import seconds

    try:
        return datetime.now(UTC) - timedelta(seconds=seconds(text))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f'{text!r} is no time; write "2026-11-30", "2026-11-30T12:00Z", "24h" or "7d"'
        ) from None


def _run(args: argparse.Namespace) -> int:
    import asyncio

    from turnkeep.cli.sessions.store import lasting_config

    source = lasting_config(args.source, alone=True)
    target = lasting_config(args.target, alone=True)
    return asyncio.run(_copy(args, source, target))


async def _copy(args: argparse.Namespace, source: Config, target: Config) -> int:
    from turnkeep.copying import copy_session, sessions_to_copy
    from turnkeep.errors import StoreUnavailable

    done: list[Copied] = []
    away = 0
    async with _opened(source) as (read, _), _opened(target) as (written, _):
        ids = await sessions_to_copy(read, user_id=args.user, since=args.since)
        for session_id in _shown(ids):
            copied = await copy_session(read, written, session_id, dry_run=args.dry_run)
            done.append(copied)
            _tell(args, copied)
            away = away + 1 if copied.away else 0
            if away == PATIENCE:
                raise StoreUnavailable(
                    f"{PATIENCE} sessions in a row could not be copied; {_summary(args, done)}. "
                    "Repeat the command to go on from here"
                )
    if args.json:
        _print_json(args, done)
    else:
        print(_summary(args, done))
    return 1 if any(copied.problem is not None for copied in done) else 0


def _opened(config: Config) -> AbstractAsyncContextManager[OpenedStore]:
    import logging

    from turnkeep.hookspecs import Env

    return config.open_store(Env(data_dir=config.folder, logger=logging.getLogger("turnkeep")))


def _shown(ids: list[str]) -> Iterator[str]:
    from turnkeep.cli.progress import shown

    return shown(ids, "copying", len(ids))


def _tell(args: argparse.Namespace, copied: Copied) -> None:
    """Say on standard error what became of a session, where that is not what was wanted."""
    from turnkeep.cli.table import printable

    if copied.problem is not None:
        print(f"turnkeep: {copied.outcome}: {printable(copied.problem)}", file=sys.stderr)
    elif args.dry_run and copied.outcome in _DONE:
        words = f"would be {_WORDS[copied.outcome]}"
        print(f"{printable(copied.session_id)}: {words}", file=sys.stderr)


def _summary(args: argparse.Namespace, done: list[Copied]) -> str:
    counts = {
        words: sum(copied.outcome == outcome for copied in done)
        for outcome, words in _WORDS.items()
    }
    events = sum(copied.events for copied in done)
    said = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
    if not done:
        return "no sessions to copy"
    said = f"{_count(len(done), 'session')}: {said}; {_count(events, 'event')}"
    return f"would be: {said}" if args.dry_run else said


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _print_json(args: argparse.Namespace, done: list[Copied]) -> None:
    import json

    sessions = [
        {
            "session": copied.session_id,
            "outcome": copied.outcome,
            "events": copied.events,
            "problem": copied.problem,
        }
        for copied in done
    ]
    print(json.dumps({"sessions": sessions, "dry_run": args.dry_run}, indent=2))
