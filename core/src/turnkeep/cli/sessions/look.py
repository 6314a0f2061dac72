"""`sessions list`, `search` and `show`: what the store holds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from turnkeep.cli.sessions.store import on_store

if TYPE_CHECKING:
    from turnkeep.keeper import Keeper


def register(actions: Any) -> None:
    """Add the three."""
    listing = actions.add_parser("list", help="list sessions, newest first")
    listing.add_argument("--user", help="only this user's")
    on_store(listing, _list, json=True)

    search = actions.add_parser("search", help="find events by the words of their messages")
    search.add_argument(
        "query", metavar="QUERY", help='words; "in quotes": a phrase; -word: not it'
    )
    search.add_argument("--user", help="only this user's")
    search.add_argument("--limit", type=int, default=20, metavar="N", help="at most (20)")
    on_store(search, _search, json=True)

    show = actions.add_parser("show", help="show one session")
    show.add_argument("id", metavar="ID")
    show.add_argument(
        "--at", type=int, metavar="N", help="as it was after event N (0: before the first)"
    )
    show.add_argument(
        "--context", action="store_true", help="only what the next request is made of"
    )
    show.add_argument("--full", action="store_true", help="do not shorten long texts")
    on_store(show, _show, json=True)


async def _list(args: argparse.Namespace, keep: Keeper) -> int:
    import json

    from turnkeep.cli.table import local_time, printable, table

    infos = [info async for info in keep.sessions.all(user_id=args.user)]
    if args.json:
        print(json.dumps({"sessions": [info.model_dump(mode="json") for info in infos]}, indent=2))
        return 0
    if not infos:
        print("no sessions yet")
        return 0
    rows = [
        (
            printable(info.session_id),
            printable(info.user_id or "-"),
            info.events,
            local_time(info.updated_at),
            "a turn is running" if info.busy else "",
        )
        for info in infos
    ]
    print(table(("SESSION", "USER", "EVENTS", "UPDATED", ""), rows))
    return 0


async def _search(args: argparse.Namespace, keep: Keeper) -> int:
    import json

    from turnkeep.cli.table import printable

    found = await keep.sessions.search(args.query, user_id=args.user, limit=args.limit)
    if args.json:
        print(json.dumps({"hits": [hit._asdict() for hit in found.hits]}, indent=2))
        return 0
    if not found.hits:
        print("nothing found")
    for hit in found.hits:
        print(f"{printable(hit.session_id)} {hit.seq}: {printable(hit.excerpt)}")
    if found.cursor is not None:
        print(f"there are more; --limit shows more than {args.limit}")
    return 0


async def _show(args: argparse.Namespace, keep: Keeper) -> int:
    import json

    from turnkeep.cli.show import describe_entry, describe_event, describe_session
    from turnkeep.context import Context
    from turnkeep.errors import SessionNotFound
    from turnkeep.history import standing_base
    from turnkeep.session import describe

    head = await keep.sessions.head(args.id)
    if head is None:
        raise SessionNotFound(args.id)
    info = describe(head)
    past = await keep.sessions.at(args.id, head.seq if args.at is None else args.at)
    events = past.events
    entries = None
    if args.context:
        base = standing_base(events)
        entries = Context(events[max(base - 1, 0) :], base=base).entries
    if args.json:
        said = {**info.model_dump(mode="json"), "at": len(events), "state": past.state}
        if entries is None:
            said["log"] = [{"seq": event.seq, **event.model_dump(mode="json")} for event in events]
        else:
            said["context"] = [
                {
                    "seq": entry.ref.seq,
                    "index": entry.ref.index,
                    "form": entry.form,
                    "item": entry.item.model_dump(mode="json"),
                }
                for entry in entries
            ]
        print(json.dumps(said, indent=2))
        return 0
    print(describe_session(info, at=args.at))
    if entries is None:
        lines = (line for event in events for line in describe_event(event, full=args.full))
    else:
        lines = (line for entry in entries for line in describe_entry(entry, full=args.full))
    for line in lines:
        print(line)
    return 0
