"""What importing costs: what the README uses, against the least that any such package must load.

The floor is one pydantic model, pluggy and asyncio. Child processes alternate; figures are medians
of their CPU time. All is loaded from bytecode, as it is from the second start of a program on.

    python benchmarks/imports.py [--check]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

BOUND = 1.3
RUNS = 15
FLOOR = """
import asyncio, pluggy, pydantic
class Model(pydantic.BaseModel):
    name: str
    values: list[int] = []
"""
OURS = """
import asyncio, turnkeep
from turnkeep import Message
turnkeep.open
"""
HELP = """
from turnkeep.cli import build_parser
build_parser().format_help()
"""


def cpu(code: str, bytecode: str) -> float:
    """Run code in a new interpreter, with bytecode kept in a folder, and give its CPU seconds."""
    measured = f"{code}\nimport time; print(time.process_time())"
    env = os.environ | {"PYTHONPYCACHEPREFIX": bytecode}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", measured], capture_output=True, text=True, check=True, env=env
    )
    return float(done.stdout)


def main() -> int:
    """Measure and print; with --check exit 1 above the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    floor, ours, helps = [], [], []
    with tempfile.TemporaryDirectory() as bytecode:
        for code in (FLOOR, OURS, HELP):
            cpu(code, bytecode)
        for _ in range(RUNS):
            floor.append(cpu(FLOOR, bytecode))
            ours.append(cpu(OURS, bytecode))
            helps.append(cpu(HELP, bytecode))
    base, own = statistics.median(floor), statistics.median(ours)
    print(f"floor (a model, pluggy, asyncio)   {base * 1e3:6.0f} ms of CPU")
    print(f"what the README uses               {own * 1e3:6.0f} ms of CPU  {own / base:.2f} ×")
    print(f"turnkeep --help                    {statistics.median(helps) * 1e3:6.0f} ms of CPU")
    print(f"bound: {BOUND} ×")
    return int(args.check and own / base > BOUND)


if __name__ == "__main__":
    sys.exit(main())
