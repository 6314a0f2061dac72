"""The events of an OpenAI Responses stream, from the response that they build up.

Shapes are those of the API reference ("Streaming events").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from turnkeep.formats.profile import Wire
from turnkeep.testing.provider.dialect import Event, pieces


def events(whole: Wire) -> Iterator[Event]:
    """Give the events in order, numbered."""
    for number, (kind, fields) in enumerate(_events(whole)):
        yield Event(kind, {"type": kind, "sequence_number": number, **fields})


def _events(whole: Wire) -> Iterator[tuple[str, Wire]]:
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    begun["incomplete_details"] = None
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    grow = {"reasoning": _reasoning, "message": _message, "function_call": _call}
    for index, item in enumerate(whole["output"]):
        for kind, fields in grow[item["type"]](item):
            yield f"response.{kind}", {"output_index": index, **fields}
    yield f"response.{whole['status']}", {"response": whole}


def _reasoning(item: Wire) -> Iterator[tuple[str, Wire]]:
    yield "output_item.added", {"item": item | {"summary": []}}
    for place, part in enumerate(item["summary"]):
        at: dict[str, Any] = {"item_id": item["id"], "summary_index": place}
        yield "reasoning_summary_part.added", at | {"part": part | {"text": ""}}
        for piece in pieces(part["text"]):
            yield "reasoning_summary_text.delta", at | {"delta": piece}
        yield "reasoning_summary_text.done", at | {"text": part["text"]}
        yield "reasoning_summary_part.done", at | {"part": part}
    yield "output_item.done", {"item": item}


def _message(item: Wire) -> Iterator[tuple[str, Wire]]:
    yield "output_item.added", {"item": item | {"status": "in_progress", "content": []}}
    for place, part in enumerate(item["content"]):
        at: dict[str, Any] = {"item_id": item["id"], "content_index": place}
        yield "content_part.added", at | {"part": part | {"text": ""}}
        for piece in pieces(part["text"]):
            yield "output_text.delta", at | {"delta": piece, "logprobs": []}
        yield "output_text.done", at | {"text": part["text"], "logprobs": []}
        yield "content_part.done", at | {"part": part}
    yield "output_item.done", {"item": item}


def _call(item: Wire) -> Iterator[tuple[str, Wire]]:
    yield "output_item.added", {"item": item | {"status": "in_progress", "arguments": ""}}
    at = {"item_id": item["id"]}
    for piece in pieces(item["arguments"]):
        yield "function_call_arguments.delta", at | {"delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield "function_call_arguments.done", at | done
    yield "output_item.done", {"item": item}
