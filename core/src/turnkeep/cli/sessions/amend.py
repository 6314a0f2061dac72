"""`sessions fork | rewind | erase | delete | purge`: what changes the store."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from turnkeep.cli.sessions.store import on_store

if TYPE_CHECKING:
    from turnkeep.keeper import Keeper


def register(actions: Any) -> None:
    """Add them."""
    fork = actions.add_parser("fork", help="begin a session with a copy of another one")
    fork.add_argument("id", metavar="ID")
    fork.add_argument("new_id", metavar="NEW-ID")
    fork.add_argument("--at", type=int, metavar="N", help="as it was after event N (default: now)")
    on_store(fork, _fork, json=True)

    rewind = actions.add_parser("rewind", help="let a session stand as it stood after an event")
    rewind.add_argument("id", metavar="ID")
    rewind.add_argument("seq", type=int, metavar="N", help="the event (0: before the first)")
    on_store(rewind, _rewind, json=True)

    erase = actions.add_parser("erase", help="remove the content of events for good")
    erase.add_argument("id", metavar="ID")
    erase.add_argument("seqs", type=int, nargs="+", metavar="N", help="the events")
    erase.add_argument("--reason", help="kept in their place")
    _sure(erase)
    on_store(erase, _erase, json=True)

    delete = actions.add_parser("delete", help="remove whole sessions for good")
    delete.add_argument("ids", nargs="+", metavar="ID")
    _sure(delete)
    on_store(delete, _delete, json=True)

    purge = actions.add_parser("purge", help="remove what is left of expired sessions")
    on_store(purge, _purge, json=True)


def _sure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


async def _fork(args: argparse.Namespace, keep: Keeper) -> int:
    from turnkeep.cli.table import printable

    made = await keep.sessions.fork(args.id, args.new_id, at=args.at)
    _report(
        args,
        {"session": args.new_id, "events": len(made.events), "forked": args.id},
        f"{printable(args.new_id)}: {len(made.events)} events of {printable(args.id)}",
    )
    return 0


async def _rewind(args: argparse.Namespace, keep: Keeper) -> int:
    from turnkeep.cli.table import printable

    event = await keep.sessions.rewind(args.id, args.seq)
    before = (event.seq or 0) - 1
    _report(
        args,
        {"session": args.id, "at": args.seq, "seq": event.seq, "before": before},
        f"{printable(args.id)} stands as after event {args.seq}. Back again: turnkeep sessions "
        f"rewind {printable(args.id)} {before}",
    )
    return 0


async def _erase(args: argparse.Namespace, keep: Keeper) -> int:
    from turnkeep.cli.table import printable

    numbers = ", ".join(map(str, args.seqs))
    if not _confirmed(args, f"Erase {numbers} of {printable(args.id)} for good?"):
        return 1
    gone = await keep.sessions.erase(args.id, args.seqs, reason=args.reason)
    also = [seq for seq in gone if seq not in args.seqs]
    words = f"{printable(args.id)}: erased {', '.join(map(str, gone)) or 'nothing, it was before'}"
    if also:
        words += f" ({', '.join(map(str, also))}: repeated them)"
    _report(args, {"session": args.id, "erased": list(gone)}, words)
    return 0


async def _delete(args: argparse.Namespace, keep: Keeper) -> int:
    from turnkeep.cli.table import printable
    from turnkeep.errors import SessionNotFound

    names = ", ".join(map(printable, args.ids))
    if not _confirmed(args, f"Delete {names} for good?"):
        return 1
    done, missing = [], 0
    for session_id in args.ids:
        if await keep.sessions.delete(session_id):
            done.append(session_id)
        else:
            missing += 1
            print(f"turnkeep: {SessionNotFound(session_id)}", file=sys.stderr)
    words = f"deleted {', '.join(map(printable, done))}" if done else ""
    _report(args, {"deleted": done, "missing": missing}, words)
    return 1 if missing else 0


async def _purge(args: argparse.Namespace, keep: Keeper) -> int:
    removed = await keep.sessions.purge()
    plural = "" if removed == 1 else "s"
    _report(args, {"purged": removed}, f"{removed} expired session{plural} removed")
    return 0


def _confirmed(args: argparse.Namespace, question: str) -> bool:
    """Ask a person; without a terminal there is nobody to ask, and `--yes` is needed."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        print("turnkeep: this cannot be undone: say --yes", file=sys.stderr)
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _report(args: argparse.Namespace, facts: dict[str, Any], words: str) -> None:
    import json

    if args.json:
        print(json.dumps(facts, indent=2))
    elif words:
        print(words)
