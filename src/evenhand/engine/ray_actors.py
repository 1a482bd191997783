"""The engine of a Ray cluster: actors that hold a model and pull units, one at a time.

Ray Core, not Ray Data: a dead actor is replaced here, a unit that raises is tried again elsewhere, and what is done is
known by the run's own ledger. Actors return whole units; only this process writes.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from ..concepts.concept import Concept
from ..errors import EvenhandError, InputError
from ..store import Finished, WorkUnit
from ..watch import Watcher
from .cluster import joined, ray_module
from .engine import TRIES, Failed, Worker

HOPELESS = 10
"""Units set aside, without one that was finished, after which the rest is not tried."""


@dataclasses.dataclass(frozen=True)
class Share:
    """What one actor needs: whole CPU cores, and whole GPUs."""

    cpus: int = 1
    gpus: int = 0


class Actor:
    """What runs in a process of its own: a worker, made there by its recipe."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def open(self, recipe: Callable[[], Worker]) -> None:
        """Load what is needed; apart from the constructor, so that what it raises arrives as it is."""
        self._worker = recipe()

    def finish(self, unit: WorkUnit, concepts: Sequence[Concept]) -> Finished:
        """Carry out a unit."""
        if self._worker is None:
            raise RuntimeError("a unit came before the recipe")
        return self._worker.finish(unit, concepts)


class RayActors:
    """Runs units on the actors of a Ray cluster; use it in a `with` block.

    It joins the cluster that `RAY_ADDRESS` or `ray start` names, else starts one on this machine. Actors are kept from
    one `run` to the next.

    Args:
        recipe: makes a worker; it travels to every actor, so that it must be picklable, and small or worth it.
        share: what each actor needs; there are as many as the cluster has room for, at most one per unit.
        watcher: told of actors that died and of units that are tried again.

    Raises: InputError when Ray is not installed, or the cluster has no room for one actor.
    """

    def __init__(self, recipe: Callable[[], Worker], share: Share, watcher: Watcher) -> None:
        self._ray: Any = ray_module()
        self._share, self._watcher = share, watcher
        self._recipe = recipe
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, WorkUnit | None]] = {}
        self._broken_starts = 0

    def __enter__(self) -> Self:
        self._mine = joined(self._ray)
        self._most = room(self._ray.cluster_resources(), self._share)
        self._class = self._ray.remote(num_cpus=self._share.cpus, num_gpus=self._share.gpus)(Actor)
        self._sent = self._ray.put(self._recipe)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for actor in [*self._idle, *(actor for actor, _ in self._busy.values())]:
            self._ray.kill(actor)
        if self._mine:
            self._ray.shutdown()

    def run(self, units: Sequence[WorkUnit], concepts: Sequence[Concept]) -> Iterator[Finished | Failed]:
        """What came of each unit, in the order in which they end.

        A unit whose actor dies, or that raises, is tried again behind the others; the third time it is given back as
        failed. Actors that died are replaced, on GPUs also those that raised. What an actor raises as an EvenhandError
        concerns every unit, and is raised here.

        Raises: EvenhandError when no actor can be started, or none of the first units can be finished.
        """
        waiting = collections.deque(units)
        asked = self._ray.put(tuple(concepts))
        tries: collections.Counter[WorkUnit] = collections.Counter()
        finished = failed = 0
        # What an earlier run, which was left before its end, still computes is nobody's now.
        self._busy = {ref: (actor, None) for ref, (actor, _) in self._busy.items()}
        for _ in range(min(self._most, len(units)) - self._actors):
            self._start()
        while waiting or any(unit is not None for _, unit in self._busy.values()):
            self._feed(waiting, asked)
            (ref, *_), _ = self._ray.wait(list(self._busy), num_returns=1)
            actor, unit = self._busy.pop(ref)
            outcome = self._collect(ref, actor, unit)
            self._feed(waiting, asked)  # before the result is stored: no actor waits for the disk
            if unit is None:
                continue
            if isinstance(outcome, Finished):
                finished += 1
                yield outcome
                continue
            tries[unit] += 1
            if tries[unit] < TRIES:
                self._watcher.say(f"a unit of {len(unit.keys)} images failed and is tried again: {outcome}")
                waiting.append(unit)
                continue
            failed += 1
            if failed >= HOPELESS and not finished:
                raise EvenhandError(
                    f"{failed} units failed {TRIES} times each and none was finished; the last: {outcome}"
                )
            yield Failed(unit=unit, tries=tries[unit], error=str(outcome))

    @property
    def _actors(self) -> int:
        return len(self._idle) + len(self._busy)

    def _start(self) -> None:
        actor = self._class.remote()
        self._busy[actor.open.remote(self._sent)] = (actor, None)

    def _feed(self, waiting: collections.deque[WorkUnit], asked: Any) -> None:
        while waiting and self._idle:
            actor, unit = self._idle.pop(), waiting.popleft()
            self._busy[actor.finish.remote(unit, asked)] = (actor, unit)

    def _collect(self, ref: Any, actor: Any, unit: WorkUnit | None) -> Finished | str | None:
        """What an actor gave, or in words why it gave nothing; the actor is idle then, or replaced."""
        try:
            outcome = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, EvenhandError):
                raise cause from error
            what = _words(cause or error)
            if unit is not None and cause is not None and not self._share.gpus:
                self._idle.append(actor)  # an exception; on a GPU, whose errors stick to their process, not good enough
                return what
            self._ray.kill(actor)
            if unit is None:
                self._broken_starts += 1
                if self._broken_starts >= TRIES:
                    raise EvenhandError(f"no worker can be started: {what}") from error
                self._watcher.say(f"a worker could not be started and is replaced: {what}")
            self._start()
            return what
        self._broken_starts = 0
        self._idle.append(actor)
        return outcome


def room(resources: dict[str, float], share: Share) -> int:
    """How many actors a cluster has room for. Raises: InputError where there is none for one."""
    has = {"CPU": int(resources.get("CPU", 0)), "GPU": int(resources.get("GPU", 0))}
    needs = {name: count for name, count in (("CPU", share.cpus), ("GPU", share.gpus)) if count}
    short = [name for name, count in needs.items() if has[name] < count]
    if short:
        raise InputError(
            f"--engine ray: a worker needs {needs[short[0]]} {short[0]}, and the cluster has {has[short[0]]}"
            + ("; OMP_NUM_THREADS sets how many it takes" if short == ["CPU"] else "")
        )
    return min(has[name] // count for name, count in needs.items())


def _words(error: BaseException) -> str:
    """An exception in one line; of those that Ray makes long ones of, the first sentence."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
