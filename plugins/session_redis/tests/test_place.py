"""What a url may say, and that its password is shown nowhere."""

import pytest
from pydantic import ValidationError

from turnkeep_session_redis.options import RedisOptions
from turnkeep_session_redis.place import Address, Place, parse_place

SECRET = "p@ss:w/rd"
QUOTED = "p%40ss%3Aw%2Frd"

READ = {
    "redis://db": Place("single", (Address("db", 6379),)),
    "redis://db:6380/3": Place("single", (Address("db", 6380),), 3),
    f"rediss://ann:{QUOTED}@db/0": Place(
        "single", (Address("db", 6379),), tls=True, username="ann", password=SECRET
    ),
    f"redis://:{QUOTED}@[::1]:7000": Place("single", (Address("::1", 7000),), password=SECRET),
    "unix:///run/redis.sock": Place("single", (Address("/run/redis.sock", 0),)),
    "redis+sentinel://a:1,b/main/2": Place(
        "sentinel", (Address("a", 1), Address("b", 26379)), 2, "main"
    ),
    "rediss+cluster://a,b:7": Place("cluster", (Address("a", 6379), Address("b", 7)), tls=True),
}
REFUSED = [
    "",
    "db",
    "http://db",
    "redis://",
    "redis://db:0",
    "redis://db:99999",
    "redis://db:six",
    "redis://db/x",
    "redis://db/1/2",
    "redis://a,b",
    f"redis://{SECRET}@db",
    "redis://db?password=hunter22",
    "redis://ann:hunter22[x]@db",
    "redis://ann:hunter22\u2100@db",
    "redis://ann:6379/hunter22@db",
    "redis://ann:hunter22\ud800@db",
    "unix://db/run/x",
    "redis+sentinel://a",
    "redis+cluster://a/1",
]


@pytest.mark.parametrize("url", READ)
def test_a_url_is_read(url):
    """Scheme, login, hosts, service and database."""
    found = parse_place(url)
    assert tuple(found) == tuple(READ[url])


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_is_none_is_refused_without_repeating_it(url):
    """A ValueError, in which nothing of the login stands."""
    with pytest.raises(ValueError) as caught:
        parse_place(url)
    assert "w/rd" not in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_no_text_of_options_or_place_shows_a_password():
    """Neither str nor repr, nor the error for a bad url."""
    options = RedisOptions(url=f"redis://ann:{QUOTED}@db", password="other-secret")
    for text in (str(options), repr(options), str(options.place()), repr(options.place())):
        assert QUOTED not in text
        assert SECRET not in text
        assert "other-secret" not in text
    with pytest.raises(ValidationError) as caught:
        RedisOptions(url=f"redis://ann:{QUOTED}@db/x")
    assert QUOTED not in str(caught.value)


def test_options_go_before_the_url():
    """A user name and a password of their own replace those in the url."""
    place = RedisOptions(url="redis://a:b@db", username="c", password="d").place()
    assert (place.username, place.password) == ("c", "d")


@pytest.mark.parametrize("prefix", ["", "a:b", "a b", "ä", "x" * 65, "a\n"])
def test_a_prefix_is_a_plain_name(prefix):
    """Without a colon: so no two prefixes can name one key."""
    with pytest.raises(ValidationError):
        RedisOptions(prefix=prefix)
