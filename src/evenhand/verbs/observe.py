"""The one loop that every verb shares: make what is missing, judge it, store both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine import Engine, Failed, Local, Source
from ..errors import EvenhandError
from ..records import UNMADE, Request, Sample, Settings, Verdict
from ..store import RunDirectory, WorkUnit, image_keys, units_of
from ..watch import Watcher
from .series import Series


def observe(
    source: Source,
    run: RunDirectory,
    series: Series,
    settings: Settings,
    watcher: Watcher,
    *,
    arm: str | None = None,
    engine: Engine | None = None,
) -> dict[Request, tuple[Verdict, ...]]:
    """Make and judge what the run directory does not hold yet.

    Args:
        source: judges; and makes, where no engine is given.
        run: an open run directory; what it holds is neither made nor judged again.
        series: the images of one prompt set.
        settings: how images are made.
        watcher: told of every unit.
        arm: the intervention's SPEC, None for the plain model.
        engine: where the work runs; None for this process.

    Returns: the verdicts on every image of the series, in the order of `Series.asked`. On images of units that an
        engine set aside they are abstentions, which are not stored; `run.quarantined` says what happened.
    Raises: StorageError when the disk fails; what is committed stays. EvenhandError when no image at all could be made.
    Cost: one image per request that is not committed; judging stored images reads them from disk.
    """
    keys = keys_of(run.facts, series, settings, arm)
    names = list(keys)
    places = run.missing(names)
    batch = min(int(run.facts["batch_size"]), len(keys))
    watcher.start(series.name, total=len(keys), done=len(keys) - len(places))
    _judge_stored(source, run, series, keys, batch)
    missing = [(place, names[place], keys[names[place]]) for place in places]
    units = list(units_of(missing, prompt_set=series.name, arm=arm, batch_size=batch))
    for outcome in (engine or Local(source)).run(units, series.asked):
        if isinstance(outcome, Failed):
            run.set_aside(outcome.unit, _aside(outcome))
            watcher.say(f"set aside after {outcome.tries} tries: {_what(outcome.unit)} ({outcome.error})")
            continue
        run.commit_unit(outcome)
        watcher.advance(len(outcome.images))
    _judge_stored(source, run, series, keys, batch)
    verdicts = run.verdicts(source.judge_hash, names)
    if not verdicts:
        raise EvenhandError(f"no image of {series.name} could be made: {run.quarantined[-1]['error']}")
    unmade = tuple(Verdict(concept=one.name, label=None, judge="engine", reason=UNMADE) for one in series.asked)
    return {request: verdicts.get(key, unmade) for key, request in keys.items()}


def check_made(result: Mapping[str, Any]) -> None:
    """Raises EvenhandError when a result lacks images that no worker could make: the rest stands, and is not all."""
    units = result.get("quarantined") or ()
    if units:
        images = sum(len(one["images"]) for one in units)
        raise EvenhandError(
            f"{images} images could not be made ({units[-1]['error']}); the report is about the rest, and the same "
            "command tries them again"
        )


def keys_of(facts: Mapping[str, Any], series: Series, settings: Settings, arm: str | None) -> dict[str, Request]:
    """The key of every image of a series under an arm, in order."""
    fitted = (facts.get("fits") or {}).get(arm)
    setting = {**_setting(facts), "arm": arm, "fitted": fitted, "set": series.name}
    key = image_keys(settings, setting)
    return {key(request): request for request in series.requests}


def _setting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bytes of an image beside the request, the settings and the arm."""
    loading = (facts.get("config") or {}).get("model") or {}
    names = ("model", "dtype", "batch_size", "threads", "device")
    return {
        **{name: facts.get(name) for name in names},
        **{name: loading.get(name) for name in ("revision", "variant", "lora")},
    }


def _aside(failed: Failed) -> dict[str, Any]:
    """What result.json says of a unit that was set aside."""
    unit = failed.unit
    return {
        "unit": unit.hash,
        "intervention": unit.arm,
        "set": unit.prompt_set,
        "images": [{"row": one.row, "index": one.index, "seed": one.seed} for one in unit.requests],
        "tries": failed.tries,
        "error": failed.error,
    }


def _what(unit: WorkUnit) -> str:
    rows = list(dict.fromkeys(request.row for request in unit.requests))
    return f"{len(unit.keys)} images of {unit.prompt_set}, {', '.join(rows[:3])}{', ...' if len(rows) > 3 else ''}"


def _judge_stored(source: Source, run: RunDirectory, series: Series, keys: Mapping[str, Request], batch: int) -> None:
    """Judge the committed images that have no verdict of this judge: a run may stop between image and verdict."""
    names = list(keys)
    left = [names[place] for place in run.unjudged(names, source.judge_hash)]
    for start in range(0, len(left), batch):
        some = left[start : start + batch]
        samples = [_stored(run, key, keys[key]) for key in some]
        verdicts = source.judge(samples, series.asked)
        run.commit_verdicts(source.judge_hash, {key: tuple(one) for key, one in zip(some, verdicts, strict=True)})


def _stored(run: RunDirectory, key: str, request: Request) -> Sample:
    return Sample(request=request, image=run.image(key), evidence=run.line(key).get("evidence") or {})
