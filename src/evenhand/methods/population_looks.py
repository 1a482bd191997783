"""Looking at a model while it is trained: how fair it is, what it lost, and which adapter is the best that was seen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from evenhand.errors import InputError
from evenhand.files import read_json, write_bytes, write_json
from evenhand.methods.population_observer import FRESH, Observer
from evenhand.methods.population_seen import CHANGES, Change, Seen, changes
from evenhand.methods.population_sides import NAME

_BEST = "best.safetensors"
_PLAIN = "plain.safetensors"
_ERROR = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """What an audit by the fit judge found at a step.

    Args:
        step: of the training; 0 is the plain model.
        metric: "deviation", debiased, over the rows; for safety "unsafe_rate".
        value: of it.
        upper: its upper limit, at an error level that sums to 5 % over all looks.
        recognised: share of the images that show their row.
        images: of neutral prompts that were looked at.
        changes: from the plain model, by name, as far as they are known; see `population_seen.changes`.
        broken: names of the limits that these break.
    """

    step: int
    metric: str = "deviation"
    value: float
    upper: float
    recognised: float
    images: int
    changes: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    broken: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the card."""
        return {
            "step": self.step,
            self.metric: round(self.value, 4),
            "upper": round(self.upper, 4),
            "recognised": round(self.recognised, 4),
            "images": self.images,
            "changes": {name: one["value"] for name, one in self.changes.items()},
            "broken": list(self.broken),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may be lost before an adapter is not kept; 0 turns a limit off.

    Args:
        recognised_drop: of the share of images that show their row, from the plain model's first look.
        text_drop, mmd, specific_drop, drift: see `population_seen.changes`.
    """

    recognised_drop: float
    text_drop: float
    mmd: float
    specific_drop: float
    drift: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Limits:
        """From a method's parameters.

        Raises:
            InputError: a limit below 0.
        """
        found = {one.name: float(values[one.name]) for one in dataclasses.fields(cls)}
        for name, limit in found.items():
            if not limit >= 0:
                raise InputError(f"{NAME}: {name}={limit:g}, expected a number of 0 or more; 0 is off")
        return cls(**found)

    def broken(self, drop: float, found: Mapping[str, Change]) -> tuple[str, ...]:
        """Names of the limits that are broken."""
        lost = ("recognised_drop",) if self.recognised_drop and drop > self.recognised_drop else ()
        broken = [
            name
            for name in CHANGES
            # pictures of one seed drift by nothing at all where the model is the same
            if name in found and found[name].breaks(getattr(self, name), certain=name == "drift")
        ]
        return (*lost, *broken)


def look_at(
    observer: Observer, limits: Limits, step: int, number: int, plain: Seen | None, controls: Seen | None = None
) -> tuple[Look, Seen]:
    """An audit of whatever the denoiser is now.

    Args:
        observer: makes and reads the images.
        limits: of what may be lost.
        step: of the training.
        number: of the look, from 0; its error level is .05 / (k (k + 1)), so that many looks are no easier to pass than
            one. That of the kept adapter has .05.
        plain: what the plain model showed; None for the plain model itself.
        controls: see `population_seen.changes`.
    """
    seen = observer.see(number)
    place = 1 if number >= FRESH else max(number, 1)
    value, _, upper = observer.fairness(seen, _ERROR / (place * (place + 1)))
    found = changes(plain, seen, controls=controls) if plain else {}
    drop = plain.recognised_share - seen.recognised_share if plain else 0.0
    look = Look(
        step=step,
        metric=observer.metric,
        value=value,
        upper=upper,
        recognised=seen.recognised_share,
        images=len(seen.hits),
        changes={name: one.to_dict() for name, one in found.items()},
        broken=limits.broken(drop, found),
    )
    return look, seen


class Looks:
    """The looks of one training, and the best adapter; both are on the disk before the training goes on.

    Args:
        folder: of the training.
        observer: makes and reads the images.
        limits: of what may be lost.
        plain: folder in which the plain model's images are kept, one for all trainings of a fit.
    """

    def __init__(self, folder: Path, observer: Observer, limits: Limits, plain: Path) -> None:
        self._folder, self._observer, self._limits = folder, observer, limits
        self._plain = plain / _PLAIN
        stored = read_json(folder / "looks.json") if (folder / "looks.json").is_file() else []
        self.all = [Look(**{**one, "broken": tuple(one["broken"])}) for one in stored]

    @property
    def plain(self) -> Seen:
        """What the plain model showed."""
        return Seen.load(self._plain)

    def take(self, step: int, lora: Callable[[], Mapping[str, torch.Tensor]] | None = None) -> float:
        """Look at a step, once; the upper limit of the deviation, infinity where a limit is broken.

        Args:
            step: of the training.
            lora: the adapter as it is; None looks at the plain model.
        """
        for one in self.all:
            if one.step == step:
                return counts(one)
        look, seen = look_at(self._observer, self._limits, step, len(self.all), self.plain if lora else None)
        if lora is None:
            seen.save(self._plain)
        elif counts(look) < min(counts(one) for one in self.all):
            write_bytes(self._folder / _BEST, save(dict(lora()), metadata={"step": str(step)}))
        self.all.append(look)
        write_json(self._folder / "looks.json", [dataclasses.asdict(one) for one in self.all])
        self._observer.fitting.watcher.say(line_of(look))
        return counts(look)

    def begin_with(self, look: Look) -> None:
        """Take over what another training of this fit saw of the plain model."""
        if not self.all:
            self.all.append(look)

    @property
    def step_of_best(self) -> int:
        """At which it was kept; there must be one."""
        with safe_open(self._folder / _BEST, framework="pt") as stored:
            return int(stored.metadata()["step"])

    def best(self) -> dict[str, torch.Tensor]:
        """The adapter; empty where none is fairer than the model."""
        return load_file(self._folder / _BEST) if (self._folder / _BEST).is_file() else {}


def counts(look: Look) -> float:
    """What a look counts: its upper limit, infinity where a limit is broken."""
    return math.inf if look.broken else look.upper


def line_of(look: Look) -> str:
    """A look in one line."""
    lost = f"; broken: {', '.join(look.broken)}" if look.broken else ""
    name = look.metric.replace("_", " ")
    return f"step {look.step}: {name} {look.value:.3f} (below {look.upper:.3f}), recognised {look.recognised:.3f}{lost}"
