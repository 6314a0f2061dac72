"""A prompt of one's own: its variables, its faults, and that nothing foreign is read as one."""

import pytest

from turnkeep.errors import ConfigError
from turnkeep_memory_summarize import Summarize, SummarizeOptions
from turnkeep_memory_summarize.prompt import HEADINGS, VARIABLES, Prompt


def of(tmp_path, text, **options):
    return Prompt.of(SummarizeOptions(prompt=text, **options), tmp_path)


def test_every_variable(tmp_path):
    """Each is put in where it stands, as often as it stands there."""
    prompt = of(tmp_path, "{previous}|{history}|{tokens}|{headings}|{fault}|{tokens}")
    told = prompt.write(history="H", previous="P", tokens=7, fault="F")
    assert told == "P|H|7|" + "\n".join(f"## {each}" for each in HEADINGS) + "|F|7"


def test_what_is_put_in_is_not_looked_at_again(tmp_path):
    """Whatever braces stand in it."""
    prompt = of(tmp_path, "{previous}{history}{tokens}")
    told = prompt.write(history="{tokens} {previous} {0} {x!r}", previous="{history}", tokens=7)
    assert told == "{history}{tokens} {previous} {0} {x!r}7"


def test_what_has_no_place_is_not_lost(tmp_path):
    """The summary so far stands before the history, and the fault at the end."""
    prompt = of(tmp_path, "Summarize: {history}")
    assert prompt.write(history="H", previous="P", tokens=7, fault="F") == "Summarize: P\nH\nF"


def test_other_braces_are_text(tmp_path):
    """As in an example of JSON."""
    prompt = of(tmp_path, 'Like {"a": 1} or {}:\n{history}')
    assert prompt.write(history="H", tokens=7) == 'Like {"a": 1} or {}:\nH'


def test_a_file(tmp_path):
    """A path starts from the folder of the configuration."""
    (tmp_path / "mine.txt").write_text("Mine: {history}", encoding="utf-8")
    assert of(tmp_path, "mine.txt").write(history="H", tokens=7) == "Mine: H"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{history} {histroy}", "{histroy} is no variable"),
        ("{tokens}", "{history} must stand in it"),
        ("Summarize it\nin two lines", "{history} must stand in it"),
        ("missing.txt", "cannot be read (FileNotFoundError)"),
        (".", "cannot be read (IsADirectoryError)"),
    ],
)
def test_faults_are_told_at_opening(tmp_path, text, why):
    """With what there is."""
    with pytest.raises(ConfigError) as caught:
        of(tmp_path, text)
    assert why in str(caught.value)
    assert "context.summarize.prompt" in str(caught.value)
    if "read" not in why:
        assert all(f"{{{name}}}" in str(caught.value) for name in VARIABLES)


async def test_it_is_what_is_asked(play, summary):
    """The user's own words, and the checks as ever."""
    game = play(summary(), options={"prompt": "Tell me of this, {tokens}:\n{history}\n{headings}"})
    await game.rewrites()
    asked = game.model.requests[0]["messages"][-1]["content"]
    assert asked.startswith("Tell me of this, 400:\n<history>\n{")
    assert "\n## Goal\n" in asked
    assert "problem" not in game.step_report


async def test_a_step_with_a_bad_prompt_is_not_made():
    """Not in the middle of a turn is it found out."""
    with pytest.raises(ConfigError):
        Summarize(None, SummarizeOptions(prompt="{nothing}"))
