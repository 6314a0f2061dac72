"""Items, parts and ids."""

import pytest
from pydantic import ValidationError

from turnkeep.content import ImagePart, Message, TextPart, ToolResult, message_text, result_text
from turnkeep.events import new_id


def test_items_are_frozen():
    """What is stored cannot be changed by assignment."""
    with pytest.raises(ValidationError):
        Message(role="user", content="x").content = "y"


def test_inline_bytes_become_base64():
    """A picture from bytes carries its data as text."""
    part = ImagePart.from_bytes(b"\x89PNG", "image/png", detail="low")
    assert (part.data, part.media_type, part.detail) == ("iVBORw==", "image/png", "low")


@pytest.mark.parametrize("fields", [{}, {"url": "u", "data": "aGk="}, {"data": "not base64!"}])
def test_media_has_one_valid_source(fields):
    """A picture is a URL or base64, not both and not neither."""
    with pytest.raises(ValidationError):
        ImagePart(**fields)


def test_a_result_tells_parts_from_json():
    """Known parts become parts, other JSON stays as it is, strings stay strings."""
    result = ToolResult(
        tool_call_id="c",
        name="n",
        content=["a", {"type": "text", "text": "b"}, {"type": "row"}, 3, None],
    )
    assert result.content == ["a", TextPart(text="b"), {"type": "row"}, 3, None]
    assert result_text(result) == 'a\nb\n{"type":"row"}\n3\nnull'


def test_the_text_of_a_message_leaves_media_out():
    """Text parts are joined, pictures have no text."""
    message = Message(
        role="user", content=[TextPart(text="a"), ImagePart(url="u"), TextPart(text="b")]
    )
    assert message_text(message) == "a\nb"


def test_ids_are_unique_and_sort_by_birth():
    """Ids made later never sort before ids made a millisecond earlier."""
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    stamps = [made[:13] for made in ids]
    assert stamps == sorted(stamps)
    assert all(made[14] == "7" and made[19] in "89ab" for made in ids)


@pytest.mark.parametrize("value", [{"b": [object()]}, {"b": [(1, 2)]}, {"b": [b"bytes"]}])
def test_an_unknown_field_that_is_not_json_is_refused_with_its_path(value):
    """Said of the field when the item is made, with where in it."""
    with pytest.raises(ValidationError, match=r"cite\n +input was not a valid JSON value .*b.*0"):
        TextPart(text="a", cite=value)


def test_an_unknown_field_is_kept_as_it_was_given():
    """What its giver changes later is not changed in the item."""
    cite = {"a": [1, None, "s", 2.5, True]}
    part = TextPart(text="a", cite=cite)
    cite["a"].append(2)
    assert part.model_extra == {"cite": {"a": [1, None, "s", 2.5, True]}}


def test_items_have_a_json_schema():
    """Web frameworks ask for it; unknown fields may be anything."""
    assert Message.model_json_schema()["additionalProperties"] == {}
