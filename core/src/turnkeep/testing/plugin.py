"""A small pytest plugin for the conformance suite; a test module loads it with one line.

    pytest_plugins = ["turnkeep.testing.plugin"]

It registers the mark `prove`, puts it on the long tests, and adds a section to pytest's summary.
The suite runs without it too: then the long tests have no mark, and there is no section.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

PROVE: Final = "prove: a long proof (races, kills, large records) of the conformance suite"


@dataclass
class _Suite:
    store: str = "not opened"
    pids: list[int] = field(default_factory=list)
    outcomes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, report: pytest.TestReport) -> None:
        """Take in the report of one test, by what the suite recorded in it."""
        behaviours: list[str] = []
        for name, value in report.user_properties:
            if name == "turnkeep.covers":
                behaviours = str(value).split()
            elif name == "turnkeep.store":
                self.store = str(value)
            elif name == "turnkeep.pid" and isinstance(value, int):
                self.pids.append(value)
        for behaviour in behaviours:
            self.outcomes[behaviour].add(report.outcome)

    def lines(self) -> list[str]:
        """Say which behaviours were shown, failed, or not looked at."""
        shown: list[str] = []
        failed: list[str] = []
        skipped: list[str] = []
        for behaviour, outcomes in self.outcomes.items():
            kind = failed if "failed" in outcomes else shown if "passed" in outcomes else skipped
            kind.append(behaviour)
        lines = [f"  store: {self.store}", f"  behaviours shown: {len(shown)}"]
        if skipped:
            lines.append(f"  behaviours only skipped: {_sorted(skipped)}")
        if failed:
            lines.append(f"  behaviours FAILED: {_sorted(failed)}")
        if self.pids:
            pids = " ".join(map(str, self.pids))
            lines.append(f"  second processes of process {os.getpid()}: {pids}")
        return lines


def _sorted(behaviours: list[str]) -> str:
    return " ".join(sorted(behaviours, key=lambda each: (each[0], int(each[1:]))))


class _Reporter:
    def __init__(self) -> None:
        self.suites: dict[str, _Suite] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the reports of the suite's tests: the call, or a skip or error before it."""
        if report.when != "call" and report.outcome == "passed":
            return
        if any(name == "turnkeep.covers" for name, _ in report.user_properties):
            suite = report.nodeid.rpartition("::")[0]
            self.suites.setdefault(suite, _Suite()).add(report)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print a section, with a few lines for each class that is a suite."""
        if not self.suites:
            return
        terminalreporter.write_sep("=", "turnkeep conformance")
        for name, suite in self.suites.items():
            terminalreporter.write_line(name)
            for line in suite.lines():
                terminalreporter.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark; where a project has one of this name, its own description stays."""
    if not any(str(mark).startswith("prove") for mark in config.getini("markers")):
        config.addinivalue_line("markers", PROVE)
    config.pluginmanager.register(_Reporter(), "turnkeep-conformance-report")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the long tests, so that `-m "not prove"` leaves them out."""
    coverage = getattr(getattr(item, "obj", None), "__turnkeep__", None)
    if coverage is not None and coverage.long:
        item.add_marker("prove")
