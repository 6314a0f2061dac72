"""What is wrong with a table: sentences that name file, line, table and key, and hold no value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, core_schema

from turnkeep.config.layers import MAPPING, Layers, key_text, label
from turnkeep.config.toml_lines import KeyPath

M = TypeVar("M", bound=BaseModel)
Kind: TypeAlias = Literal["value", "missing", "unknown", "unset", "choice"]

_TEXT_WANTED: Final = frozenset({"string_type", "path_type", "bytes_type"})
_ECHOING: Final = frozenset({"value_error", "assertion_error", "union_tag_invalid"})
"""Kinds of pydantic's faults whose sentence is made by a plugin's code, or repeats the value."""
_RUN: Final = 4
"""So many characters of a secret in a row would give it away."""


@dataclass(frozen=True)
class Fault:
    """One fault, at one key."""

    table: KeyPath
    key: KeyPath
    what: str
    kind: Kind = "value"

    @property
    def path(self) -> KeyPath:
        """All keys that lead to it."""
        return self.table + self.key

    def sentence(self, layers: Layers) -> str:
        """Say where it stands and what it is."""
        where = layers.where(self.path)
        if where == MAPPING:
            return f"{where}: {label(self.path)}: {self.what}"
        table = f"[{label(layers.prefix + self.table)}]"
        key = f" {label(self.key)}" if self.key else ""
        return f"{where}: {table}{key}: {self.what}"


def check_table(
    model: type[M],
    table: Mapping[str, Any],
    path: KeyPath,
    layers: Layers,
    faults: list[Fault],
    *,
    tables_below: Collection[str] = (),
    belongs: Mapping[str, KeyPath] | None = None,
) -> M | None:
    """Check a table by a model; faults are added to `faults`, and None is given where there are.

    `tables_below` are further names that may stand in it; `belongs` tells for keys that would be
    unknown in which table they belong.
    """
    unset: list[KeyPath] = []
    values = layers.resolve(dict(table), path, unset)
    found = [
        Fault(
            path, place[len(path) :], f"the variable {layers.references[place]} is not set", "unset"
        )
        for place in unset
    ]
    if model.model_config.get("extra") == "forbid":
        known = (*keys_of(model), *sorted(tables_below))
        for key in list(values):
            if key not in known:
                found.append(Fault(path, (key,), _unknown(key, known, belongs or {}), "unknown"))
                del values[key]
    options, errors = _validate(model, values, path, layers)
    for error in errors:
        loc = tuple(error["loc"])
        if error["type"] == "missing" and any(
            place[: len(path + loc)] == path + loc for place in unset
        ):
            continue
        found.append(_fault(error, model, path, loc, layers))
    faults += found
    return None if found else options


def unknown_tables(
    tables: Mapping[str, Any], known: Mapping[str, Collection[str]], faults: list[Fault]
) -> None:
    """Tell of top-level tables that are none; `known` names what stands in each."""
    belongs = {key: (table,) for table, keys in known.items() for key in keys}
    for key in tables:
        if key not in known:
            what = _unknown(key, tuple(known), belongs, "table")
            faults.append(Fault((key,), (), what, "unknown"))


def masked(text: str, layers: Layers) -> str:
    """Take the values of variables, and the parts of those that are URLs, out of a text."""
    pieces = {
        piece
        for secret in layers.secrets()
        for piece in (secret, *re.split(r"[:/@?&=;,\s]+", secret))
        if len(piece) >= _RUN
    }
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "…")
    return text


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Give the keys that a model's table may hold: its fields, by alias where they have one."""
    keys: list[str] = []
    by_name = model.model_config.get("populate_by_name") or model.model_config.get(
        "validate_by_name"
    )
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            keys += [choice for choice in alias.choices if isinstance(choice, str)]
        elif isinstance(alias, str):
            keys.append(alias)
        if alias is None or by_name:
            keys.append(name)
    return tuple(keys)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Give the models that an annotation names, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def _validate(
    model: type[M], values: dict[str, Any], path: KeyPath, layers: Layers
) -> tuple[M | None, Sequence[ErrorDetails]]:
    try:
        return model.model_validate(values), ()
    except ValidationError as error:
        errors = error.errors(include_url=False)
    # A variable's text is read as TOML; where the option is a text, it is meant as it stands.
    retry = False
    for fault in errors:
        variable = layers.variables.get((*path, *fault["loc"]))
        if variable is not None and fault["type"] in _TEXT_WANTED:
            place = values
            for step in fault["loc"][:-1]:
                place = place[step]  # type: ignore[index]  # only tables stand above a variable's
            place[fault["loc"][-1]] = variable.text  # type: ignore[index]  # as above
            retry = True
    if retry:
        try:
            return model.model_validate(values), ()
        except ValidationError as error:
            errors = error.errors(include_url=False)
    return None, errors


