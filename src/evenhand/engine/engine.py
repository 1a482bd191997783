"""What an engine is, and what it works with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

from ..concepts.concept import Concept
from ..records import Request, Sample, Verdict
from ..store import Finished, WorkUnit

TRIES = 3
"""How often a unit is begun before it is set aside."""


class Source(Protocol):
    """Where images come from, and who judges them."""

    @property
    def judge_hash(self) -> str:
        """Content hash of whoever gives the verdicts."""
        ...

    @property
    def evaluations(self) -> int:
        """Rows that the denoiser has computed so far; 0 where there is none."""
        ...

    def samples(self, requests: Sequence[Request], batch_size: int) -> Iterator[Sample]:
        """One sample per request, in order, computed at the shape of `batch_size` whatever their number."""
        ...

    def judge(self, samples: Sequence[Sample], concepts: Sequence[Concept]) -> Sequence[Sequence[Verdict]]:
        """One verdict per sample and concept; a sample without an image is abstained on."""
        ...


class Worker(Protocol):
    """Carries out one unit at a time, on a machine of its own."""

    def finish(self, unit: WorkUnit, concepts: Sequence[Concept]) -> Finished:
        """Make and judge the images of a unit."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failed:
    """A unit that was set aside: it failed `tries` times, the last time with `error`."""

    unit: WorkUnit
    tries: int
    error: str


class Engine(Protocol):
    """Runs units, wherever that is."""

    def run(self, units: Sequence[WorkUnit], concepts: Sequence[Concept]) -> Iterator[Finished | Failed]:
        """What came of each unit, in any order; a unit may come in several parts where the work was interrupted.

        Args:
            units: of one batch size.
            concepts: what the judge is asked of each image.
        """
        ...
