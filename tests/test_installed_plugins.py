"""Plugins as they come: wheels made here, installed by pip, found by other processes."""

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points

import pytest

import turnkeep

HEAD = """
from contextlib import asynccontextmanager
from pydantic import BaseModel, ConfigDict
from turnkeep import StoreSpec, CounterSpec, hookimpl

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = 1

@asynccontextmanager
async def open_store(options, env):
    from turnkeep.stores.memory import MemoryStore
    yield MemoryStore()

def spec(name, **more):
    return StoreSpec(name=name, summary="a test", options=Options, open=open_store, **more)
"""


def offers(code, hook="session_stores"):
    return f"{HEAD}\n@hookimpl\ndef {hook}():\n    return {code}\n"


PLUGINS = {
    "raises": "raise RuntimeError('no luck')",
    "exits": "raise SystemExit('no licence')",
    "misspelt": offers("[]", hook="sesion_stores"),
    "otherapi": offers("[spec('otherapi', api=99)]"),
    "needs": "import no_such_module_at_all",
    "corekey": offers("[spec('ttl')]"),
    "nonsense": offers("5"),
    "gone": None,
    "prints": "print('hello')\n" + offers("[spec('prints')]"),
    "twin_a": offers("[spec('twin')]"),
    "twin_b": offers("[spec('twin')]"),
    "thief": offers("[spec('memory')]"),
    "malformed": "",
    "unopened": offers("[spec('unopened')]").replace(
        "from turnkeep.stores.memory import MemoryStore", "import no_such_module_at_all"
    ),
}
BROKEN = {
    "raises": r"fails while it is loaded: RuntimeError: no luck; .*DISABLED_PLUGINS=session_raises",
    "exits": r"ends the program while it is loaded \(SystemExit: no licence\)",
    "misspelt": r"sesion_stores is marked as a hook.*did you mean session_stores",
    "otherapi": r"made for plugin api 99, this turnkeep has 1; .*--upgrade turnkeep",
    "needs": r'needs the module no_such_module_at_all.*pip install "no-such-dist-at-all>=2"',
    "corekey": r"'ttl' cannot be a name: it is a key of the configuration",
    "nonsense": r"session_stores returns an int; it must return a list of StoreSpec",
    "malformed": r"its entry point names 'no module!'",
    "gone": r"its own module turnkeep_session_gone is not there; .*--force-reinstall",
}


def wheel(folder, name, code, requires=()):
    """Write a wheel with one module and one entry point; no build tool is needed."""
    module, dist = f"turnkeep_session_{name}", f"turnkeep-session-{name.replace('_', '-')}"
    info = f"{module}-1.{len(name)}.dist-info"
    value = "no module!" if code == "" else module
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.{len(name)}\n"
        + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[turnkeep]\nsession_{name} = {value}\n",
    }
    if code is not None:
        files[f"{module}.py"] = code
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path = folder / f"{module}-1.{len(name)}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        for file, text in files.items():
            out.writestr(file, text)
    return path


def pip_install(target, wheels):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-compile", "--disable-pip-version-check", "--target", target, *wheels]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with one broken plugin of each kind and a few that work, installed together."""
    folder = tmp_path_factory.mktemp("wheels")
    wheels = [
        wheel(folder, name, code, ["no-such-dist-at-all>=2"] if name == "needs" else ())
        for name, code in PLUGINS.items()
    ]
    target = tmp_path_factory.mktemp("site")
    pip_install(target, wheels)
    return target


def run(site, folder, *args, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TURNKEEP_")}
    environment |= {"PYTHONPATH": str(site), "HOME": str(folder)} | variables
    program = (
        [sys.executable, *args] if args[0] == "-c" else [sys.executable, "-m", "turnkeep", *args]
    )
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)


def normal(text):
    """Leave out what depends on versions, and on what else is installed."""
    ours = {"session_sqlite", *(f"session_{name}" for name in PLUGINS)}
    others = {point.name for point in entry_points(group="turnkeep")} - ours
    lines = [line for line in text.split("\n") if line.split(" ")[0] not in others]
    text = re.sub("  +", "  ", "\n".join(lines))
    return re.sub(rf"((?:turnkeep|sqlite) ){re.escape(turnkeep.__version__)}", r"\1VERSION", text)


@pytest.fixture(scope="module")
def rows(installed, tmp_path_factory):
    """What `turnkeep plugins --json` says, by plugin."""
    done = run(installed, tmp_path_factory.mktemp("here"), "plugins", "--json")
    return {row["name"]: row for row in json.loads(done.stdout)["plugins"]}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_has_its_sentence(rows, name):
    """What is wrong, and what to do; distribution and version stand beside it."""
    row = rows[f"session_{name}"]
    assert re.search(BROKEN[name], row["problem"])
    assert (row["distribution"], row["version"]) == (f"turnkeep-session-{name}", f"1.{len(name)}")
    assert row["offers"] == []


