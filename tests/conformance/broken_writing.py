"""Defects in fencing, atomicity and retries."""

import asyncio

from defects import fails
from whole import Whole

from turnkeep.errors import SessionConflict
from turnkeep.store import Revision, new_commit_id


@fails()
class Sound(Whole):
    """No defect: the suite finds nothing in it."""


# Fencing


@fails(
    "a_conflict_tells_the_current_head",
    "a_conflict_writes_nothing",
    "a_handle_of_an_earlier_life_conflicts",
    "a_stale_writer_conflicts",
    "a_version_of_the_future_conflicts",
    "an_erase_fences_those_who_did_not_see_it",
    "of_writers_with_one_expectation_one_wins",
)
class LastWriterWins(Whole):
    """`expected` of an append is not looked at."""

    async def append(self, session_id, records, *, expected, **fields):
        found = self._find(session_id, self._now())
        if found is not None:
            expected = found.head.revision
        return await super().append(session_id, records, expected=expected, **fields)


@fails(
    "a_conflict_tells_the_current_head",
    "a_conflict_writes_nothing",
    "a_stale_writer_conflicts",
    "an_append_can_be_repeated_by_another_handle",
    "an_append_whose_answer_was_lost_can_be_repeated",
    "an_erase_fences_those_who_did_not_see_it",
    "of_writers_with_one_expectation_one_wins",
    "two_tasks_lose_and_double_nothing",
)
class SecondWriterOverwrites(Whole):
    """A stale append goes on from what its writer knew; what came between is lost."""

    async def append(self, session_id, records, *, expected, **fields):
        found = self._find(session_id, self._now())
        known, current = expected, None if found is None else found.head.revision
        if current and known.incarnation == current.incarnation and known < current:
            del found.records[-1:]
            found.head = found.head._replace(seq=len(found.records), revision=known)
        return await super().append(session_id, records, expected=expected, **fields)


@fails("a_handle_of_an_earlier_life_conflicts")
class OldIncarnationAccepted(Whole):
    """Appends compare versions only."""

    async def append(self, session_id, records, *, expected, **fields):
        found = self._find(session_id, self._now())
        if found is not None:
            expected = Revision(found.head.revision.incarnation, expected.version)
        return await super().append(session_id, records, expected=expected, **fields)


@fails("a_version_of_the_future_conflicts")
class NewerVersionAccepted(Whole):
    """An expectation conflicts only where it is older."""

    async def append(self, session_id, records, *, expected, **fields):
        found = self._find(session_id, self._now())
        if found is not None and expected > found.head.revision:
            expected = Revision(expected.incarnation, found.head.revision.version)
        return await super().append(session_id, records, expected=expected, **fields)


@fails("a_conflict_tells_the_current_head", "two_tasks_lose_and_double_nothing")
class ConflictTellsTheWrongHead(Whole):
    """The head in a conflict is a version behind, so that going on from it conflicts again."""

    async def append(self, session_id, records, **fields):
        try:
            return await super().append(session_id, records, **fields)
        except SessionConflict as error:
            revision = error.head.revision
            behind = error.head._replace(revision=Revision(revision.incarnation, -1))
            raise SessionConflict(session_id, behind) from None


@fails("a_conflict_writes_nothing", "a_fault_amid_an_append_leaves_nothing_of_it")
class ConflictWritesState(Whole):
    """The state is written before the fence."""

    async def append(self, session_id, records, *, state=None, **fields):
        found = self._find(session_id, self._now())
        if found is not None and state is not None:
            found.state = state
        return await super().append(session_id, records, state=state, **fields)


@fails("a_fenced_delete_spares_what_changed", "a_handle_of_an_earlier_life_conflicts")
class DeleteIgnoresExpected(Whole):
    """A delete is never refused."""

    async def delete(self, session_id, *, expected=None):
        return await super().delete(session_id)


@fails(
    "a_session_id_is_taken_for_every_user",
    "an_existing_session_is_not_created_again",
    "of_many_creators_one_wins",
)
class CreateReplaces(Whole):
    """A create of what exists begins it anew."""

    async def create(self, session_id, *, commit_id, **fields):
        found = self._sessions.get(session_id)
        if found is not None and found.created_by != commit_id:
            del self._sessions[session_id]
        return await super().create(session_id, commit_id=commit_id, **fields)


# Atomicity and retries


@fails("a_cancelled_append_is_all_or_nothing", "a_load_is_one_snapshot_while_a_writer_runs")
class TornAppend(Whole):
    """State and meta are written a moment after the records."""

    async def append(self, session_id, records, *, meta=None, state=None, **fields):
        head = await super().append(session_id, records, **fields)
        if meta is state is None:
            return head
        await asyncio.sleep(0)
        found = self._find(session_id, self._now())
        found.head = found.head._replace(meta=found.head.meta if meta is None else meta)
        found.state = found.state if state is None else state
        return found.head


@fails("a_fault_amid_an_append_leaves_nothing_of_it")
class FaultLeavesHalf(Whole):
    """Records are appended one by one until one fails."""

    async def append(self, session_id, records, *, expected, **fields):
        for record in records:
            if not isinstance(record.data, bytes | bytearray):
                good = records[: records.index(record)]
                await super().append(session_id, good, expected=expected, **fields)
        return await super().append(session_id, records, expected=expected, **fields)


@fails(
    "an_append_can_be_repeated_by_another_handle", "an_append_whose_answer_was_lost_can_be_repeated"
)
class RetryConflicts(Whole):
    """The commit id of an append is not kept."""

    async def append(self, session_id, records, *, commit_id, **fields):
        return await super().append(session_id, records, commit_id=new_commit_id(), **fields)


@fails(
    "an_append_can_be_repeated_by_another_handle", "an_append_whose_answer_was_lost_can_be_repeated"
)
class RetryAppliedTwice(Whole):
    """A repeated append is written once more."""

    async def append(self, session_id, records, *, expected, commit_id, **fields):
        found = self._find(session_id, self._now())
        if found is not None and found.commit_id == commit_id:
            expected, commit_id = found.head.revision, new_commit_id()
        return await super().append(
            session_id, records, expected=expected, commit_id=commit_id, **fields
        )


@fails("a_create_whose_answer_was_lost_can_be_repeated")
class CreateForgetsItsCommitId(Whole):
    """A repeated create is SessionExists."""

    async def create(self, session_id, *, commit_id, **fields):
        return await super().create(session_id, commit_id=new_commit_id(), **fields)


@fails("a_deleted_session_is_not_found", "an_append_to_nothing_is_not_found")
class AppendCreates(Whole):
    """An append to a session that never was begins it."""

    async def append(self, session_id, records, *, expected, **fields):
        if session_id not in self._sessions:
            expected = (await self.create(session_id, commit_id=new_commit_id())).revision
        return await super().append(session_id, records, expected=expected, **fields)
