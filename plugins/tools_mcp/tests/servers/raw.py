"""A server without an SDK, for what no SDK would do. Run as `raw.py BEHAVIOUR [FILE]`."""

import json
import os
import sys
import time
from pathlib import Path

BEHAVIOUR = sys.argv[1]
FILE = Path(sys.argv[2]) if len(sys.argv) > 2 else None
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}


def say(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tool(name, schema=OBJECT):
    return {"name": name, "inputSchema": schema}


def listed(params):
    if BEHAVIOUR == "pages":
        page = int(params.get("cursor", 0))
        result = {"tools": [tool(f"t{9 - page}"), tool(f"u{page}")]}
        return result if page == 4 else {**result, "nextCursor": str(page + 1)}
    if BEHAVIOUR == "endless":
        return {"tools": [tool("t")], "nextCursor": "again"}
    if BEHAVIOUR == "schemas":
        return {
            "tools": [
                tool("any", {}),
                tool("either", {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
                tool("good"),
                tool("list", {"type": "array", "items": {}}),
                {"name": "none"},
                tool("null", {"type": ["object", "null"]}),
                tool("true", True),
                tool("twice"),
                tool("twice", {}),
            ]
        }
    return {"tools": [tool("call"), tool("call.it"), tool("call/it"), tool("x" * 90)]}


def answer(method, params, id):
    if method == "initialize":
        if BEHAVIOUR == "silent":
            return
        if BEHAVIOUR == "dead":
            print(f"no licence {os.environ.get('LICENCE')}", file=sys.stderr)
            sys.exit(1)
        if BEHAVIOUR == "dead_after_first":
            if FILE.exists():
                FILE.write_text(FILE.read_text() + "x")
                sys.exit(1)
            FILE.touch()
        if BEHAVIOUR == "garbage":
            sys.stdout.write("Starting up…\n{\n\n[]\n")
            sys.stdout.buffer.write(b"\xff\xfe\n")
        say(
            id=id,
            result={
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "raw", "version": "1"},
            },
        )
    elif method == "tools/list":
        say(id=id, result=listed(params))
    elif method == "tools/call":
        called(params, id)
    elif method == "notifications/cancelled":
        FILE.write_text(json.dumps(params))
    elif id is not None:
        say(id=id, error={"code": -32601, "message": "no such method"})


def called(params, id):
    if BEHAVIOUR == "garbage":
        sys.stdout.write("DEBUG called\n")
    if BEHAVIOUR == "deaf":
        time.sleep(1000)
    if BEHAVIOUR == "cancel":
        FILE.touch()
        return
    if BEHAVIOUR == "dead_after_first":
        sys.exit(1)
    if BEHAVIOUR == "changed":
        say(method="notifications/tools/list_changed")
    if BEHAVIOUR == "code":
        say(id=id, error={"code": -32000, "message": "the disk is full"})
    elif BEHAVIOUR == "wrong":
        say(id=id, result={"content": [{"type": "text", "text": 5}]})
    else:
        say(id=id, result={"content": [{"type": "text", "text": params["name"]}]})


for line in sys.stdin:
    message = json.loads(line)
    answer(message.get("method"), message.get("params") or {}, message.get("id"))
