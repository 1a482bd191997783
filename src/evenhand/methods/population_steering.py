"""Steering while a training settles: what a prompt's shares still miss goes back into the weights of its winners.

A preference between populations is about shares. Where a prompt has too few of a class, winners of that class count for
more from then on, and the others for less. Shares are those that the model's own predictions imply
(`training.implied_shares`), which costs no image; now and then images say by how much these are wrong
(`population_checks`).

A prompt's own share follows its weights slowly: measured between two readings, winners of one class alone move its
log-odds by .05 to .1, and by .8 where all of sixteen prompts ask for the same, which they learn from each other. So
what a prompt misses beside the others counts many times now, and adds up a little (a proportional and integral
controller); what all miss alike counts for less where there are more prompts, or all would swing about the target.
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
_NOW, _EACH = 16.0, 0.25
"""How many times the last reading counts, and each of all."""
_CHECKS = ((0.0, 1 / 16), (1 / 2, 3 / 16), (1.0, 3 / 4))
"""Where in the steps that settle images check a reading, and the part of them that does."""
_KEPT = 0.5
"""Part of their worth that earlier images keep at a check, since the model was trained on."""


def check_sizes(settle: int, images: int) -> dict[int, int]:
    """Number of each reading that images check, and how many of each prompt's: few at first, most at the end.

    What predictions imply is off by more or less as the model moves, so images made early say little of what is left
    at the end. What the last ones, of the trained model, ask for is taught at once (`population_finish`).

    Args:
        settle: steps in which the training settles.
        images: of each prompt, in all; 0 checks nothing.
    """
    times = -(-settle // EVERY)
    found: dict[int, float] = {}
    for at, part in _CHECKS if images else ():
        place = int(at * times)
        found[place] = found.get(place, 0.0) + part * images
    return {place: max(1, round(some)) for place, some in found.items()}


class Steering:
    """Reads a training now and then, keeps the readings on the disk, and weights its winners.

    Args:
        folder: of the training.
        reading: of the shares.
        images: in whose order the data's rows are; winners show the class that they were asked for.
        target: class -> wanted share.
        gain: see `steered`.
    """

    def __init__(
        self, folder: Path, reading: ImpliedShares, images: Sequence[Made], target: Mapping[str, float], gain: float
    ) -> None:
        self._file, self._reading = folder / "readings.json", reading
        self._images, self._target, self._gain = images, {k: v for k, v in target.items() if v > 0}, gain
        stored = read_json(self._file) if self._file.is_file() else {"readings": {}, "bias": {}, "looked_at": 0}
        self.readings: dict[int, Shares] = {int(step): shares for step, shares in stored["readings"].items()}
        self._bias: Shares = stored["bias"]
        self._looked_at = float(stored["looked_at"])

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
        earlier = _KEPT * self._looked_at
        self._bias = bias_of(read, known, self._bias or None, earlier)
        self._looked_at = earlier + sum(sum(some.values()) for some in known.values()) / max(len(known), 1)

    def steered(self, data: PreferenceData, step: int, part: float = 1.0) -> PreferenceData:
        """The data with the winners' weights that all readings up to a step ask for.

        Args:
            data: as training reads it.
            step: of the training.
            part: of the rate that is left, above 0; see `steered`.
        """
        known = [shares for at, shares in sorted(self.readings.items()) if at <= step]
        return steered(data, self._images, known, self._target, self._gain, part)

    def missing(self, step: int) -> dict[str, list[float]]:
        """Prompt row -> for each class of the target, the logarithm of its wanted over its read share at a step."""
        return {
            row: [_missed(some[name], share) for name, share in self._target.items()]
            for row, some in self.readings[step].items()
        }


def steered(
    data: PreferenceData,
    images: Sequence[Made],
    readings: Sequence[Shares],
    target: Mapping[str, float],
    gain: float,
    part: float = 1.0,
) -> PreferenceData:
    """The data with the winners' weights after some readings.

    With m the logarithm of wanted over read share, and a its mean over the n prompts, the log-odds of a class are the
    gain times: `_EACH` times the sum of m - a over all readings, `_NOW` times m - a of the last one, and `_NOW` times
    its a, for more than two prompts 2 / n of that.

    Args:
        data: as training reads it.
        images: in whose order its rows are.
        readings: row -> class -> share, in order.
        target: class -> wanted share, all above 0.
        gain: of what is missed; 0 is off.
        part: of the rate that is left, above 0. Shares follow weights as fast as the rate lets them, so `_NOW` is
            divided by it.
    """
    odds: dict[str, dict[str, float]] = {}
    for number, shares in enumerate(readings, start=1):
        missed = {
            row: {name: _missed(some[name], share) for name, share in target.items()} for row, some in shares.items()
        }
        alike = {name: sum(one[name] for one in missed.values()) / len(missed) for name in target}
        now = _NOW / part if number == len(readings) else 0.0
        for row, some in missed.items():
            mine = odds.setdefault(row, dict.fromkeys(target, 0.0))
            for name, miss in some.items():
                own = miss - alike[name]
                mine[name] += gain * ((_EACH + now) * own + now * min(1.0, 2 / len(missed)) * alike[name])
    weights = {row: weights_of(mine, target) for row, mine in odds.items()}
    found = [weights[one.slot.row][one.label] if one.slot.winner and one.slot.row in weights else 1.0 for one in images]
    return dataclasses.replace(data, weight=torch.tensor(found))


def _missed(share: float, wanted: float) -> float:
    """Logarithm of the wanted share over one that was read, which least squares may leave outside of 0 to 1."""
    return math.log(wanted / min(max(share, LEAST), 1.0))


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
    target, named = {name: share for name, share in plan.target.items() if share > 0}, named_prompts(data, images, plan)
    left = {
        (row.name, name): max(1, round(share * min(READ, plan.side * plan.populations)))
        for row in plan.rows
        for name, share in target.items()
    }
    rows, groups = [], []
    for place, one in enumerate(images):
        mine = (one.slot.row, one.label)
        if one.slot.winner and left.get(mine, 0):
            left[mine] -= 1
            rows.append(place)
            groups.append(one.slot.row)
    return Readable(rows=torch.tensor(rows), groups=groups, named=named[rows])


def named_prompts(data: PreferenceData, images: Sequence[Made], plan: Plan) -> torch.Tensor:
    """Numbers of the prompts that name each class of the target in an image's own wording, (images, classes).

    Args:
        data: as training reads it; its conditions hold every caption with the words of every class.
        images: in whose order its rows are.
        plan: of the populations.
    """
    prompts = {text: number for number, text in enumerate(data.conditions.prompts)}
    words = [plan.words[name] for name, share in plan.target.items() if share > 0]
    return torch.tensor([[prompts[naming(one.slot.caption, some)] for some in words] for one in images])
