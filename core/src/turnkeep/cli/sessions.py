"""`turnkeep sessions`: look into the configured store, and move conversations in and out."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnkeep.keeper import Keeper


def register(commands: Any) -> None:
    """Add the command and its own commands."""
    parser = commands.add_parser("sessions", help="import, export, list and show sessions")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    imports = actions.add_parser("import", help="keep the conversations of files")
    imports.add_argument("files", nargs="+", metavar="FILE", help="- reads standard input")
    imports.add_argument(
        "--format",
        choices=("auto", "turnkeep", "openai-chat", "anthropic"),
        default="auto",
        help="what the files hold (default: told by their content)",
    )
    imports.add_argument("--id", help="id to keep the session under (a file with one session)")
    imports.add_argument("--user", help="owner for sessions that name none")

    export = actions.add_parser("export", help="write sessions as turnkeep JSONL")
    which = export.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", nargs="*", default=[], metavar="ID")
    which.add_argument("--all", action="store_true", help="every session, ordered by id")
    export.add_argument(
        "--format", choices=("turnkeep", "openai-chat", "anthropic"), default="turnkeep"
    )
    export.add_argument("--output", metavar="FILE", default="-", help="default: standard output")

    listing = actions.add_parser("list", help="list sessions, newest first")
    listing.add_argument("--user", help="only this user's")

    show = actions.add_parser("show", help="show one session")
    show.add_argument("id", metavar="ID")
    show.add_argument("--full", action="store_true", help="do not shorten long texts")

    for action, run in ((imports, _import), (export, _export), (listing, _list), (show, _show)):
        action.add_argument("--config", metavar="TOML", help="default: the turnkeep.toml found")
        action.set_defaults(run=run)
    for action in (imports, listing, show):
        action.add_argument("--json", action="store_true", help="print JSON")


def _lasting(args: argparse.Namespace) -> Keeper:
    """Open the configured keeper; refuse one whose sessions would end with this command."""
    from turnkeep.config import load_config
    from turnkeep.errors import ConfigError
    from turnkeep.keeper import Keeper

    config = load_config(args.config)
    if config.store.name == "memory":
        raise ConfigError(
            f"{config.source}: sessions would be kept in memory and end with this command; write "
            '[session] store = "sqlite" into turnkeep.toml, or give --config'
        )
    return Keeper.from_config(config)


def _import(args: argparse.Namespace) -> int:
    import asyncio

    return asyncio.run(_import_files(args))


async def _import_files(args: argparse.Namespace) -> int:
    import json

    from turnkeep.cli.table import printable
    from turnkeep.errors import ConfigError, ContentError, SessionExists, TurnkeepError
    from turnkeep.transfer import import_session, read_file

    done: list[dict[str, object]] = []
    failed = 0
    async with _lasting(args) as keep:
        for name in args.files:
            try:
                # All of a file is read before any of it is kept.
                sessions = list(read_file(name, kind=args.format, session_id=args.id))
                if args.id and len(sessions) > 1:
                    raise ConfigError(f"{name}: it holds {len(sessions)} sessions; --id names one")
            except TurnkeepError as error:
                failed += _complain(name, error)
                continue
            for session in sessions:
                session.session_id = args.id or session.session_id
                session.user_id = session.user_id or args.user
                try:
                    head = await import_session(keep.sessions.store, session, ttl=keep.sessions.ttl)
                except SessionExists:
                    failed += _complain(
                        name,
                        f"session {session.session_id!r} is kept already; delete it, or import "
                        "under another name with --id",
                    )
                    continue
                except ContentError as error:
                    failed += _complain(name, error)
                    continue
                done.append({"session": head.session_id, "events": head.seq, "file": name})
                if not args.json:
                    print(f"{printable(head.session_id)}: {head.seq} events from {name}")
    if args.json:
        print(json.dumps({"imported": done, "failed": failed}, indent=2))
    return 1 if failed else 0


def _export(args: argparse.Namespace) -> int:
    import asyncio

    return asyncio.run(_export_sessions(args))


async def _export_sessions(args: argparse.Namespace) -> int:
    from turnkeep.cli.files import whole_file
    from turnkeep.errors import ConfigError
    from turnkeep.transfer import export_request, export_session

    async with _lasting(args) as keep:
        ids = args.ids
        if args.all:
            ids = sorted([info.session_id async for info in keep.sessions.all()], key=str.encode)
        if args.format != "turnkeep" and len(ids) != 1:
            raise ConfigError(f"--format {args.format} writes one request: name one session")
        with whole_file(args.output) as out:
            for session_id in ids:
                if args.format == "turnkeep":
                    out.writelines(await export_session(keep.sessions, session_id))
                    continue
                body, repairs = await export_request(keep.sessions, session_id, args.format)
                out.write(body)
                for repair in repairs:
                    print(
                        f"turnkeep: {session_id!r}: {repair.rule}: {repair.what}", file=sys.stderr
                    )
    return 0


def _complain(name: str, problem: object) -> int:
    """Say what is wrong with a file; gives how many problems that is."""
    where = "" if name in str(problem) else f"{name}: "
    print(f"turnkeep: {where}{problem}", file=sys.stderr)
    return 1


def _list(args: argparse.Namespace) -> int:
    import asyncio

    return asyncio.run(_list_sessions(args))


async def _list_sessions(args: argparse.Namespace) -> int:
    import json

    from turnkeep.cli.table import local_time, printable, table

    async with _lasting(args) as keep:
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


def _show(args: argparse.Namespace) -> int:
    import asyncio

    return asyncio.run(_show_session(args))


async def _show_session(args: argparse.Namespace) -> int:
    import json

    from turnkeep.cli.show import describe_event
    from turnkeep.cli.table import local_time, printable
    from turnkeep.errors import SessionNotFound
    from turnkeep.session import describe

    async with _lasting(args) as keep:
        head = await keep.sessions.head(args.id)
        if head is None:
            raise SessionNotFound(args.id)
        info = describe(head)
        if args.json:
            events = [
                {"seq": event.seq, **event.model_dump(mode="json")}
                async for event in keep.sessions.events(args.id)
            ]
            print(json.dumps({**info.model_dump(mode="json"), "log": events}, indent=2))
            return 0
        owner = f", user {printable(info.user_id)}" if info.user_id else ""
        times = f"{local_time(info.created_at)} to {local_time(info.updated_at)}"
        print(f"{printable(info.session_id)}{owner}: {info.events} events, {times}")
        async for event in keep.sessions.events(args.id):
            for line in describe_event(event, full=args.full):
                print(line)
    return 0