def _fault(
    error: ErrorDetails, model: type[BaseModel], path: KeyPath, loc: KeyPath, layers: Layers
) -> Fault:
    kind, what = error["type"], error["msg"]
    if kind == "missing":
        return Fault(path, loc, "is missing; write it, or set a variable for it", "missing")
    if kind == "extra_forbidden":
        known = tuple(key for below in _models_at(model, loc[:-1]) for key in keys_of(below))
        return Fault(path, loc, _unknown(loc[-1], known, {}), "unknown")
    if kind in _ECHOING or kind not in _ALL_KINDS:
        what = what.removeprefix("Value error, ").removeprefix("Assertion failed, ")
        what = _without_values(what, error["input"], layers.from_variable(path + loc), layers)
    elif kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        if close := difflib.get_close_matches(str(error["input"]), choices, 1):
            what += f"; did you mean {close[0]!r}?"
    if (name := layers.references.get(path + loc)) is not None:
        what += f" (the value is that of {name})"
    return Fault(path, loc, what)


_ALL_KINDS: Final = frozenset(get_args(core_schema.ErrorType))


def _without_values(what: str, given: object, from_variable: bool, layers: Layers) -> str:
    """Take values out of a sentence that a plugin's code made.

    A file's value is masked; with one of a variable, a sentence that holds a piece of it is not
    shown at all, since it may hold more of it in another form.
    """
    texts = sorted(_texts(given), key=len, reverse=True)
    secrets = [*layers.secrets(), *(texts if from_variable else ())]
    if any(_share(what, secret) for secret in secrets):
        return "is not accepted; the reason is not shown, as it repeats a variable's value"
    for text in texts:
        if len(text) >= _RUN:
            what = what.replace(text, "…")
    return " ".join(what.split())


def _share(what: str, secret: str) -> bool:
    if len(secret) < _RUN:
        return (
            re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", what) is not None if secret else False
        )
    return any(secret[at : at + _RUN] in what for at in range(len(secret) - _RUN + 1))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for below in value.values():
            yield from _texts(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _texts(below)
    elif not isinstance(value, bool) and value is not None:
        yield str(value)


def _models_at(model: type[BaseModel], loc: KeyPath) -> list[type[BaseModel]]:
    """Find the models whose table an inner path leads to."""
    models = [model]
    for part in loc:
        if isinstance(part, str):
            fields: list[FieldInfo] = [
                below.model_fields[part] for below in models if part in below.model_fields
            ]
            if fields:
                models = [found for field in fields for found in models_in(field.annotation)]
    return models


def _unknown(
    key: object, known: Sequence[str], belongs: Mapping[str, KeyPath], what: str = "option"
) -> str:
    if key in belongs:
        hint = f"{key_text(key)!r} belongs to [{label(belongs[str(key)])}]"
    elif close := difflib.get_close_matches(str(key), known, 1):
        hint = f"did you mean {close[0]!r}?"
    else:
        hint = f"known: {', '.join(known) or 'none'}"
    return f"unknown {what}; {hint}"
