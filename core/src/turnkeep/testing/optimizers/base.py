"""What every test of the suite works with: the author's class, the guard, invariants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnkeep.content import Item
from turnkeep.formats import PROFILE_NAMES
from turnkeep.formats.jsonl import read_sessions
from turnkeep.formats.profile import side_of
from turnkeep.optimize.plan import Optimizer, Plan
from turnkeep.optimize.view import View
from turnkeep.testing.conformance.base import Coverage
from turnkeep.testing.optimizers.bench import Bench
from turnkeep.testing.optimizers.scenes import Scene, limited, numbered, scenes

Check: TypeAlias = Callable[[Any, Scene], Coroutine[Any, Any, None]]
CUTS: Final = 3
"""At so many places is each recorded session looked at."""
RECORDED: Final = 400
"""Items of a recorded session that are looked at, at most: it is the shapes that matter."""


class Base:
    """What an author gives. Only `optimizer` must be overridden."""

    seconds: ClassVar[float] = 10.0
    """How long a plan may take; one that hangs is waited for once, not for each history."""
    examples: ClassVar[int | None] = None
    """Histories for each invariant; None: as many as hypothesis's current profile says."""
    histories: ClassVar[int] = 0
    """In the long run, histories that are shown to all invariants together; 0: none."""
    _late: ClassVar[bool] = False

    def optimizer(self) -> Optimizer:
        """Give a fresh optimizer. It is called without a test, and in another process too."""
        raise NotImplementedError(
            f"{type(self).__name__} needs a method `optimizer` that gives a fresh optimizer"
        )

    def stages(self) -> Sequence[Optimizer]:
        """Give the steps of a fresh pipeline."""
        return [self.optimizer()]

    def recordings(self) -> Iterable[Path]:
        """Give files of recorded sessions (turnkeep JSONL), on which all invariants hold, too."""
        return []

    async def plan(self, optimizer: Optimizer, view: View) -> Plan | None:
        """Ask for a plan as the engine does: what fails or is late is no plan."""
        return await Guarded(optimizer, type(self)).plan(view)

    def guarded(self) -> list[Optimizer]:
        """Give the steps of a fresh pipeline, none of which fails any more."""
        return [Guarded(each, type(self)) for each in self.stages()]

    def bench(self, scene: Scene) -> Bench:
        """Put a scene before the engine with a fresh pipeline."""
        return Bench(scene, self.guarded())


class Guarded:
    """An author's optimizer, of which what fails is no plan.

    So a failure is seen by the test that is about it, and not by all of them.
    """

    def __init__(self, optimizer: Optimizer, kit: type[Base]) -> None:
        self._optimizer = optimizer
        self._kit = kit

    async def plan(self, view: View) -> Plan | None:
        """Give the author's plan, or None."""
        if self._kit._late:
            return None
        try:
            async with asyncio.timeout(self._kit.seconds):
                plan = await self._optimizer.plan(view)
                return plan if isinstance(plan, Plan) else None
        except TimeoutError:
            self._kit._late = True
            return None
        except Exception:  # noqa: BLE001  # whatever an author's optimizer raises
            return None


def invariant(*, long: bool = False, **chosen: Any) -> Callable[[Check], Callable[[Any], None]]:
    """Make a test of a check: it holds over generated scenes (see `scenes` for what is chosen)."""

    def decorate(check: Check) -> Callable[[Any], None]:
        def run(self: Any) -> None:
            with asyncio.Runner() as runner:
                over(self, check.__name__, chosen, lambda scene: runner.run(check(self, scene)))

        # Not functools.wraps: pytest would take `scene` for a fixture.
        run.__name__, run.__qualname__ = check.__name__, check.__qualname__
        run.__doc__, run.__module__ = check.__doc__, check.__module__
        run.__turnkeep__ = Coverage((), long)  # type: ignore[attr-defined]  # our own mark
        run.check = check  # type: ignore[attr-defined]  # for recorded scenes
        run.chosen = chosen  # type: ignore[attr-defined]  # as above
        return run

    return decorate


def over(
    kit: Base,
    name: str,
    chosen: dict[str, Any],
    action: Callable[[Scene], object],
    *,
    strategy: st.SearchStrategy[Scene] | None = None,
    number: int | None = None,
) -> None:
    """Run an action over generated scenes: `number` of them, else as many as the kit says."""

    def holds(scene: Scene) -> None:
        action(scene)

    holds.__name__ = name  # tells the examples that hypothesis keeps from those of others
    checks = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
    chosen_settings = settings(
        max_examples=number or kit.examples or settings().max_examples,
        deadline=None,
        suppress_health_check=[*settings().suppress_health_check, *checks],
    )
    chosen_settings(given(strategy or scenes(**chosen))(holds))()


def recorded_scenes(path: Path) -> Iterable[Scene]:
    """Give scenes of a recorded session: cut at some places, each for another provider."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        for session in read_sessions(lines, path.name):
            items: list[Item] = [item for event in session.events for item in event.content]
            items = items[:RECORDED]
            for number in range(1, CUTS + 1):
                end = len(items) * number // CUTS
                while end < len(items) and side_of(items[end]) != "assistant":
                    end += 1
                log = numbered(items[:end])
                if log:
                    form = PROFILE_NAMES[number % len(PROFILE_NAMES)]
                    yield limited(Scene(form, log, list(log), 1), 0.5 / number)


class Together(Base):
    """All invariants at once, over recorded sessions and over many generated ones."""

    def checks(self) -> list[Any]:
        """Give all tests of an invariant."""
        found = (getattr(type(self), name) for name in dir(type(self)))
        return [test for test in found if hasattr(test, "check")]

    def test_every_invariant_holds_over_many_sessions(self) -> None:
        """Each of `histories` generated sessions is made once, and shown to all invariants.

        For each provider's form there are so many more, for the invariants of that form alone.
        """
        if not self.histories:
            pytest.skip("no number of generated sessions: set the attribute `histories`")
        every = self.checks()
        alone: dict[str | None, list[Any]] = {form: [] for form in (None, *PROFILE_NAMES)}
        for test in every:
            alone[test.chosen.get("profile")].append(test)
        with asyncio.Runner() as runner:
            for form, tests in alone.items():

                def show(scene: Scene, tests: Sequence[Any] = tests) -> None:
                    for test in tests:
                        runner.run(test.check(self, scene))

                over(
                    self,
                    f"together_{form}".replace("-", "_"),
                    {"profile": form},
                    show,
                    number=self.histories,
                )

    def test_every_invariant_holds_over_recorded_sessions(self) -> None:
        """What holds over generated histories holds over the recorded ones, too."""
        paths = list(self.recordings())
        if not paths:
            pytest.skip("no recorded sessions: override the method `recordings`")
        with asyncio.Runner() as runner:
            for path in paths:
                for scene in recorded_scenes(path):
                    for test in self.checks():
                        if test.chosen.get("profile") in (None, scene.profile):
                            runner.run(test.check(self, scene))

    for _long in (
        test_every_invariant_holds_over_many_sessions,
        test_every_invariant_holds_over_recorded_sessions,
    ):
        _long.__turnkeep__ = Coverage((), True)  # type: ignore[attr-defined]  # read by the plugin
