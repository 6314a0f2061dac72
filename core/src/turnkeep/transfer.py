"""Moving conversations between files and a store, without losing a key."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from turnkeep import formats
from turnkeep.codec import encode_object
from turnkeep.content import Item, compact_json
from turnkeep.context import Context, standing_base
from turnkeep.errors import ContentError, SessionExists, SessionNotFound
from turnkeep.events import Event, author_of
from turnkeep.formats.jsonl import SessionFile, read_sessions, write_session
from turnkeep.log import Log
from turnkeep.meta import Meta, times
from turnkeep.prepared import PreparedRequest
from turnkeep.session import SessionManager
from turnkeep.store import Head, Loaded, SessionStore
from turnkeep.tokens.estimate import EstimateCounter


def read_file(
    name: str, *, kind: str = "auto", session_id: str | None = None
) -> Iterator[SessionFile]:
    """Read the conversations of a file ("-": standard input).

    `kind` is "turnkeep" (JSONL), "openai-chat" or "anthropic" (a request body), or "auto": told by
    the content. `session_id` names the session of a file that holds no id (default: the file's
    name). Raises ContentError with file, line and path.
    """
    if kind == "auto":
        kind = _kind(name)
    if kind == "turnkeep":
        with _open(name) as lines:
            yield from read_sessions(lines, name)
        return
    with _open(name) as stream:
        try:
            body = json.load(stream)
        except ValueError as error:
            raise ContentError(f"{name}: not JSON: {error}") from None
    request = formats.get_profile(kind).parse_request(body)
    items: list[Item] = [*request.contents]
    header: dict[str, Any] = {"model": request.model_id} if request.model_id else {}
    if request.instructions:
        header["instructions"] = request.instructions
    if request.tools:
        header["tools"] = [tool.model_dump(mode="json") for tool in request.tools]
    yield SessionFile(
        session_id=session_id or _stem(name),
        user_id=None,
        created=None,
        updated=None,
        state={},
        header=header,
        events=[Event(author=author_of(item), content=[item]) for item in items],
    )


async def import_session(store: SessionStore, session: SessionFile) -> Head:
    """Keep a conversation as it is: ids, seqs, times and every field.

    All events are one append. A session that was begun by an import cut off before it is completed.
    Raises SessionExists.
    """
    session_id = session.session_id
    for place, event in enumerate(session.events, 1):
        if event.seq not in (None, place):
            raise ContentError(
                f"session {session_id!r}: event {event.id} has seq {event.seq}, but is number "
                f"{place} of its file; seqs have no gaps"
            )
        event.stored_as(place)
    state = encode_object(session.state, f"state of session {session_id!r}")
    # The same key for the same conversation: a repeated import of an unfinished one goes on.
    key = hashlib.blake2b(
        compact_json([event.id for event in session.events]).encode(), digest_size=16
    ).digest()
    try:
        head = await store.create(session_id, user_id=session.user_id, commit_id=key)
    except SessionExists:
        found = await store.load(session_id, limit=1)
        if not isinstance(found, Loaded) or found.head.revision.version > 0:
            raise
        head = found.head
    imported = {
        name: moment.isoformat()
        for name, moment in (("created", session.created), ("updated", session.updated))
        if moment is not None
    }
    if imported:
        imported["version"] = head.revision.version + 1  # type: ignore[assignment]  # a number
    meta = Meta(header=session.header, imported=imported or None)
    return await Log(store, head).append(
        session.events,
        meta=meta.encode(session_id),
        state=state,
        base=standing_base(session.events) or None,
    )


async def export_lines(
    sessions: SessionManager, session_id: str, *, kind: str = "turnkeep"
) -> AsyncIterator[str]:
    """Write a session as lines: turnkeep JSONL, or one request body of a provider.

    Raises SessionNotFound.
    """
    session = await sessions.get(session_id)
    if session is None or (head := await sessions.head(session_id)) is None:
        raise SessionNotFound(session_id)
    meta = Meta.of(head)
    if kind == "turnkeep":
        created, updated = times(head, meta)
        for line in write_session(
            SessionFile(
                session_id=session_id,
                user_id=session.user_id,
                created=created,
                updated=updated,
                state=session.state,
                header=meta.header,
                events=session.events,
            )
        ):
            yield line
        return
    prepared = PreparedRequest.of_items(
        Context(session.events, base=head.base).items,
        instructions=str(meta.header.get("instructions", "")),
        tools=meta.header.get("tools", ()),
        session_id=session_id,
        counter=EstimateCounter(),
    )
    yield compact_json(prepared.to(kind, cache=False)) + "\n"


def _kind(name: str) -> str:
    """Tell a file's format by its first line, or by the whole if that is no JSON."""
    if name == "-":
        return "turnkeep"
    text = Path(name).read_text(encoding="utf-8")
    first = text.partition("\n")[0]
    for candidate in (first, text):
        try:
            body = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(body, dict) and body.get("type") == "session":
            return "turnkeep"
        if (found := formats.detect(body)) is not None:
            return found
    raise ContentError(
        f"{name}: neither turnkeep JSONL (a session line first) nor a request body of OpenAI Chat "
        "or Anthropic Messages; see docs/formats.md"
    )


def _open(name: str) -> Any:
    if name == "-":
        return sys.stdin
    return Path(name).open(encoding="utf-8", newline="\n")


def _stem(name: str) -> str:
    return "stdin" if name == "-" else Path(name).stem