def test_the_table_of_plugins(installed, tmp_path, snapshot):
    """A row a plugin, and below what is wrong with which."""
    done = run(installed, tmp_path, "plugins")
    assert done.returncode == 0
    snapshot("plugins-broken.txt", normal(done.stdout))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--help",), "usage: turnkeep"),
        (("check",), "it holds, and what it names opens"),
        (("schema",), '"$schema"'),
        (("init", "-"), "[session]"),
    ],
)
def test_commands_work_beside_broken_plugins(installed, tmp_path, args, said):
    """Each broken plugin costs one warning, where plugins are loaded at all."""
    done = run(installed, tmp_path, *args)
    assert (done.returncode, said in done.stdout) == (0, True)
    loaded = args != ("--help",)
    for name in BROKEN:
        assert done.stderr.count(f"plugin session_{name} of ") == loaded
    for name in ("memory", "twin"):
        assert done.stderr.count(f"offer the session store '{name}'") == loaded
    assert "Traceback" not in done.stderr


def test_a_program_that_does_not_use_them_goes_on(installed, tmp_path):
    """Opening the memory store, the name of which another plugin wants too."""
    code = """
import asyncio, turnkeep
async def main():
    async with turnkeep.open({"session": {"store": "memory"}}) as keep, keep.turn("s") as turn:
        await turn.add(turnkeep.Message(role="user", content="Hi"))
    async with turnkeep.open({"session": {"store": "prints", "prints": {"size": 2}}}):
        print("done")
asyncio.run(main())
"""
    done = run(installed, tmp_path, "-c", code)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.parametrize("name", ["raises", "exits", "needs", "otherapi"])
def test_naming_a_broken_plugin_is_an_error_with_its_cause(installed, tmp_path, name):
    """At its line, beside the other faults; the cause is shown by --debug."""
    file = tmp_path / "turnkeep.toml"
    file.write_text(f'[session]\nttl = "soon"\nstore = "{name}"\n')
    done = run(installed, tmp_path, "check")
    assert (done.returncode, done.stdout) == (2, "")
    errors = [line for line in done.stderr.split("\n") if line.startswith("turnkeep: ")]
    assert [f"{file}:2: " in errors[0], f"{file}:3: " in errors[1]] == [True, True]
    assert re.search(BROKEN[name], errors[1])
    debug = run(installed, tmp_path, "--debug", "check")
    assert "direct cause" in debug.stderr


def test_one_name_by_two_distributions(installed, tmp_path):
    """Ambiguous alone, chosen with its distribution; a built-in's name stays the built-in's."""

    def check(store):
        (tmp_path / "turnkeep.toml").write_text(f'[session]\nstore = "{store}"\ntwin.size = 2\n')
        return run(installed, tmp_path, "check")

    done = check("twin")
    assert done.returncode == 2
    assert '"turnkeep-session-twin-a:twin" or "turnkeep-session-twin-b:twin"' in done.stderr
    done = check("turnkeep-session-twin-b:twin")
    assert (done.returncode, "of turnkeep-session-twin-b 1.6" in done.stdout) == (0, True)
    assert f"memory, of turnkeep {turnkeep.__version__}" in check("memory").stdout
    assert "memory, of turnkeep-session-thief" in check("turnkeep-session-thief:memory").stdout


def test_output_for_programs_stays_clean(installed, tmp_path):
    """A plugin that prints as it is loaded prints to standard error; what does not open is told."""
    (tmp_path / "turnkeep.toml").write_text('[session]\nstore = "unopened"\n')
    done = run(installed, tmp_path, "check", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["holds"]) == (1, False)
    [problem] = report["problems"]
    assert "'unopened' (turnkeep-session-unopened 1.8) does not open" in problem
    assert "pip install no_such_module_at_all" in problem
    assert "hello" in done.stderr


def test_plugins_are_left_out_by_name(installed, tmp_path):
    """By entry point or by distribution, with no warning left; not even imported."""
    names = [f"session_{name}" for name in ("prints", *BROKEN)]
    names += ["turnkeep_session_twin.a", "Turnkeep-Session-Twin-B", "session_thief"]
    done = run(installed, tmp_path, "check", TURNKEEP_DISABLED_PLUGINS=",".join(names))
    assert done.returncode == 0
    assert [line for line in done.stderr.split("\n") if "no turnkeep.toml" not in line] == [""]


def test_strict_makes_a_broken_plugin_an_error(installed, tmp_path):
    """For tests and deployment: nothing runs, and the list still tells everything."""
    done = run(installed, tmp_path, "check", TURNKEEP_STRICT_PLUGINS="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("cannot be used") == 1
    done = run(installed, tmp_path, "plugins", TURNKEEP_STRICT_PLUGINS="1")
    assert (done.returncode, done.stdout.count(": cannot be used: ")) == (1, len(BROKEN))


def test_a_plugin_that_waits_for_a_lock_can_be_left_out(tmp_path):
    """Help does not load it; the variable leaves it out."""
    site = tmp_path / "site"
    code = "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\n"
    pip_install(site, [wheel(tmp_path, "locks", code)])
    assert run(site, tmp_path, "--help").returncode == 0
    done = run(site, tmp_path, "plugins", TURNKEEP_DISABLED_PLUGINS="session_locks")
    assert (done.returncode, "(disabled)" in done.stdout) == (0, True)
