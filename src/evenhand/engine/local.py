"""The engine of one process: units one after the other, as the source makes them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

from ..concepts.concept import Concept
from ..records import Sample, Verdict
from ..store import Finished, WorkUnit, encode
from .engine import Source


class Local:
    """Runs units in this process; what a source raises comes out as it is, after what was made before.

    Args:
        source: makes and judges.
        each: give every image at once and unjudged, instead of whole units: where an image costs money, none may be
            lost with those that are waited for.
    """

    def __init__(self, source: Source, *, each: bool = False) -> None:
        self._source, self._each = source, each

    def run(self, units: Sequence[WorkUnit], concepts: Sequence[Concept]) -> Iterator[Finished]:
        """Units in order, from one stream of samples, so that interventions are attached once."""
        if not units:
            return
        meter = _Meter(self._source)
        requests = [request for unit in units for request in unit.requests]
        samples = self._source.samples(requests, units[0].batch_size)
        for unit in units:
            for part in unit.singles() if self._each else (unit,):
                made: list[Sample] = []
                try:
                    for sample in itertools.islice(samples, len(part.keys)):
                        made.append(sample)  # one by one: what was made before an exception counts
                    judged = () if self._each else self._source.judge(made, concepts)
                except BaseException:
                    if made:
                        yield meter.read(part.first(len(made)), made, ())
                    raise
                yield meter.read(part, made, [tuple(some) for some in judged])


class _Meter:
    """What a source has spent since it was last asked."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._evaluations, self._time = source.evaluations, time.monotonic()

    def read(self, unit: WorkUnit, made: Sequence[Sample], verdicts: Sequence[tuple[Verdict, ...]]) -> Finished:
        """A unit with what it cost."""
        evaluations, now = self._source.evaluations, time.monotonic()
        done = Finished(
            unit=unit,
            images=tuple(encode(one) for one in made),
            verdicts=tuple(verdicts),
            judge=self._source.judge_hash,
            evaluations=evaluations - self._evaluations,
            seconds=now - self._time,
        )
        self._evaluations, self._time = evaluations, now
        return done
