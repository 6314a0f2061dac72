"""Opening: what is refused, what is warned of, what the store says of its server."""

import shutil
import subprocess
import traceback

import pytest
from redis import Redis

from turnkeep.errors import StoreError, StoreUnavailable
from turnkeep.testing.servers.process import CannotStart, free_port
from turnkeep.testing.servers.redis import RedisServer

DURABLE = {
    "synced": (["--appendonly", "yes", "--appendfsync", "always"], "power", None),
    "each second": (["--appendonly", "yes"], "process", None),
    "snapshots": (["--appendonly", "no", "--save", "900 1"], "process", "snapshots only"),
    "nothing": (["--appendonly", "no"], "none", "nothing on disk"),
    "evicting": (
        ["--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"],
        "process",
        "maxmemory-policy noeviction",
    ),
}


@pytest.mark.parametrize("kind", DURABLE)
async def test_durability_is_what_the_server_is_set_to(kind, opened, server, caplog):
    """Power with appendfsync always, else process, none without any file; faults are warned of."""
    config, durability, warning = DURABLE[kind]
    async with opened(url=server(*config).url) as store:
        assert store.durability == durability
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [warning in text for text in warnings] == ([True] if warning else [])


async def test_a_server_that_hides_its_settings_is_used(opened, server, begin):
    """Where CONFIG and INFO are forbidden, as managed ones do: durability is process."""
    place = server()
    place.ask("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-config", "-info")
    async with opened(url=f"redis://app:pw@127.0.0.1:{place.port}") as store:
        assert store.durability == "process"
        assert (await begin(store, records=2)).seq == 2


@pytest.mark.parametrize("login", ["", "app:wrong-password@", ":wrong-password@"])
async def test_a_wrong_login_is_told_at_once_and_without_it(login, opened, server):
    """StoreUnavailable, without waiting for retry_for; no password in the text or its cause."""
    place = server("--requirepass", "right-password")
    with pytest.raises(StoreUnavailable) as caught:
        async with opened(url=f"redis://{login}127.0.0.1:{place.port}", retry_for=3600):
            pass
    assert "username and password" in str(caught.value)
    assert "password@" not in f"{caught.value} {caught.value.__cause__!r}"
    assert "wrong-password" not in f"{caught.value} {caught.value.__cause__!r}"


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster"])
async def test_a_server_that_is_away_is_unavailable(scheme, opened):
    """StoreUnavailable names where it was looked for, and not the login."""
    path = "/main" if scheme.endswith("sentinel") else ""
    url = f"{scheme}://ann:hunter22@127.0.0.1:{free_port()}{path}"
    with pytest.raises(StoreUnavailable) as caught:
        async with opened(url=url, retry_for=0.1):
            pass
    assert "127.0.0.1" in str(caught.value)
    assert "hunter22" not in str(caught.value)


FULL = {
    "no memory": ("maxmemory", "1"),
    "no replicas": ("min-replicas-to-write", "1"),
}


@pytest.mark.parametrize("fault", FULL)
async def test_a_server_that_takes_no_writes_is_opened_and_read(opened, server, begin, fault):
    """To load, export and copy, and to delete where it is full."""
    place = server()
    async with opened(url=place.url) as store:
        await begin(store, records=2)
    place.ask("CONFIG", "SET", *FULL[fault])
    async with opened(url=place.url, retry_for=0.1) as store:
        assert len((await store.load("s")).records) == 2
        assert len((await store.list()).heads) == 1
        if fault == "no memory":
            assert await store.delete("s")


async def test_no_traceback_shows_what_was_to_be_written(opened, server):
    """A server without a command repeats its arguments; neither the error nor its cause does."""
    place = server("--rename-command", "EVALSHA", "")
    secret = b"hunter" * 2
    async with opened(url=place.url) as store:
        with pytest.raises(StoreError, match="unknown command 'EVALSHA'") as caught:
            await store.create("s", state=secret, commit_id=b"c")
    assert "hunterhunter" not in "".join(traceback.format_exception(caught.value))


async def test_a_prefix_of_another_program_is_refused(opened, raw: Redis, prefix, begin):
    """A mark that is none of ours is a StoreError; so is a key of another kind, later."""
    raw.set(f"{prefix}:s:s", "somebody's")
    async with opened() as store:
        with pytest.raises(StoreError, match="another prefix"):
            await begin(store)
    raw.set(f"{prefix}:format", "theirs")
    with pytest.raises(StoreError, match="another program"):
        async with opened():
            pass


async def test_a_newer_format_is_refused(opened, raw: Redis, prefix):
    """The sentence says what to do."""
    raw.set(f"{prefix}:format", 2)
    with pytest.raises(StoreError, match="upgrade"):
        async with opened():
            pass


async def test_an_old_server_is_refused(opened, monkeypatch):
    """Before 6.2 it lacks what the store needs."""
    from turnkeep_session_redis import health

    monkeypatch.setattr(health, "OLDEST", (99, 0))
    with pytest.raises(StoreError, match=r"needs Redis 6\.2"):
        async with opened():
            pass


async def test_a_socket_in_the_file_system(opened, server, begin, tmp_path):
    """unix:// is a connection, too."""
    path = tmp_path / "redis.sock"
    server("--unixsocket", str(path))
    async with opened(url=f"unix://{path}") as store:
        assert (await begin(store, records=1)).seq == 1


@pytest.fixture
def certificates(tmp_path):
    """Give a function that makes a certificate for a name, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")

    def make(name):
        key, file = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(file)),
            ],
            check=True,
            capture_output=True,
        )
        return key, file

    return make


async def test_tls_is_checked_both_ways(opened, begin, certificates):
    """Client and server show certificates; one that is not trusted is no connection."""
    key, file = certificates("localhost")
    port = free_port()
    server = RedisServer(
        config=[
            *("--tls-port", str(port), "--tls-cert-file", str(file)),
            *("--tls-key-file", str(key), "--tls-ca-cert-file", str(file)),
        ]
    )
    try:
        server.start()
    except CannotStart:
        pytest.skip("this server was built without TLS")
    url, trust = f"rediss://localhost:{port}", {"tls_ca": file}
    try:
        async with opened(url=url, tls_cert=file, tls_key=key, **trust) as store:
            assert (await begin(store, records=1)).seq == 1
        _, stranger = certificates("stranger")
        for fault in ({"tls_ca": stranger, "tls_cert": file, "tls_key": key}, trust):
            with pytest.raises(StoreUnavailable):
                async with opened(url=url, retry_for=0, timeout=2, **fault):
                    pass
    finally:
        server.kill()
