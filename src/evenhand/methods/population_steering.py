"""Steering while a training settles: what a prompt's shares still miss goes back into the weights of its winners.

A preference between populations is about shares. Where a prompt has too few of a class, winners of that class count for
more from then on, and the others for less: dual ascent on the prompt's log-odds. Shares are those that the model's own
predictions imply (`training.implied_shares`), which costs no image; now and then images say by how much these are wrong
(`population_checks`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evenhand.files import read_json, write_json
from evenhand.methods.population_checks import LEAST, Counts, Shares, bias_of, shifted
from evenhand.training.cache import PreferenceData
from evenhand.training.implied_shares import ImpliedShares, Readable
from evenhand.training.populations import Made, Plan, naming

EVERY = 20
"""Steps between two readings."""
READ = 16
"""Winners of each prompt row that are read, at most."""


def check_places(settle: int) -> tuple[int, ...]:
    """Numbers of the readings that images check: after a third and after two thirds of the steps that settle."""
    times = -(-settle // EVERY)
    return tuple(dict.fromkeys((times // 3, 2 * times // 3)))


class Steering:
    """Reads a training now and then, keeps the readings on the disk, and weights its winners.

    Args:
        folder: of the training.
        reading: of the shares.
        images: in whose order the data's rows are; winners show the class that they were asked for.
        target: class -> wanted share.
        gain: part of a miss that is taken back after each reading.
    """

    def __init__(
        self, folder: Path, reading: ImpliedShares, images: Sequence[Made], target: Mapping[str, float], gain: float
    ) -> None:
        self._file, self._reading = folder / "readings.json", reading
        self._images, self._target, self._gain = images, {k: v for k, v in target.items() if v > 0}, gain
        stored = read_json(self._file) if self._file.is_file() else {"readings": {}, "bias": {}, "looked_at": 0}
        self.readings: dict[int, Shares] = {int(step): shares for step, shares in stored["readings"].items()}
        self._bias: Shares = stored["bias"]
        self._looked_at = int(stored["looked_at"])

    def take(self, step: int, denoiser: Any, look: Callable[[], Counts] | None = None) -> float:
        """Read the model at a step, once; the root mean square by which its shares miss the target.

        Args:
            step: of the training.
            denoiser: with its adapter.
            look: counts the classes in images of the model as it is; from then on what predictions imply is corrected
                by what they show. None looks at none.
        """
        if step not in self.readings:
            read = {
                row: dict(zip(self._target, shares, strict=True))
                for row, shares in self._reading.read(denoiser).items()
            }
            if look is not None:
                self._check(read, look())
            corrected = {row: shifted(some, self._bias[row]) if self._bias else some for row, some in read.items()}
            self.readings[step] = {
                row: {name: round(one, 4) for name, one in some.items()} for row, some in corrected.items()
            }
            readings = {str(one): shares for one, shares in self.readings.items()}
            write_json(self._file, {"readings": readings, "bias": self._bias, "looked_at": self._looked_at})
        misses = [
            (share - self._target[name]) ** 2 for row in self.readings[step].values() for name, share in row.items()
        ]
        return math.sqrt(sum(misses) / len(misses))

    def _check(self, read: Shares, seen: Counts) -> None:
        """Take in what images show of the bias, beside what earlier ones did."""
        known = {row: {name: seen.get(row, {}).get(name, 0) for name in self._target} for row in read}
        self._bias = bias_of(read, known, self._bias or None, self._looked_at)
        self._looked_at += round(sum(sum(some.values()) for some in known.values()) / max(len(known), 1))

    def steered(self, data: PreferenceData, step: int) -> PreferenceData:
        """The data with the winners' weights that all readings up to a step ask for."""
        known = [shares for at, shares in sorted(self.readings.items()) if at <= step]
        return steered(data, self._images, known, self._target, self._gain)


def steered(
    data: PreferenceData, images: Sequence[Made], readings: Sequence[Shares], target: Mapping[str, float], gain: float
) -> PreferenceData:
    """The data with the winners' weights after some readings: log-odds add up.

    Args:
        data: as training reads it.
        images: in whose order its rows are.
        readings: row -> class -> share, in order.
        target: class -> wanted share, all above 0.
        gain: part of a miss that is taken back after each reading; 0 is off.
    """
    odds: dict[str, dict[str, float]] = {}
    for shares in readings:
        for row, some in shares.items():
            mine = odds.setdefault(row, dict.fromkeys(target, 0.0))
            for name, share in target.items():
                mine[name] += gain * math.log(share / min(max(some[name], LEAST), 1.0))
    weights = {row: weights_of(mine, target) for row, mine in odds.items()}
    found = [weights[one.slot.row][one.label] if one.slot.winner and one.slot.row in weights else 1.0 for one in images]
    return dataclasses.replace(data, weight=torch.tensor(found))


def weights_of(odds: Mapping[str, float], target: Mapping[str, float]) -> dict[str, float]:
    """Class -> weight of its winners: exp of its log-odds, 1 on the mean over the target."""
    raw = {name: math.exp(value) for name, value in odds.items()}
    mean = sum(target[name] * value for name, value in raw.items())
    return {name: value / mean for name, value in raw.items()}


def readable(data: PreferenceData, images: Sequence[Made], plan: Plan) -> Readable:
    """The first winners of each row, of each class as many as the target wants of them.

    Args:
        data: as training reads it; its conditions hold every caption with the words of every class.
        images: in whose order its rows are.
        plan: of the populations.
    """
    prompts = {text: number for number, text in enumerate(data.conditions.prompts)}
    target = {name: share for name, share in plan.target.items() if share > 0}
    left = {
        (row.name, name): max(1, round(share * min(READ, plan.side * plan.populations)))
        for row in plan.rows
        for name, share in target.items()
    }
    rows, groups, named = [], [], []
    for place, one in enumerate(images):
        mine = (one.slot.row, one.label)
        if one.slot.winner and left.get(mine, 0):
            left[mine] -= 1
            rows.append(place)
            groups.append(one.slot.row)
            named.append([prompts[naming(one.slot.caption, plan.words[name])] for name in target])
    return Readable(rows=torch.tensor(rows), groups=groups, named=torch.tensor(named))
