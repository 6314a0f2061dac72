"""`turnkeep check`: whether the configuration holds, where its values come from, what opens."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnkeep.config import Config


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="check the configuration, and open what it names",
        description="Check the configuration: name the file, the source of every value and the "
        "chosen plugins, then open what it names and close it again. Exit codes: 0 "
        "it holds, 1 something cannot be opened, 2 it does not hold.",
    )
    parser.add_argument("--config", metavar="TOML", help="default: the turnkeep.toml found")
    parser.add_argument("--no-open", action="store_true", help="open nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import json

    from turnkeep.config import load_config
    from turnkeep.errors import ConfigError, PluginError

    try:
        config = load_config(args.config)
    except (ConfigError, PluginError) as error:
        if args.json:
            problems = str(error).split("\n")
            print(json.dumps({"holds": False, "problems": problems}, indent=2))
        raise
    report = _report(config)
    problems = [] if args.no_open else _open(config, report)
    report |= {"holds": not problems, "problems": problems}
    if args.json:
        print(json.dumps(report, indent=2, default=str))
    else:
        _show(report, opened=not args.no_open)
    for problem in problems:
        print(f"turnkeep: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _report(config: Config) -> dict[str, Any]:
    from pathlib import Path

    def chosen(spec: Any) -> dict[str, Any]:
        plugin = config.plugins.plugin_of(spec)
        return {
            "name": spec.name,
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
        }

    values = [
        {
            "key": ".".join(map(str, setting.path)),
            "value": str(setting.value) if isinstance(setting.value, Path) else setting.value,
            "source": setting.source,
        }
        for setting in config.settings()
    ]
    return {
        "source": config.source,
        "folder": str(config.folder),
        "notes": list(config.notes),
        "values": values,
        "store": chosen(config.store),
        "wrappers": [chosen(wrapper.spec) for wrapper in config.wrappers],
        "counter": chosen(config.counter),
        "model": None if config.client is None else chosen(config.client),
        "steps": [] if config.context.max_tokens is None else [*map(chosen, _specs(config))],
    }


def _specs(config: Config) -> list[Any]:
    return [step.spec for step in config.steps]


def _open(config: Config, report: dict[str, Any]) -> list[str]:
    """Open all that is named, each by itself, and note what it says of itself."""
    import asyncio
    import logging

    from turnkeep.config.faults import masked
    from turnkeep.hookspecs import Env

    env = Env(
        data_dir=config.folder,
        logger=logging.getLogger("turnkeep"),
        open_model=lambda name: _some_model(config, name, env),
    )

    async def each() -> list[str]:
        found = [masked(each, config.layers) for each in await _store_opens(config, env, report)]
        every = [
            ("counter", config.counter, config.counter_options, report["counter"]),
            *(
                [("model client", _of_model(config), config.client_options, report["model"])]
                if config.client is not None
                else []
            ),
            *(
                ("context step", step.spec, step.options, said)
                for step, said in zip(config.steps, report["steps"], strict=False)
            ),
        ]
        for kind, spec, options, said in every:
            if (problem := await _opens(spec, options, env, kind, said)) is not None:
                found.append(masked(problem, config.layers))
        return found

    return asyncio.run(each())


def _some_model(config: Config, name: str | None, env: Any) -> Any:
    """Open a model for a step, as a keeper does."""
    from turnkeep.errors import ConfigError

    if name is not None:
        return config.open_model(name, env)
    if config.client is None:
        raise ConfigError("it asks the conversation's own model, and [model] names none")
    return config.client.open(config.model.id, config.client_options, env)


def _of_model(config: Config) -> Any:
    """Give the spec of the model client, which opens one model, in the form of the others."""
    from dataclasses import replace
    from functools import partial

    assert config.client is not None
    return replace(config.client, open=partial(config.client.open, config.model.id))


async def _opens(spec: Any, options: Any, env: Any, kind: str, said: dict[str, Any]) -> str | None:
    try:
        opening: AbstractAsyncContextManager[Any] = spec.open(options, env)
        async with opening as opened:
            if kind == "counter":
                said["counts"] = str(opened.name)
            elif kind == "model client":
                said["model"] = str(opened.model_id)
    except Exception as error:  # noqa: BLE001  # whatever a plugin raises
        return _does_not(error, kind, said)
    return None


def _does_not(error: Exception, kind: str, said: dict[str, Any]) -> str:
    from turnkeep.plugin_faults import explain_open

    why = explain_open(error, said["distribution"])
    where = f"{said['distribution']} {said['version']}"
    return f"{kind} {said['name']!r} ({where}) does not open: {why}"


async def _store_opens(config: Config, env: Any, report: dict[str, Any]) -> list[str]:
    """Open the store and, one by one, what stands around it; note what the whole says of itself."""
    from contextlib import AsyncExitStack

    kind, said = "store", report["store"]
    try:
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(config.store.open(config.store_options, env))
            for wrapper, about in zip(config.wrappers, report["wrappers"], strict=True):
                kind, said = "store wrapper", about
                opening = wrapper.spec.open(store, wrapper.options, env)
                store = await stack.enter_async_context(opening)
            report["store"]["durability"] = str(store.durability)
            report["store"]["capabilities"] = sorted(map(str, store.capabilities))
    except Exception as error:  # noqa: BLE001  # whatever a plugin raises
        return [_does_not(error, kind, said)]
    return []


_DURABLE = {
    "power": "what is kept survives a power loss",
    "process": "what is kept survives the kill of the process, not a power loss",
    "none": "what is kept ends with the process",
}


def _show(report: dict[str, Any], *, opened: bool) -> None:
    from pathlib import Path

    from turnkeep.cli.table import printable, table

    print(f"configuration: {printable(report['source'])}")
    for note in report["notes"]:
        print(f"note: {note}")
    file = report["source"]
    rows = [
        (
            value["key"],
            printable(_written(value)),
            printable(value["source"].replace(f"{file}:", f"{Path(file).name}:")),
        )
        for value in report["values"]
    ]
    print(f"\n{table(('KEY', 'VALUE', 'FROM'), rows)}\n")
    for kind in ("store", "counter"):
        said = report[kind]
        line = f"{kind}: {said['name']}, of {said['distribution']} {said['version']}"
        if durability := said.get("durability"):
            line += f"; durability {durability}: {_DURABLE.get(durability, 'as it says itself')}"
        print(line)
        if kind == "store" and report["wrappers"]:
            names = ", in ".join(wrapper["name"] for wrapper in report["wrappers"])
            print(f"  wrapped in {names}")
    if (said := report["model"]) is not None:
        print(
            f"model: {printable(said.get('model', ''))} by {said['name']}, of "
            f"{said['distribution']} {said['version']}"
        )
    if report["steps"]:
        print("context: " + ", then ".join(step["name"] for step in report["steps"]))
    elif report["model"] is not None:
        print(
            "context: within the model's window, if that is known; [context] max_tokens sets less"
        )
    else:
        print("context: it only grows; [context] max_tokens sets a limit")
    if report["problems"]:
        print("it holds, but not all that it names opens")
    else:
        print("it holds" + (", and what it names opens" if opened else "; nothing was opened"))


def _written(value: dict[str, Any]) -> str:
    """Write a value; what may be a secret is not shown."""
    import json

    if value["value"] is None:
        return "-" if value["source"] == "default" else "(not shown)"
    return json.dumps(value["value"], ensure_ascii=False, default=str)
