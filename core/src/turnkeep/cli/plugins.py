"""`turnkeep plugins`: what is installed, what it offers, and what is wrong with it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnkeep.plugins import Plugin, Plugins


def register(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plugins",
        help="list the plugins and what they offer",
        description="List the plugins, what they offer and what is wrong with them. The exit code "
        "is 0 also where one cannot be used, but 1 under TURNKEEP_STRICT_PLUGINS=1.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    import json

    from turnkeep.plugins import Plugins, is_strict

    # What is wrong is said in the list: a warning would say it twice, an error would hide the rest.
    plugins = Plugins(warn=False, strict=False)
    if args.json:
        rows = [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "offers": list(plugin.offers),
                "problem": plugin.problem,
                "note": plugin.note,
            }
            for plugin in plugins.found
        ]
        print(json.dumps({"plugins": rows}, indent=2))
    else:
        _show(plugins)
    broken = [plugin for plugin in plugins.found if plugin.error is not None]
    return 1 if broken and is_strict() else 0


def _show(plugins: Plugins) -> None:
    from turnkeep.cli.table import printable, table

    summaries = {
        (offer.plugin.label, f"{kind} {offer.spec.name}"): str(offer.spec.summary)
        for kind, offers in (
            ("session store", [*plugins.stores]),
            ("store wrapper", [*plugins.wrappers]),
            ("token counter", [*plugins.counters]),
            ("context step", [*plugins.optimizers]),
            ("model client", [*plugins.models]),
        )
        for offer in offers
    }
    rows = []
    for plugin in plugins.found:
        source = printable(f"{plugin.distribution} {plugin.version}".strip())
        first = (printable(plugin.name), source)
        for offer in plugin.offers or (_instead(plugin),):
            about = printable(summaries.get((plugin.label, offer), ""))
            rows.append((*first, offer, about))
            first = ("", "")
    print(table(("PLUGIN", "FROM", "OFFERS", ""), rows))
    told = [plugin for plugin in plugins.found if plugin.error is not None or plugin.note]
    if told:
        print()
    for plugin in told:
        what = f"cannot be used: {plugin.problem}" if plugin.problem else plugin.note
        print(printable(f"{plugin.label}: {what}"))


def _instead(plugin: Plugin) -> str:
    if plugin.error is not None:
        return "(cannot be used)"
    return "(disabled)" if plugin.problem else "(nothing)"
