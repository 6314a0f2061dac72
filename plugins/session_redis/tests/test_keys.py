"""Names of keys, members of indexes, cursors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from turnkeep_session_redis.keys import Keys, Member, behind, cursor, parse_cursor, parse_member

IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
HOSTILE = st.text("{}%:7BD*a\x01\U0001f600", min_size=1, max_size=8)
MEMBERS = st.builds(
    Member,
    st.integers(0, 3),
    st.one_of(IDS, HOSTILE),
    st.one_of(st.none(), IDS, HOSTILE),
    st.binary(min_size=8, max_size=8),
)
KEYS = Keys("p")


@pytest.mark.prove
@given(st.one_of(IDS, HOSTILE), st.one_of(IDS, HOSTILE))
def test_ids_and_keys_are_one_to_one(one, other):
    """Different ids have different keys, of sessions and of users."""
    assert (KEYS.session(one) == KEYS.session(other)) == (one == other)
    assert (KEYS.user(one) == KEYS.user(other)) == (one == other)
    assert KEYS.session(one) != KEYS.user(other)


def test_an_id_does_not_choose_its_slot():
    """Ids with the same braces do not all come to one node of a Cluster."""
    slots = {key_slot(KEYS.session(f"{{mine}}{number}")) for number in range(50)}
    assert len(slots) > 40


@pytest.mark.prove
@given(MEMBERS)
def test_a_member_is_read_as_it_was_written(member):
    """Whatever its ids hold."""
    assert parse_member(member.encode()) == member


@pytest.mark.prove
@given(MEMBERS, MEMBERS)
def test_members_sort_as_a_list_does(one, other):
    """Newest first, then by the bytes of the id; a cursor stands right behind its member."""

    def order(member):
        return -member.created, member.session_id.encode()

    if order(one) != order(other):
        assert (one.encode() < other.encode()) == (order(one) < order(other))
    start = behind(one.created, one.session_id)
    assert (other.encode() >= start) == (order(other) > order(one))
    assert parse_cursor(cursor(one)) == start
