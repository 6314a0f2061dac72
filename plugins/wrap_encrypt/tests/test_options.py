"""The table [session.encrypt]: keys from variables and files, what is wrong with them, and secrecy."""

import json
import subprocess
import sys
from base64 import b64decode, b64encode

import pytest

import turnkeep
from turnkeep import Message
from turnkeep.cli import main
from turnkeep.config import load_config
from turnkeep.errors import ConfigError, CorruptSession
from turnkeep_wrap_encrypt.keys import Keyring
from turnkeep_wrap_encrypt.plugin import EncryptOptions

KEY = b64encode(bytes(range(32))).decode()
OTHER = b64encode(bytes(range(1, 33))).decode()


def config(encrypt, **environ):
    return load_config(
        {"session": {"wrap": ["encrypt"], "encrypt": encrypt}}, environ={"KEY": KEY, **environ}
    )


def ring(encrypt, folder, **environ):
    [chosen] = config(encrypt, **environ).wrappers
    return Keyring.of(chosen.options, folder)


def test_a_key_comes_from_a_variable_or_a_file(tmp_path):
    """The file may end in a newline; with one key no other is meant."""
    (tmp_path / "session.key").write_text(KEY + "\n")
    one = ring({"keys": {"a": {"env": "KEY"}}}, tmp_path)
    two = ring({"keys": {"a": {"file": "session.key"}}}, tmp_path)
    assert one.current == two.current == "a"
    sealed = one.cipher("a", "s").encrypt(bytes(12), b"x", None)
    assert two.cipher("a", "s").decrypt(bytes(12), sealed, None) == b"x"


@pytest.mark.parametrize(
    ("encrypt", "said"),
    [
        ({}, "session.encrypt.keys: is missing"),
        ({"keys": {}}, "session.encrypt.keys: "),
        ({"keys": {"a": {"env": "NONE"}}}, "session.encrypt.keys.a: the variable NONE is not set"),
        ({"keys": {"a": {"env": "BAD"}}}, "session.encrypt.keys.a: a key is 32 random bytes"),
        ({"keys": {"a": {"env": "SHORT"}}}, "session.encrypt.keys.a: .*; this one has 3"),
        ({"keys": {"a": {"flie": "x"}}}, 'session.encrypt.keys.a: a key is { env = "VARIABLE" }'),
        ({"keys": {"a b": {"env": "KEY"}}}, "session.encrypt.keys: a key's name is 1 to 64"),
        ({"keys": {"a": {"env": "KEY"}}, "key": "b"}, "session.encrypt.key: must be one of"),
        (
            {"keys": {"a": {"env": "KEY"}, "b": {"env": "KEY"}}},
            "session.encrypt.key: must be one of",
        ),
        ({"keys": {"a": {"env": "KEY"}}, "kye": "a"}, "session.encrypt.kye: unknown option; did"),
    ],
)
def test_a_fault_is_told_at_its_key(encrypt, said):
    """In the words of the configuration, without a piece of the value."""
    with pytest.raises(ConfigError, match=said) as caught:
        config(encrypt, BAD="hunter2-hunter2", SHORT="enp6")
    assert "hunter2" not in str(caught.value)
    assert "enp6" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"hunter2-hunter2", "a key is 32 random bytes as base64"),
        (b"\xff\xfe", "holds no key as base64"),
    ],
)
def test_a_file_that_holds_no_key_is_named(tmp_path, content, said):
    """At the TOML key, when it is opened; its content is not shown."""
    if content is not None:
        (tmp_path / "k").write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        ring({"keys": {"a": {"file": "k"}}}, tmp_path)
    assert str(caught.value).startswith("[session.encrypt] keys.a: the file ")
    assert "hunter2" not in str(caught.value)


def test_no_key_is_shown(tmp_path, monkeypatch, capsys):
    """By neither check, nor the schema, nor a repr, however the key is given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", KEY)
    inline = f'{{ use = "encrypt", keys = {{ a = "{OTHER}" }} }}'
    for wrap in ('"encrypt"', inline):
        (tmp_path / "turnkeep.toml").write_text(
            f"[session]\nwrap = [{wrap}]\n[session.encrypt]\nkeys.a = {{ env = 'KEY' }}\n"
        )
        loaded = load_config(tmp_path / "turnkeep.toml")
        assert main(["check"]) == main(["check", "--json"]) == 0
        said = capsys.readouterr()
        shown = said.out + said.err + repr(loaded) + repr(loaded.wrappers) + repr(loaded.session)
        assert "wrapped in encrypt" in shown
        assert KEY not in shown
        assert OTHER not in shown
    with pytest.raises(ValueError) as caught:
        EncryptOptions(keys={"a": OTHER[:40]})
    assert OTHER[:40] not in str(caught.value)
    options = EncryptOptions(keys={"a": KEY})
    assert KEY not in repr(options) + repr(Keyring.of(options, tmp_path)) + str(options)


def test_check_opens_the_keys(tmp_path, monkeypatch, capsys):
    """A file that is not there does not open: exit code 1, and the rest is told."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "turnkeep.toml").write_text(
        "[session]\nwrap = ['encrypt']\n[session.encrypt]\nkeys.a = { file = 'k' }\n"
    )
    assert main(["check", "--json"]) == 1
    said = capsys.readouterr()
    [problem] = json.loads(said.out)["problems"]
    assert problem.startswith("store wrapper 'encrypt' (turnkeep-wrap-encrypt ")
    assert "keys.a: the file" in problem


def test_encrypt_stands_before_compress():
    """The other way round nothing would shrink: refused, with the list to write."""
    encrypt = {"keys": {"a": KEY}}
    tables = {"session": {"wrap": ["encrypt", "compress"], "encrypt": encrypt}}
    assert [each.spec.name for each in load_config(tables).wrappers] == ["encrypt", "compress"]
    tables["session"]["wrap"].reverse()
    with pytest.raises(ConfigError, match=r'outwards; write \["encrypt", "compress"\]'):
        load_config(tables)


async def test_turns_are_kept_encrypted(tmp_path):
    """From the configuration to the file: SQLite holds no word of it, and gives it back."""
    tables = {
        "session": {
            "store": "sqlite",
            "sqlite": {"path": str(tmp_path / "s.db")},
            "wrap": ["encrypt", "compress"],
            "encrypt": {"keys": {"a": KEY}},
        }
    }
    for _ in range(2):
        async with turnkeep.open(tables) as keep, keep.turn("s") as turn:
            await turn.add(Message(role="user", content="unmistakable"))
    assert b"unmistakable" not in b"".join(file.read_bytes() for file in tmp_path.glob("s.db*"))
    tables["session"]["encrypt"] = {"keys": {"a": OTHER}}
    async with turnkeep.open(tables) as keep:
        with pytest.raises(CorruptSession, match="with key 'a'"):
            await keep.sessions.get("s")


def test_a_new_key_is_printed():
    """Each time another one."""
    made = {
        subprocess.run(
            [sys.executable, "-m", "turnkeep_wrap_encrypt", "new-key"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    }
    assert len(made) == 2
    assert {len(b64decode(key)) for key in made} == {32}
