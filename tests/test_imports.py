"""What is loaded when: heavy things only when they are used."""

import subprocess
import sys

import pytest

HEAVY = {"sqlalchemy", "redis", "tiktoken", "litellm", "asyncpg", "psycopg", "numpy"}
HEAVY |= {"xllamacpp", "mcp", "openai", "aiohttp", "httpx"}
HEAVY |= {"pytest", "hypothesis"}  # what turnkeep.testing needs, and nothing else


def loaded_by(code):
    """Run code in a new interpreter and give the top-level modules it loaded."""
    script = f"import sys\n{code}\nprint('modules:', *sorted({{name.split('.')[0] for name in sys.modules}}), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split("modules:")[1].split())  # after what the code itself printed


def command(*args):
    return f"""
from turnkeep.cli import main
try:
    main({list(args)!r})
except SystemExit:
    pass
"""


def test_import_turnkeep_loads_next_to_nothing():
    """Not even pydantic or pluggy."""
    assert loaded_by("import turnkeep").isdisjoint(HEAVY | {"pydantic", "pluggy", "asyncio"})


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("--version",),
        *(
            (command, "--help")
            for command in ("chat", "sessions", "replay", "init", "check", "schema")
        ),
    ],
)
def test_help_loads_no_pydantic(args):
    """Help is quick."""
    assert loaded_by(command(*args)).isdisjoint(HEAVY | {"pydantic", "pluggy", "asyncio"})


def test_listing_plugins_runs_none():
    """A plugin is asked for its specs, nothing more."""
    for args in (("plugins",), ("schema",), ("init", "-"), ("check", "--no-open")):
        assert loaded_by(command(*args)).isdisjoint(HEAVY)


def test_what_the_readme_uses_loads_nothing_heavy():
    """Opening and content types."""
    assert loaded_by("import turnkeep; turnkeep.open; turnkeep.Message").isdisjoint(HEAVY)


def test_every_public_name_is_there():
    """Each name of the package can be loaded."""
    import turnkeep

    for name in [*turnkeep.__all__, "open"]:
        assert getattr(turnkeep, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        turnkeep.Nothing
