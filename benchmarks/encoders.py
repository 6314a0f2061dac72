"""Which library should turn events into bytes and back? Measured on a turn and on a live context.

A turn is four events of about 3 kB; the live context 200 events. Candidates: pydantic-core (what
the models are made of), orjson and msgspec over the same models, and msgspec with Structs of its
own, which would replace the models. Each round shuffles the candidates; figures are medians of
rounds in µs, and ratios to pydantic-core.

    python benchmarks/encoders.py
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

import msgspec
import orjson
from pydantic_core import from_json

from turnkeep.codec import decode_event, encode_event
from turnkeep.content import Message, ToolCall, ToolResult
from turnkeep.events import AnyEvent, Event

ROUNDS = 9


class StructItem(msgspec.Struct, tag_field="type", tag="message"):
    role: str
    content: str


class StructCall(msgspec.Struct, tag_field="type", tag="tool_call"):
    tool_call_id: str
    name: str
    arguments: dict[str, Any]
    needs_approval: bool = False


class StructResult(msgspec.Struct, tag_field="type", tag="tool_result"):
    tool_call_id: str
    name: str
    content: list[Any]
    status: str = "success"


class StructEvent(msgspec.Struct):
    type: str
    id: str
    timestamp: str
    author: str
    content: list[StructItem | StructCall | StructResult]
    execution_id: str | None = None
    usage: dict[str, Any] | None = None
    state: dict[str, Any] | None = None
    partial: bool = False


def turn(number: int) -> list[Event]:
    """Make one turn's events."""
    call_id = f"call_{number}"
    call = ToolCall(
        tool_call_id=call_id, name="read_file", arguments={"path": "a/b.py", "n": number}
    )
    result = ToolResult(tool_call_id=call_id, name="read_file", content=["    return value\n" * 90])
    return [
        Event(author="user", content=[Message(role="user", content="Look at it again. " * 35)]),
        Event(author="assistant", content=[call]),
        Event(author="tool", content=[result]),
        Event(author="assistant", content=[Message(role="assistant", content="I see it. " * 60)]),
    ]


def plain(value: Any) -> Any:
    """Show a model to an encoder that does not know it."""
    return value.__dict__ if hasattr(value, "__dict__") else str(value)


def main() -> None:
    """Measure and print."""
    four = turn(1)
    many = [event for number in range(50) for event in turn(number)]
    structs = msgspec.json.Decoder(StructEvent)
    records = {id(group): [encode_event(event) for event in group] for group in (four, many)}
    bodies = {key: [b"{" + r[7:] for r in group] for key, group in records.items()}
    struct_events = {key: [structs.decode(r) for r in group] for key, group in bodies.items()}
    msgspec_encoder = msgspec.json.Encoder(enc_hook=plain)
    struct_encoder = msgspec.json.Encoder()

    def construct(record: bytes) -> AnyEvent:
        return Event.model_validate(orjson.loads(record))

    encode = {
        "pydantic-core": lambda g: [encode_event(e) for e in g],
        "orjson on the models": lambda g: [orjson.dumps(e.__dict__, default=plain) for e in g],
        "msgspec on the models": lambda g: [msgspec_encoder.encode(e.__dict__) for e in g],
        "model_dump + orjson": lambda g: [orjson.dumps(e.model_dump()) for e in g],
        "msgspec Structs": lambda g: [struct_encoder.encode(e) for e in struct_events[id(g)]],
    }
    decode = {
        "pydantic-core": lambda g: [decode_event(r, 1, session_id="s") for r in records[id(g)]],
        "orjson + model_validate": lambda g: [construct(r) for r in bodies[id(g)]],
        "from_json alone, no models": lambda g: [from_json(r) for r in bodies[id(g)]],
        "orjson alone, no models": lambda g: [orjson.loads(r) for r in bodies[id(g)]],
        "msgspec Structs": lambda g: [structs.decode(r) for r in bodies[id(g)]],
    }
    for what, candidates in (("encode", encode), ("decode", decode)):
        for label, group in (("a turn of 4", four), ("a context of 200", many)):
            times = {name: [] for name in candidates}
            for _ in range(ROUNDS):
                for name in random.sample(list(candidates), len(candidates)):
                    repeat = 2000 // len(group)
                    started = time.perf_counter()
                    for _ in range(repeat):
                        candidates[name](group)
                    times[name].append((time.perf_counter() - started) / repeat * 1e6)
            medians = {name: statistics.median(values) for name, values in times.items()}
            size = sum(map(len, records[id(group)]))
            print(f"\n{what} {label} ({len(group)} events, {size:,} bytes)")
            for name, median in medians.items():
                each = median / len(group)
                ratio = median / medians["pydantic-core"]
                print(f"  {name:28} {median:10.1f} µs  {each:6.2f} µs an event  {ratio:5.2f} ×")


if __name__ == "__main__":
    main()
