"""Moving conversations between files and a store, without losing a key."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from turnkeep import formats
from turnkeep.blobs import restore
from turnkeep.codec import content_error, decode_object, encode_event, encode_object
from turnkeep.content import Item, ToolDefinition, compact_json
from turnkeep.context import Context
from turnkeep.errors import ContentError, CorruptSession, SessionNotFound
from turnkeep.events import Event
from turnkeep.formats.jsonl import SessionFile, read_sessions, write_session
from turnkeep.formats.logs import read_log
from turnkeep.history import standing_base
from turnkeep.log import begin
from turnkeep.manager import SessionManager
from turnkeep.meta import Meta, times
from turnkeep.prepared import PreparedRequest
from turnkeep.repair.steps import Repair
from turnkeep.session import Session
from turnkeep.store import Head, SessionStore, Ttl
from turnkeep.tokens.estimate import EstimateCounter


def read_file(
    name: str,
    *,
    kind: str = "auto",
    session_id: str | None = None,
    told: Callable[[str], None] | None = None,
) -> Iterator[SessionFile]:
    """Read the conversations of a file ("-": standard input).

    Args:
        name: the file.
        kind: "turnkeep" (JSONL), the name of a profile (its request bodies), or "auto": told by
            the content, which may also be a log that another program wrote.
        session_id: names the session of a file that holds no id (default: the file's name).
        told: is called with each sentence about a file that is not of ours: what it was read as,
            what was left out, what could not be read.

    Raises:
        ContentError: with file, line and path.
    """
    text = _text(name)
    if kind == "turnkeep" or (kind == "auto" and _is_ours(text)):
        yield from read_sessions(text.split("\n"), name)
        return
    profile = None if kind == "auto" else formats.get_profile(kind).name
    log = read_log(text, name, session_id or _stem(name), profile=profile)
    if told is not None:
        for sentence in log.sentences():
            told(sentence if sentence.startswith(f"{name}:") else f"{name}: {sentence}")
    yield from log.sessions


def tools_of(header: Mapping[str, Any], where: str) -> list[ToolDefinition]:
    """Read the tools of a session line. Raises ContentError with the path."""
    tools = header.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise ContentError(f"{where}: tools: a list is needed", path="tools")
    made = []
    for place, tool in enumerate(tools or ()):
        try:
            made.append(ToolDefinition.model_validate(tool))
        except ValidationError as error:
            problem = content_error(error, tool)
            raise ContentError(f"{where}: tools[{place}]: {problem}", path="tools") from None
    return made


async def import_session(store: SessionStore, session: SessionFile, *, ttl: Ttl = None) -> Head:
    """Keep a conversation as it is: ids, seqs, times and every field.

    All events are one append; the same import again completes one that was cut off before it.
    Raises SessionExists.
    """
    session_id = session.session_id
    if len({event.id for event in session.events}) != len(session.events):
        raise ContentError(f"session {session_id!r}: two of its events have the same id")
    for place, event in enumerate(session.events, 1):
        if event.seq not in (None, place):
            raise ContentError(
                f"session {session_id!r}: event {event.id} has seq {event.seq}, but is number "
                f"{place} of its file; seqs have no gaps"
            )
        event.stored_as(place)
    state = encode_object(session.state, f"state of session {session_id!r}")
    # Encoded before the session is begun: what is refused leaves nothing behind.
    records = [encode_event(event) for event in session.events]
    log = await begin(
        store,
        session_id,
        user_id=session.user_id,
        ttl=ttl,
        commit_id=_import_key(session, records),
    )
    imported: dict[str, Any] = {
        name: moment.isoformat()
        for name, moment in (("created", session.created), ("updated", session.updated))
        if moment is not None
    }
    if imported:
        imported["version"] = log.head.revision.version + 1
    told = any(event.state is not None for event in session.events)
    meta = Meta(
        header=session.header,
        imported=imported or None,
        first_state={} if told else session.state,
    )
    return await log.append(
        session.events,
        meta=meta.encode(session_id),
        state=state,
        base=standing_base(session.events) or None,
    )


def _import_key(session: SessionFile, records: Sequence[bytes]) -> bytes:
    """Make the key of the begin of an import: the same for the same file and owner."""
    key = hashlib.blake2b(digest_size=16)
    key.update(compact_json([session.session_id, session.user_id, session.header]).encode())
    for event, record in zip(session.events, records, strict=True):
        # Ids and times of a plain transcript are made anew by each reading.
        items = [item.model_dump_json() for item in event.content]
        key.update("".join(items).encode() if items else record)
    return key.digest()


async def export_session(sessions: SessionManager, session_id: str) -> list[str]:
    """Write a session as lines of turnkeep JSONL. Raises SessionNotFound."""
    session, head, meta = await read_stored(sessions, session_id)
    created, updated = times(head, meta)
    return list(
        write_session(
            SessionFile(
                session_id=session_id,
                user_id=session.user_id,
                created=created,
                updated=updated,
                state=session.state,
                header=meta.header,
                events=session.events,
            )
        )
    )


def session_line(head: Head, state: bytes) -> str:
    """Write the line that begins a session's export, from what a store knows of it."""
    meta = Meta.of(head)
    created, updated = times(head, meta)
    [line] = write_session(
        SessionFile(
            session_id=head.session_id,
            user_id=head.user_id,
            created=created,
            updated=updated,
            state=decode_object(state, session_id=head.session_id, what="its state"),
            header=meta.header,
        )
    )
    return line


async def export_request(
    sessions: SessionManager, session_id: str, profile: str
) -> tuple[str, list[Repair]]:
    """Write the request that would be sent next, and what was repaired to make it valid."""
    session, head, meta = await read_stored(sessions, session_id)
    instructions = meta.header.get("instructions")
    items = Context(session.events[max(head.base - 1, 0) :], base=head.base).items
    prepared = PreparedRequest.of_items(
        [await restored(session, item) for item in items],
        instructions=instructions if isinstance(instructions, str) else "",
        tools=tools_of(meta.header, f"session {session_id!r}"),
        session_id=session_id,
        counter=EstimateCounter(),
    )
    body = compact_json(prepared.to(profile, cache=False)) + "\n"
    return body, prepared.report(profile).repairs


async def read_stored(sessions: SessionManager, session_id: str) -> tuple[Session, Head, Meta]:
    """Read a session that is kept, with its head and notes. Raises SessionNotFound."""
    session = await sessions.get(session_id)
    if session is None or (head := sessions.head_of(session)) is None:
        raise SessionNotFound(session_id)
    return session, head, Meta.of(head)


async def restored(session: Session, item: Item) -> Item:
    """Put large media back that an item of the session only refers to. Raises CorruptSession."""

    async def fetch(seq: int) -> Event:
        if not 1 <= seq <= len(session.events):
            raise CorruptSession(session.session_id, seq, "it is not there")
        return session.events[seq - 1]

    return await restore(item, fetch, session_id=session.session_id)


def _is_ours(text: str) -> bool:
    first = text.lstrip().partition("\n")[0]
    if '"session"' not in first:  # it may be a gigabyte of something else
        return False
    try:
        line = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(line, dict) and line.get("type") == "session"


def _text(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContentError(f"{name}: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise ContentError(f"{name}: cannot be read: {error.strerror or error}") from None


def _stem(name: str) -> str:
    return "stdin" if name == "-" else Path(name).stem
