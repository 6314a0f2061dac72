"""Where the sessions are: what a url names, and how that is shown without its password."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

Kind: TypeAlias = Literal["single", "sentinel", "cluster"]

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_SCHEMES: Final[dict[str, tuple[Kind, bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("single", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:/@]+))(?::(\d{1,5}))?")


class Address(NamedTuple):
    """Host and port of a server; of a socket in the file system, its path and port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Place(NamedTuple):
    """What a url names. `service` and `database` are where the kind has them."""

    kind: Kind
    addresses: tuple[Address, ...]
    database: int = 0
    service: str = ""
    tls: bool = False
    username: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        """Name it for messages; the login is left out."""
        where = ", ".join(map(str, self.addresses))
        if self.kind == "sentinel":
            return f"Redis service {self.service!r} (Sentinel at {where})"
        return f"Redis Cluster at {where}" if self.kind == "cluster" else f"Redis at {where}"

    def __repr__(self) -> str:
        return str(self)


_ENCODE: Final = (
    "the url cannot be read: percent-encode what user and password hold beside ASCII letters and "
    "digits, as %2F for /"
)


def parse_place(url: str) -> Place:
    """Take a url apart. Raises ValueError with a sentence that repeats nothing of the url."""
    scheme, found, _ = url.partition("://")
    if not found or scheme not in _SCHEMES:
        raise ValueError(f"the url must begin with one of {', '.join(_SCHEMES)}, each with ://")
    kind, tls = _SCHEMES[scheme]
    try:
        parts = urlsplit(url)
        url.encode()
    except ValueError:  # its own sentence repeats what it cannot read
        raise ValueError(_ENCODE) from None
    if "@" in parts.path:
        raise ValueError(_ENCODE)
    if parts.query or parts.fragment:
        raise ValueError("the url may have no ? or #: say it by options, percent-encode passwords")
    login, _, hosts = parts.netloc.rpartition("@")
    name, colon, secret = login.partition(":")
    place = Place(
        kind,
        (),
        tls=tls,
        username=unquote(name) or None,
        password=unquote(secret) if colon else None,
    )
    path = [unquote(piece) for piece in parts.path.split("/")[1:] if piece]
    if scheme == "unix":
        if hosts or not parts.path:
            raise ValueError("a unix url names the socket: unix:///run/redis.sock")
        return place._replace(addresses=(Address(unquote(parts.path), 0),))
    default = SENTINEL_PORT if kind == "sentinel" else PORT
    place = place._replace(addresses=tuple(_address(each, default) for each in hosts.split(",")))
    if kind == "single" and len(place.addresses) > 1:
        raise ValueError("several hosts need redis+cluster:// or redis+sentinel://")
    if kind == "sentinel":
        if not path:
            raise ValueError("a Sentinel url names the service: redis+sentinel://host,host/service")
        place = place._replace(service=path.pop(0))
    if path:
        place = place._replace(database=_database(path))
    if kind == "cluster" and place.database:
        raise ValueError("a Cluster has no database but 0")
    return place


def _address(text: str, default: int) -> Address:
    if (found := _HOST.fullmatch(text)) is None:
        raise ValueError("a host in the url cannot be read: host, host:port or [address]:port")
    port = int(found[3] or default)
    if not 0 < port < 65_536:
        raise ValueError("a port in the url is not between 1 and 65535")
    return Address(found[1] or found[2], port)


def _database(path: list[str]) -> int:
    if len(path) > 1 or not path[0].isascii() or not path[0].isdigit():
        raise ValueError("the url's path ends with the number of a database, such as /0")
    return int(path[0])
