"""What was learned is kept for the next session of the user."""

import pytest

from turnkeep.tokens.correction import Correction, Growth
from turnkeep.tokens.learned import Learned, data_folder


def taught(reports=30, factor=1.5):
    correction = Correction()
    for number in range(reports):
        tokens = 100 * (1 + number % 7)
        correction.observe(Growth(tokens, 1), factor * tokens + 5)
    return correction


def test_the_next_program_begins_with_it(tmp_path):
    """By model and way of counting."""
    file = tmp_path / "deep" / "corrections.json"
    learned = Learned(file)
    learned.take("m", "c", taught())
    learned.save()
    again = Learned(file)
    assert again.correction("m", "c").factor == pytest.approx(1.5, abs=0.1)
    assert again.known("m", "other") is None
    assert again.correction("m", "other").observations == 0


def test_a_few_reports_are_not_kept(tmp_path):
    """And no file is made for nothing."""
    learned = Learned(tmp_path / "c.json")
    learned.take("m", "c", taught(reports=4))
    learned.save()
    assert not (tmp_path / "c.json").exists()


def test_two_programs_do_not_forget_each_others_models(tmp_path):
    """Each writes what it learned on top of what is there by then."""
    one, two = Learned(tmp_path / "c.json"), Learned(tmp_path / "c.json")
    one.take("m1", "c", taught())
    two.take("m2", "c", taught())
    one.save()
    two.save()
    again = Learned(tmp_path / "c.json")
    assert again.known("m1", "c") is not None
    assert again.known("m2", "c") is not None


@pytest.mark.parametrize(
    "text",
    [
        '{"v":1,"models":{"m|c":{"weights":[1,1,' + "9" * 400 + "]}}}",
        "",
        "{",
        "[]",
        '{"v": 2}',
        '{"v": 1, "models": 3}',
        "\ufffd" * 9,
        "[" * 10_000,
    ],
)
def test_a_broken_file_is_nothing_learned(tmp_path, text):
    """It is written anew."""
    file = tmp_path / "c.json"
    file.write_text(text)
    learned = Learned(file)
    assert learned.known("m", "c") is None
    learned.take("m", "c", taught())
    learned.save()
    assert Learned(file).known("m", "c") is not None


def test_a_place_that_cannot_be_written_is_no_error(tmp_path):
    """Learning is a help, not a duty."""
    (tmp_path / "file").write_text("in the way")
    learned = Learned(tmp_path / "file" / "c.json")
    learned.take("m", "c", taught())
    learned.save()


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    """As the XDG specification says."""
    assert data_folder({"XDG_DATA_HOME": "/d"}).as_posix() == "/d/turnkeep"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder({}) == tmp_path / ".local" / "share" / "turnkeep"


def test_the_model_used_last_is_kept_where_there_are_many(tmp_path):
    """The file is bounded; what was used longest ago goes."""
    learned = Learned(tmp_path / "c.json")
    for number in range(200):
        learned.take(f"m{number}", "c", taught(reports=6))
    learned.save()
    again = Learned(tmp_path / "c.json")
    again.take("m0", "c", taught(reports=60))
    again.take("new", "c", taught(reports=6))
    again.save()
    kept = Learned(tmp_path / "c.json")
    assert kept.known("m0", "c") is not None
    assert kept.known("new", "c") is not None
    assert kept.known("m1", "c") is None


def test_a_user_without_a_home_learns_in_memory(monkeypatch):
    """As in a container with an id of its own."""
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    learned = Learned.of_user()
    learned.take("m", "c", taught())
    learned.save()
    assert learned.known("m", "c") is not None
