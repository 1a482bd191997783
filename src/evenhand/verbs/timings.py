"""How fast models are on this machine, as the fits that were carried out here measured it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..errors import InputError, StorageError
from ..files import read_json, slug, write_json
from .cache import cache_directory

_LEAST_SECONDS = 1.0


def evaluations_per_second(model: str) -> float | None:
    """Denoiser evaluations a second, decoding and all; None where no fit of this model has been timed here."""
    try:
        return float(read_json(_file(model))["evaluations_per_second"])
    except (InputError, KeyError, TypeError, ValueError):
        return None


def keep_timing(model: str, evaluations: int, seconds: float) -> None:
    """Keep what images of a fit took; what took less than a second says nothing.

    It is a convenience: where it cannot be written, nothing is said.
    """
    if evaluations and seconds >= _LEAST_SECONDS:
        with contextlib.suppress(StorageError):
            write_json(_file(model), {"model": model, "evaluations_per_second": round(evaluations / seconds, 3)})


def _file(model: str) -> Path:
    return cache_directory() / "timings" / f"{slug(model)}.json"
