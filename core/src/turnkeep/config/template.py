"""A turnkeep.toml to start from, written from the options of the installed plugins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from turnkeep.config.layers import key_text
from turnkeep.config.options import (
    AsDuration,
    ModelOptions,
    SessionOptions,
    TokenOptions,
    duration_text,
)
from turnkeep.optimize.rules import ContextRules
from turnkeep.plugins import Offer, Plugins

_WIDTH: Final = 96
_HEAD: Final = (
    "Written by `turnkeep init` from what is installed. A line behind a single # holds a default, "
    "or an example: take the # away to change it. `turnkeep check` tells whether the file holds, "
    'and where each value comes from. A value may be { env = "VAR" }.'
)


def template(plugins: Plugins, *, schema: str | None = None) -> str:
    """Write a commented configuration that holds as it stands.

    `schema` is a path for the first line, where TOML language tools look for a JSON Schema.
    """
    lines = [f"#:schema {schema}"] if schema else []
    lines += [*_wrapped(_HEAD), ""]
    store = _preferred("sqlite", plugins.stores, SessionOptions.model_fields["store"].default)
    counter = TokenOptions.model_fields["counter"].default
    for name, model, chooser, chosen, offers in (
        ("session", SessionOptions, "store", store, list[Offer[Any]](plugins.stores)),
        ("model", ModelOptions, "", "", list[Offer[Any]](plugins.models)),
        ("tokens", TokenOptions, "counter", counter, list[Offer[Any]](plugins.counters)),
        ("context", ContextRules, "", "", list[Offer[Any]](plugins.optimizers)),
    ):
        lines.append(f"[{name}]")
        for offer in offers:
            lines += _wrapped(f'"{_name(offer, offers)}": {offer.spec.summary}')
        others: list[Offer[Any]] = [*plugins.wrappers] if name == "session" else []
        for offer in others:
            lines += _wrapped(f'around it, "{_name(offer, others)}": {offer.spec.summary}')
        if chooser:
            lines.append(f"{chooser} = {_value(chosen)}")
        if model is ModelOptions:
            lines += _model_keys(offers)
        else:
            lines += _keys(model, leave_out=chooser)
        lines.append("")
        for offer in (*offers, *others):
            keys = list(_keys(offer.spec.options))
            if keys:
                header = f"[{name}.{offer.spec.name}]"
                lines += [header if offer.spec.name == chosen else f"# {header}", *keys, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _model_keys(offers: Sequence[Offer[Any]]) -> Iterator[str]:
    """Write the keys of the model, where there is something that could speak to one."""
    if not offers:
        yield from _wrapped("Nothing that speaks to models is installed: a program asks by itself.")
        return
    for line in _keys(ModelOptions):
        named = line.startswith("# client = ")
        yield f"# client = {_value(_name(offers[0], offers))}" if named else line


def _preferred(name: str, offers: Sequence[Offer[Any]], default: str) -> str:
    return name if any(offer.spec.name == name for offer in offers) else default


def _name(offer: Offer[Any], offers: Sequence[Offer[Any]]) -> str:
    """Give the name to write: with its distribution where the name alone means another."""
    first = next(o for o in offers if o.spec.name == offer.spec.name)
    if first is offer:
        return str(offer.spec.name)
    return f"{offer.plugin.distribution}:{offer.spec.name}"


def _keys(model: type[BaseModel], leave_out: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if name == leave_out:
            continue
        if field.description:
            yield from _wrapped(field.description)
        yield f"# {key_text(field.alias or name)} = {_shown(field)}"


def _shown(field: FieldInfo) -> str:
    """Write a default, an example where there is none, else what kind of value is wanted."""
    default = None if field.is_required() else field.default
    if default is None and field.examples:
        default = field.examples[0]
    if isinstance(default, int | float) and _is_duration(field):
        return _value(duration_text(default))
    written = _value(default)
    if choices := _choices(field.annotation):
        others = ", ".join(_value(choice) for choice in choices if choice != default)
        return f"{written}  # or {others}" if others else written
    return written or f'""  # {"required" if field.is_required() else "not set"}'


def _value(value: object) -> str:
    """Write a value as TOML; an empty text for what TOML has no word for."""
    if isinstance(value, Enum):
        return _value(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(filter(None, map(_value, value)))}]"
    if isinstance(value, Mapping):
        pairs = ((key_text(key), _value(below)) for key, below in value.items())
        inside = ", ".join(f"{key} = {below}" for key, below in pairs if below)
        return f"{{ {inside} }}" if inside else "{}"
    return ""


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return ()


def _is_duration(field: FieldInfo) -> bool:
    def marked(annotation: Any) -> bool:
        if get_origin(annotation) is Annotated and any(
            isinstance(mark, AsDuration) for mark in get_args(annotation)[1:]
        ):
            return True
        return any(marked(inner) for inner in get_args(annotation))

    return any(isinstance(m, AsDuration) for m in field.metadata) or marked(field.annotation)


def _wrapped(text: str) -> list[str]:
    """Make comment lines of a text; `##` tells them from keys that a # has put out of use."""
    words = re.sub(r"\s+", " ", text).strip().split(" ")
    lines = ["##"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _WIDTH:
            lines.append("##")
        lines[-1] += f" {word}"
    return lines
