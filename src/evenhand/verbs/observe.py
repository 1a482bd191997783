"""The one loop that every verb shares: make an image, store it, judge it, store the verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..concepts.concept import Concept
from ..records import Request, Sample, Settings, Verdict
from ..store import RunDirectory, unit_key
from ..watch import Watcher
from .series import Series


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


def observe(
    source: Source,
    run: RunDirectory,
    series: Series,
    settings: Settings,
    watcher: Watcher,
    *,
    arm: str | None = None,
) -> dict[Request, tuple[Verdict, ...]]:
    """Make and judge what the run directory does not hold yet.

    Args:
        source: makes and judges.
        run: an open run directory; what it holds is neither made nor judged again.
        series: the images of one prompt set.
        settings: how images are made.
        watcher: told of every image.
        arm: the intervention's SPEC, None for the plain model.

    Returns: the verdicts on every image of the series, in the order of `Series.asked`.
    Raises: StorageError when the disk fails; what is committed stays.
    Cost: one image per request that is not committed; judging stored images reads them from disk.
    """
    keys = keys_of(run.facts, series, settings, arm)
    done = run.done()
    todo = [(key, request) for key, request in keys.items() if key not in done]
    batch = min(int(run.facts["batch_size"]), len(keys))
    watcher.start(series.name, total=len(keys), done=len(keys) - len(todo))
    meter = _Meter(source, run, arm)
    _judge_stored(source, run, series, {key: keys[key] for key in keys if key in done}, batch)
    fresh: dict[str, Sample] = {}
    samples = source.samples([request for _, request in todo], batch)
    for (key, _), sample in zip(todo, samples, strict=True):
        run.commit(key, sample, prompt_set=series.name, arm=arm)
        fresh[key] = sample
        if len(fresh) == batch:
            _judge(source, run, series, fresh)
            meter.read()
            fresh = {}
        watcher.advance()
    _judge(source, run, series, fresh)
    meter.read()
    verdicts = run.verdicts(source.judge_hash)
    return {request: verdicts[key] for key, request in keys.items()}


def keys_of(facts: Mapping[str, Any], series: Series, settings: Settings, arm: str | None) -> dict[str, Request]:
    """The key of every image of a series under an arm, in order."""
    setting = {**_setting(facts), "arm": arm, "set": series.name}
    return {unit_key(request, settings, setting): request for request in series.requests}


def _setting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bytes of an image beside the request and the settings."""
    model = (facts.get("model") or {}).get("hash")
    return {"model": model, **{key: facts.get(key) for key in ("dtype", "batch_size", "threads", "device")}}


def _judge(source: Source, run: RunDirectory, series: Series, samples: Mapping[str, Sample]) -> None:
    if samples:
        verdicts = source.judge(list(samples.values()), series.asked)
        run.commit_verdicts(source.judge_hash, {key: tuple(some) for key, some in zip(samples, verdicts, strict=True)})


def _judge_stored(source: Source, run: RunDirectory, series: Series, stored: Mapping[str, Request], batch: int) -> None:
    """Judge the committed images that have no verdict of this judge: a run may stop between image and verdict."""
    judged = run.verdicts(source.judge_hash)
    open_keys = [key for key in stored if key not in judged]
    for start in range(0, len(open_keys), batch):
        keys = open_keys[start : start + batch]
        done = run.done()
        _judge(source, run, series, {key: _stored(run, done[key], stored[key], key) for key in keys})


def _stored(run: RunDirectory, line: Mapping[str, Any], request: Request, key: str) -> Sample:
    return Sample(request=request, image=run.image(key), evidence=line.get("evidence") or {})


class _Meter:
    """Books what was spent since the last reading into the run directory."""

    def __init__(self, source: Source, run: RunDirectory, arm: str | None) -> None:
        self._source, self._run, self._arm = source, run, arm
        self._evaluations, self._time = source.evaluations, time.monotonic()

    def read(self) -> None:
        evaluations, now = self._source.evaluations, time.monotonic()
        self._run.spend(evaluations - self._evaluations, now - self._time, self._arm)
        self._evaluations, self._time = evaluations, now
