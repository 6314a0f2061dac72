"""An MCP server of the official SDK, with a tool for each thing that a server may do.

Run as `demo.py stdio` or `demo.py http PORT` or `demo.py sse PORT`.
"""

import base64
import os
import sys
from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

server = MCPServer("demo")
PIXEL = base64.b64encode(b"\x89PNG pixel").decode()


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
def remember(text: str) -> str:
    """Remember a text."""
    return f"remembered {text}"


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def forget() -> str:
    """Forget everything."""
    return "forgotten"


@server.tool()
def person(name: str) -> dict[str, str]:
    """Tell about a person."""
    return {"name": name, "city": "Oslo"}


@server.tool()
def numbers() -> list[int]:
    """Give some numbers."""
    return [1, 2, 3]


@server.tool(name="files/read.all", structured_output=False)
def read_all() -> list[str]:
    """Read all files."""
    return ["one", "two"]


@server.tool()
def media() -> CallToolResult:
    """Give one of each kind of content."""
    return CallToolResult(
        content=[
            TextContent(text="here they are"),
            ImageContent(data=PIXEL, mime_type="image/png"),
            AudioContent(data=PIXEL, mime_type="audio/wav"),
            ImageContent(data="?!", mime_type="image/png"),
            EmbeddedResource(resource=TextResourceContents(uri="file:///a.txt", text="inside")),
            EmbeddedResource(
                resource=BlobResourceContents(
                    uri="file:///docs/a%20b.pdf", mime_type="application/pdf", blob=PIXEL
                )
            ),
            ResourceLink(uri="file:///far.txt", name="far"),
        ]
    )


@server.tool()
def summary() -> CallToolResult:
    """Give a sentence and, beside it, what it is about."""
    return CallToolResult(
        content=[TextContent(text="Two files changed.")], structured_content={"files": 2}
    )


@server.tool()
def fail(why: str) -> CallToolResult:
    """Fail for a reason."""
    return CallToolResult(content=[TextContent(text=why)], is_error=True)


@server.tool()
def leak(variable: str) -> CallToolResult:
    """Fail with the value of an environment variable."""
    text = f"cannot log in with {os.environ[variable]}"
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


@server.tool(name="context")
def take_context(context: str, self: str) -> str:
    """Give back arguments whose names mean something to Python or to turnkeep."""
    return f"{context} {self}"


@server.tool()
def large(characters: int) -> str:
    """Give a text of a size."""
    return "x" * characters


@server.tool()
def environment(name: str) -> str:
    """Give an environment variable."""
    return os.environ.get(name, "(none)")


@server.tool()
def process() -> str:
    """Give the server's process id."""
    return str(os.getpid())


@server.tool()
async def meet(path: str, among: int) -> str:
    """Return when as many calls of this are there at once."""
    folder = Path(path)
    (folder / os.urandom(8).hex()).touch()
    while len(list(folder.iterdir())) < among:
        await anyio.sleep(0.01)
    return "met"


@server.tool()
async def hang(started: str, cancelled: str) -> str:
    """Wait for ever; leave a file at the start, and one when cancelled."""
    Path(started).touch()
    try:
        await anyio.sleep_forever()
    finally:
        Path(cancelled).touch()
    return "never"


@server.tool()
def die() -> str:
    """End the process."""
    os._exit(3)


@server.tool()
def die_once(path: str) -> str:
    """End the process at the first call."""
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return "alive"
    os._exit(3)


@server.tool()
async def change(context_: Context) -> str:
    """Offer one tool more, and say so."""
    server.add_tool(read_all, name="added")
    await context_.notify_tools_changed()  # to who listens, since 2026-07-28
    await context_.session.send_tool_list_changed()  # to all, before
    return "changed"


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    elif sys.argv[1] == "http":
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("sse", host="127.0.0.1", port=int(sys.argv[2]))
