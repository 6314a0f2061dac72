"""What is removed: a session by its delete, and what an erase leaves in the server's files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from turnkeep.errors import SessionConflict, StoreError
from turnkeep.store import Revision
from turnkeep_session_redis.heads import Said, damaged, parse_said, point
from turnkeep_session_redis.link import Link
from turnkeep_session_redis.scripts import (
    CONFLICT,
    DAMAGED,
    DELETE,
    GONE,
    HEAD_FORM,
    HEAD_SIZE,
    NONE,
)

_logger = logging.getLogger("turnkeep.session_redis")


class Removal(NamedTuple):
    """Whether a session is gone by a call, and what it was if that is known."""

    gone: bool
    said: Said | None = None


async def remove(link: Link, key: bytes, session_id: str, expected: Revision | None) -> Removal:
    """Delete a session at a revision, or the life of it that is there now.

    The second is looked up first, and then only that one is deleted: a try that is repeated, or
    late, would else take a session that has begun anew meanwhile. Raises SessionConflict.
    """
    while True:
        if expected is not None:
            aim = point(expected)
        elif (found := await _aim(link, key)) is not None:
            aim = found
        else:
            return Removal(gone=False)
        answer = await link.run(DELETE, key, aim)
        if (status := answer.value[:1]) == NONE:
            return Removal(gone=answer.lost)  # it may have been our first try
        if status == GONE:
            return Removal(gone=True)
        if status == DAMAGED:
            if expected is not None:
                raise damaged(session_id)
            continue  # it was not when we looked
        said = parse_said(answer.value)
        if status != CONFLICT:
            return Removal(gone=True, said=said)
        if answer.lost and not aim.startswith(said.line.incarnation):
            return Removal(gone=True)  # the life that was meant is over, and this is another one
        if expected is not None:
            raise SessionConflict(session_id, said.head(session_id))


async def _aim(link: Link, key: bytes) -> bytes | None:
    """Give which life of a session is there: its incarnation, nothing for what is no session."""
    found: Sequence[bytes] = (await link.call(key, ("LRANGE", key, 0, 2))).value
    if not found:
        return None
    head = found[0]
    whole = len(found) == 3 and len(head) >= HEAD_SIZE and head[:1] == HEAD_FORM
    return head[1:9] if whole else b""


async def see_to_files(link: Link, key: bytes, session_id: str, *, rewrite: bool) -> None:
    """Rewrite the append-only file after an erase if wanted; log where its bytes still may be."""
    address = link.topology.of_key(key)
    if rewrite:
        try:
            await link.call(key, ("BGREWRITEAOF",))
        except StoreError as error:
            _logger.warning("the append-only file is not rewritten: %s", error)
        else:
            _logger.warning(
                "what was erased from session %r may stay in a snapshot of %s until the next one "
                "(run BGSAVE), in its replicas' files until they are rewritten, and in backups; "
                "its append-only file is being rewritten, if it has one",
                session_id,
                address,
            )
            return
    _logger.warning(
        "what was erased from session %r may stay in files of %s, and of its replicas, until they "
        "are rewritten: run BGREWRITEAOF, and BGSAVE where there are snapshots; and in backups",
        session_id,
        address,
    )
