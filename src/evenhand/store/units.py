"""What is made together, and what came of it: the records that an engine takes and gives."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from ..records import Request, Settings, Verdict, canonical_json, content_hash
from .images import Encoded


def image_keys(settings: Settings, setting: Mapping[str, Any]) -> Callable[[Request], str]:
    """Gives the key of an image to make: a content hash of everything that decides its bytes.

    Args:
        settings: steps, guidance, size, scheduler.
        setting: the rest beside the request: model and its revision, interventions, batch shape, dtype, threads,
            device, prompt set.
    """
    shared = f"{canonical_json(dict(setting))},{canonical_json(settings.to_dict())}"

    def key(request: Request) -> str:
        return hashlib.sha256(f"[{shared},{canonical_json(request.to_dict())}]".encode()).hexdigest()

    return key


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkUnit:
    """Images that one worker makes together: at most a batch, committed whole.

    Args:
        keys: of the images, as `image_keys` gives them.
        requests: of the images, in the same order; all have the same settings of their own.
        places: of the images in their series; a ledger is read in this order, whoever committed first.
        prompt_set: name of the series.
        arm: the interventions' SPEC, None for the plain model.
        batch_size: the shape at which they are computed, however many they are.
    """

    keys: tuple[str, ...]
    requests: tuple[Request, ...]
    places: tuple[int, ...]
    prompt_set: str
    arm: str | None
    batch_size: int

    @property
    def hash(self) -> str:
        """Content hash of the unit: of the keys of its images, hence of everything that decides their bytes."""
        return content_hash(self.keys)

    def first(self, count: int) -> Self:
        """The unit of the first `count` images."""
        return self._part(slice(count))

    def singles(self) -> Iterator[Self]:
        """A unit for each image."""
        return (self._part(slice(k, k + 1)) for k in range(len(self.keys)))

    def _part(self, part: slice) -> Self:
        return dataclasses.replace(self, keys=self.keys[part], requests=self.requests[part], places=self.places[part])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """A unit that was carried out.

    Args:
        unit: what was asked.
        images: one per request.
        verdicts: one tuple per image, in the order of the concepts; empty where nobody judged yet.
        judge: hash of whoever judged.
        evaluations: rows that the denoiser computed.
        seconds: that a worker was busy.
    """

    unit: WorkUnit
    images: tuple[Encoded, ...]
    verdicts: tuple[tuple[Verdict, ...], ...] = ()
    judge: str = ""
    evaluations: int = 0
    seconds: float = 0.0


def units_of(
    missing: Sequence[tuple[int, str, Request]], *, prompt_set: str, arm: str | None, batch_size: int
) -> Iterator[WorkUnit]:
    """Images to make as units of one batch; neighbours with other settings of their own do not share one.

    Args:
        missing: place, key and request of each.
        prompt_set: name of their series.
        arm: the interventions' SPEC.
        batch_size: images of a batch, 1 or more.
    """
    start = 0
    while start < len(missing):
        own = missing[start][2].own_settings
        stop = start + 1
        while stop < min(start + batch_size, len(missing)) and missing[stop][2].own_settings == own:
            stop += 1
        places, keys, requests = zip(*missing[start:stop], strict=True)
        yield WorkUnit(
            keys=keys, requests=requests, places=places, prompt_set=prompt_set, arm=arm, batch_size=batch_size
        )
        start = stop
