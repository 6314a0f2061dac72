"""Finding events by the words of their messages, where a store searches."""

import json

import pytest

import turnkeep as tk
from turnkeep import Message, StoreError


@pytest.fixture
def settings(durable):
    """Make settings for one place in PostgreSQL that searches."""
    made = durable("postgres")
    made()["session"]["postgres"]["search"] = True
    return made


def say(text, role="user"):
    return Message(role=role, content=text)


async def talk(keep, name, *texts, user=None):
    """Keep messages of the user, one event each, and an answer behind each."""
    async with keep.turn(name, user_id=user) as turn:
        for text in texts:
            await turn.add(say(text))
        await turn.add_response("Understood.")


async def found(keep, query, **fields):
    return [(hit.session_id, hit.seq) for hit in (await keep.sessions.search(query, **fields)).hits]


async def test_messages_are_found_by_their_words(settings):
    """Newest session first; what user and model said, with the words in sight."""
    async with tk.open(settings()) as keep:
        await talk(keep, "old", "The parser fails with E4021", "nothing of the kind")
        await talk(keep, "new", "E4021 again, in the lexer")
        assert await found(keep, "e4021") == [("new", 1), ("old", 1)]
        assert await found(keep, "understood lexer") == []
        assert await found(keep, "understood") == [("new", 2), ("old", 3)]
        [hit] = (await keep.sessions.search("lexer")).hits
        assert "in the lexer" in hit.excerpt


async def test_a_user_finds_their_own(settings):
    """And nothing of others."""
    async with tk.open(settings()) as keep:
        await talk(keep, "a", "the secret garden", user="ann")
        await talk(keep, "b", "the secret door", user="bob")
        assert await found(keep, "secret", user_id="ann") == [("a", 1)]


async def test_what_is_erased_is_not_found_any_more(settings):
    """What was taken back is: the log has it."""
    async with tk.open(settings()) as keep:
        await talk(keep, "s", "my key is swordfish", "my pet is a catfish")
        await keep.sessions.erase("s", [1])
        await keep.sessions.rewind("s", 0)
        assert await found(keep, "swordfish") == []
        assert await found(keep, "catfish") == [("s", 2)]


async def test_pages_go_on_where_they_ended(settings):
    """Without gap or overlap."""
    async with tk.open(settings()) as keep:
        await talk(keep, "s", *(f"fish number {number}" for number in range(7)))
        seen, cursor = [], None
        while True:
            page = await keep.sessions.search("fish", limit=3, cursor=cursor)
            seen += [hit.seq for hit in page.hits]
            if (cursor := page.cursor) is None:
                break
        assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_copies_and_forks_are_found_too(settings, tmp_path):
    """Their texts go with them."""
    from turnkeep.copying import copy_session

    here = {"session": {"store": "sqlite", "sqlite": {"path": str(tmp_path / "s.db")}}}
    async with tk.open(here) as source, tk.open(settings()) as target:
        await talk(source, "s", "a needle")
        await copy_session(source.sessions.store, target.sessions.store, "s")
        assert await found(target, "needle") == [("s", 1)]
        await target.sessions.fork("s", "t")
        assert sorted(await found(target, "needle")) == [("s", 1), ("t", 1)]


async def test_a_store_that_does_not_search_says_so():
    """And which one does."""
    async with tk.open({"session": {"store": "memory"}}) as keep:
        with pytest.raises(StoreError, match=r"memory store does not search.*postgres"):
            await keep.sessions.search("x")


async def test_sealed_messages_are_not_searched(settings):
    """A store that must not know what is said cannot find it."""
    sealed = settings(
        wrap=["encrypt"],
        encrypt={"key": "k", "keys": {"k": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}},
    )
    async with tk.open(sealed) as keep:
        await talk(keep, "s", "a needle")
        with pytest.raises(StoreError, match="does not search"):
            await keep.sessions.search("needle")


async def test_the_command_shows_what_it_found(settings, turnkeep, tmp_path, monkeypatch):
    """Session, event and words; as JSON too."""
    options = settings()["session"]["postgres"]
    (tmp_path / "turnkeep.toml").write_text(
        '[session]\nstore = "postgres"\n[session.postgres]\n'
        f'url = "{options["url"]}"\nschema = "{options["schema"]}"\nsearch = true\n'
    )
    monkeypatch.chdir(tmp_path)
    async with tk.open(settings()) as keep:
        await talk(keep, "s", "where is the needle?", "not here")
    import asyncio

    code, out, err = await asyncio.to_thread(turnkeep, "sessions", "search", "needle")
    assert (code, out, err) == (0, "s 1: where is the needle?\n", "")
    _, out, _ = await asyncio.to_thread(turnkeep, "sessions", "search", "--json", '"not here"')
    assert [hit["seq"] for hit in json.loads(out)["hits"]] == [2]
    _, out, _ = await asyncio.to_thread(turnkeep, "sessions", "search", "haystack")
    assert out == "nothing found\n"
