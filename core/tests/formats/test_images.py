"""Sizes of inline pictures, read from their first bytes."""

import base64
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.formats.images import MARKERS, dimensions


def encoded(data: bytes) -> str:
    """The base64 of bytes."""
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> bytes:
    """The start of a PNG."""
    return (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + struct.pack(">II", width, height) + b"\x08\x06"
    )


def gif(width: int, height: int) -> bytes:
    """The start of a GIF."""
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\xf7\x00\x00"


def jpeg(width: int, height: int, *before: bytes, code: int = 0xC0) -> bytes:
    """The start of a JPEG, with segments before its frame."""
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(each) + 2) + each for each in before)
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3)
    return b"\xff\xd8" + segments + b"\xff" + bytes([code]) + frame


def webp_lossy(width: int, height: int) -> bytes:
    """The start of a WebP of the first kind."""
    return b"RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00\x30\x01\x00\x9d\x01\x2a" + struct.pack(
        "<HH", width, height
    )


def webp_lossless(width: int, height: int) -> bytes:
    """The start of a WebP without loss."""
    bits = (width - 1) | (height - 1) << 14
    return (
        b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + struct.pack("<I", bits) + b"\x00" * 8
    )


def webp_extended(width: int, height: int) -> bytes:
    """The start of a WebP with an extended header."""
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10\x00\x00\x00" + sizes


BUILDERS = [png, gif, jpeg, webp_lossy, webp_lossless, webp_extended]


@pytest.mark.parametrize("build", BUILDERS)
@given(width=st.integers(1, 16_383), height=st.integers(1, 16_383), rest=st.binary(max_size=40))
def test_reads_the_size_of_every_format(
    build: Callable[[int, int], bytes], width: int, height: int, rest: bytes
) -> None:
    """Each format's header gives its width and height, whatever follows it."""
    assert dimensions(encoded(build(width, height) + rest)) == (width, height)


@given(
    st.lists(st.binary(max_size=200), max_size=5),
    st.sampled_from([code for code in range(0xC0, 0xD0) if code not in {0xC4, 0xC8, 0xCC}]),
)
def test_finds_the_frame_of_a_jpeg_behind_its_other_segments(
    before: list[bytes], code: int
) -> None:
    """Thumbnails and other data before the frame of a JPEG are skipped, for all kinds of frames."""
    assert dimensions(encoded(jpeg(640, 480, *before, code=code))) == (640, 480)


def test_takes_a_data_url() -> None:
    """A data URL may stand in place of the base64."""
    assert dimensions("data:image/gif;base64," + encoded(gif(3, 4))) == (3, 4)


@given(st.one_of(st.text(), st.none(), st.integers(), st.binary().map(encoded)))
def test_gives_none_for_anything_else(value: object) -> None:
    """No value raises; what does not begin as a picture has no size."""
    assert dimensions(value) is None


@given(st.sampled_from([build(20, 30) for build in BUILDERS]), st.data(), st.binary(max_size=30))
def test_raises_nothing_on_damaged_pictures(
    picture: bytes, data: st.DataObject, noise: bytes
) -> None:
    """A picture cut off or overwritten gives some size of 1 or more, or None."""
    at = data.draw(st.integers(0, len(picture)))
    found = dimensions(encoded(picture[:at] + noise))
    assert found is None or min(found) > 0
    assert dimensions(encoded(picture)[: data.draw(st.integers(0, 11))]) is None


@pytest.mark.parametrize("build", [png, gif, jpeg, webp_lossy])
def test_an_empty_picture_has_no_size(build: Callable[[int, int], bytes]) -> None:
    """A width or height of 0 is no size."""
    assert dimensions(encoded(build(0, 5))) is None
    assert dimensions(encoded(build(5, 0))) is None


def test_looks_through_a_bounded_number_of_markers() -> None:
    """A file of nothing but fill bytes or empty segments is given up, not read to its end."""
    assert dimensions(encoded(b"\xff\xd8" + b"\xff" * 1_000_000)) is None
    assert dimensions(encoded(jpeg(6, 5, *[b""] * (MARKERS - 1)))) == (6, 5)
    assert dimensions(encoded(jpeg(6, 5, *[b""] * MARKERS))) is None
