"""The other process of the optimizers' suite: `python -m turnkeep.testing.optimizers.elsewhere`.

The first line on stdin names the author's class, each further one is a scene; the answer is one
line with the plans, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import operator
import sys

from turnkeep.testing.optimizers.bench import Bench, told
from turnkeep.testing.optimizers.scenes import Scene
from turnkeep.testing.second_process import _load_module


def main() -> None:
    """Make the plans."""
    name, file, qualname = json.loads(sys.stdin.readline())
    _load_module(name, file)
    kit = operator.attrgetter(qualname)(sys.modules[name])()
    with asyncio.Runner() as runner:
        plans = [
            told(runner.run(kit.plan(kit.optimizer(), Bench(Scene.load(line)).view())))
            for line in sys.stdin
        ]
    sys.stdout.write("\n" + json.dumps(plans))


if __name__ == "__main__":
    main()
