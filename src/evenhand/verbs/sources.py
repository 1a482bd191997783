"""A model as a source of images: the host makes them, a judge looks at them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from ..concepts.concept import Concept
from ..host.host import Host
from ..host.sampler import sample
from ..judges.base import Judge
from ..records import Request, Sample, Settings, Verdict
from .arm import PLAIN, Arm


class ModelSource:
    """Images of a host. The judge sees pictures only, never the pipeline."""

    def __init__(self, host: Host, settings: Settings, judge: Judge, arm: Arm = PLAIN) -> None:
        self._host, self._settings, self._judge, self._arm = host, settings, judge, arm

    @property
    def host(self) -> Host:
        """Whoever makes the images."""
        return self._host

    @property
    def looker(self) -> Judge:
        """Whoever judges."""
        return self._judge

    @property
    def judge_hash(self) -> str:
        """Content hash of the judge."""
        return self._judge.hash

    @property
    def evaluations(self) -> int:
        """Rows that the denoiser has computed so far."""
        return self._host.evaluations

    def samples(self, requests: Sequence[Request], batch_size: int) -> Iterator[Sample]:
        """One sample per request, in order; padded: a resumed run computes at the shape of an undisturbed one.

        Neighbours that have the same settings of their own share batches.
        """
        with self._arm.attached(self._host):
            for own, some in itertools.groupby(requests, key=lambda one: one.own_settings):
                settings = dataclasses.replace(self._settings, **own)
                yield from sample(self._host, list(some), settings, batch_size=batch_size, pad=True)

    def judge(self, samples: Sequence[Sample], concepts: Sequence[Concept]) -> Sequence[Sequence[Verdict]]:
        """What the judge perceives."""
        return self._judge.judge([one.image for one in samples], concepts)
