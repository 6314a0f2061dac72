"""`sessions import` and `sessions export`: conversations between files and the store."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from turnkeep.cli.sessions.store import on_store

if TYPE_CHECKING:
    from turnkeep.keeper import Keeper

PROFILES: Final = ("openai-chat", "anthropic", "openai-responses", "gemini")
"""`turnkeep.formats.PROFILE_NAMES`, which the parser is not to load pydantic for."""


def register(actions: Any) -> None:
    """Add the two."""
    imports = actions.add_parser("import", help="keep the conversations of files")
    imports.add_argument("files", nargs="+", metavar="FILE", help="- reads standard input")
    imports.add_argument(
        "--format",
        choices=("auto", "turnkeep", *PROFILES),
        default="auto",
        help="what the files hold (default: told by their content)",
    )
    imports.add_argument("--id", help="id to keep the session under (a file with one session)")
    imports.add_argument("--user", help="owner for sessions that name none")
    on_store(imports, _import, json=True)

    export = actions.add_parser("export", help="write sessions as turnkeep JSONL")
    which = export.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", nargs="*", default=[], metavar="ID")
    which.add_argument("--all", action="store_true", help="every session, ordered by id")
    export.add_argument("--format", choices=("turnkeep", *PROFILES), default="turnkeep")
    export.add_argument("--output", metavar="FILE", default="-", help="default: standard output")
    on_store(export, _export)


async def _import(args: argparse.Namespace, keep: Keeper) -> int:
    import json

    from turnkeep.cli.files import tell
    from turnkeep.cli.progress import shown
    from turnkeep.cli.table import printable
    from turnkeep.errors import ConfigError, ContentError, SessionExists, TurnkeepError
    from turnkeep.transfer import import_session, read_file

    done: list[dict[str, object]] = []
    failed = 0
    for name in shown(args.files, "importing", len(args.files)):
        try:
            # All of a file is read before any of it is kept.
            sessions = list(read_file(name, kind=args.format, session_id=args.id, told=tell))
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


async def _export(args: argparse.Namespace, keep: Keeper) -> int:
    from turnkeep.cli.files import whole_file
    from turnkeep.cli.progress import shown
    from turnkeep.errors import ConfigError
    from turnkeep.transfer import export_request, export_session

    ids = args.ids
    if args.all:
        ids = sorted([info.session_id async for info in keep.sessions.all()], key=str.encode)
    if args.format != "turnkeep" and len(ids) != 1:
        raise ConfigError(f"--format {args.format} writes one request: name one session")
    with whole_file(args.output) as out:
        for session_id in shown(ids, "exporting", len(ids)):
            if args.format == "turnkeep":
                out.writelines(await export_session(keep.sessions, session_id))
                continue
            body, repairs = await export_request(keep.sessions, session_id, args.format)
            out.write(body)
            for repair in repairs:
                print(f"turnkeep: {session_id!r}: {repair.rule}: {repair.what}", file=sys.stderr)
    return 0


def _complain(name: str, problem: object) -> int:
    """Say what is wrong with a file; gives how many problems that is."""
    where = "" if name in str(problem) else f"{name}: "
    print(f"turnkeep: {where}{problem}", file=sys.stderr)
    return 1
