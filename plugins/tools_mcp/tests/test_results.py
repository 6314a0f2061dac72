"""What a call gives back."""

import base64

import pytest

from turnkeep.content import FilePart, ImagePart, ToolResult
from turnkeep.errors import ToolError

pytestmark = pytest.mark.prove  # each starts a server

PIXEL = b"\x89PNG pixel"


@pytest.fixture
def call(demo):
    """Call a tool of the demo server once."""

    async def once(name, /, *, options=None, **arguments):
        async with demo(**(options or {})) as server:
            return await server.call(name, arguments)

    return once


async def test_one_text_is_returned_as_it_is(call):
    """A wrapped value and its text are one thing, told once."""
    assert await call("add", a=2, b=3) == "5"
    assert await call("remember", text="é 😀") == "remembered é 😀"


async def test_structure_is_json(call):
    """A structure comes as itself, without the text that repeats it."""
    assert await call("person", name="Ada") == {"name": "Ada", "city": "Oslo"}


async def test_text_that_says_more_than_the_structure_stays(call):
    """A sentence beside a structure is no repetition of it."""
    assert await call("summary") == ["Two files changed.", {"files": 2}]


async def test_several_texts_stay_apart(call):
    """Texts come in the server's order."""
    assert await call("files/read.all") == ["one", "two"]
    assert await call("numbers") == ["1", "2", "3"]


async def test_each_kind_of_content_has_its_part(call):
    """Images, sounds, files and links keep their bytes, types and names; broken ones are said."""
    text, image, sound, broken, inside, file, link = await call("media")
    assert text == "here they are"
    assert image == ImagePart.from_bytes(PIXEL, "image/png")
    assert sound == FilePart.from_bytes(PIXEL, "audio/wav", name=None)
    assert broken == "[image/png: left out, as the server did not send it as base64]"
    assert inside == "inside"
    assert file == FilePart.from_bytes(PIXEL, "application/pdf", name="a b.pdf")
    assert base64.b64decode(file.data) == PIXEL
    assert link == {"type": "resource_link", "uri": "file:///far.txt", "name": "far"}
    kept = ToolResult(tool_call_id="1", name="media", content=[text, image, sound, link])
    assert ToolResult.model_validate_json(kept.model_dump_json()) == kept


async def test_a_failed_call_raises_the_servers_words(call):
    """An error of the tool is for the model as it stands."""
    with pytest.raises(ToolError, match=r"^no such city$"):
        await call("fail", why="no such city")
    with pytest.raises(ToolError, match="did not say why"):
        await call("fail", why="")


async def test_an_unknown_tool_is_an_error_of_the_call(call):
    """What the server refuses by the protocol's own errors is told as well."""
    with pytest.raises(ToolError, match="nothing"):
        await call("nothing")


async def test_wrong_arguments_are_told_by_the_server(call):
    """The server's word on arguments that do not fit reaches the model."""
    with pytest.raises(ToolError, match="integer"):
        await call("add", a="many", b=1)


async def test_any_name_of_an_argument_is_allowed(demo):
    """Not even the names that our own methods use stand in the way."""
    async with demo() as server:
        (tool,) = await server.tools(include=["context"])
        assert await tool.execute(None, context="a", self="b") == "a b"
        assert await tool(None, context="a", self="b") == "a b"


async def test_a_huge_result_passes_below_the_limit(demo):
    """Megabytes come through; what is over the limit is left out with a sentence."""
    async with demo() as server:
        assert await server.call("large", {"characters": 3_000_000}) == "x" * 3_000_000
        with pytest.raises(ToolError, match=r"6,0.. characters is left out"):
            await server.call("large", {"characters": 3_000}, max_characters=5_000)
        assert await server.call("add", {"a": 1, "b": 1}) == "2"


async def test_a_result_against_the_protocol_is_said_without_its_content(raw):
    """The sentence tells where the fault is."""
    async with raw("wrong") as server:
        with pytest.raises(ToolError, match="does not allow"):
            await server.call("call", {})


async def test_secrets_given_to_a_server_stay_out_of_errors(call):
    """A server that tells the value of a variable in an error is not repeated."""
    options = {"env": {"API_KEY": "sk-very-secret"}}
    with pytest.raises(ToolError, match=r"^cannot log in with \*\*\*$"):
        await call("leak", options=options, variable="API_KEY")
