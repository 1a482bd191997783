"""One ascent for every prompt: along which direction its noise decides, towards the class that it shows too seldom."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import InputError
from evenhand.methods.noise_estimators import Keep, kept
from evenhand.methods.noise_gradient import ENOUGH, Ascent, Rounds, ascend
from evenhand.methods.noise_looks import Looks, Neutral, RowAxes
from evenhand.methods.vector_trials import Trials

GRADIENT = "gradient"
"""Name of the estimator."""
_CLEARLY = 0.75
"""Share of the other's length within which an ascent has to arrive to be preferred: lengths of two ascents that are as
good differ by about a tenth."""
_NOTHING = RowAxes(common=torch.zeros(0), order=(), agreement=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What the ascents found.

    Args:
        axes: of every row.
        looks: images of the short schedule, along the axes; they say where to look first.
        effect: for the card.
    """

    axes: RowAxes = _NOTHING
    looks: Looks = dataclasses.field(default_factory=Looks)
    effect: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def row_ascents(
    trials: Trials, neutral: Neutral, order: Sequence[str], keep: Keep, rounds: Rounds | None = None
) -> Found:
    """Ascend for every row of the trials.

    Args:
        trials: prompts, and the fit judge that is differentiated.
        neutral: what the prompts show by themselves.
        order: the classes from one end to the other.
        keep: channels and frequencies that the directions may have.
        rounds: of each ascent; None takes the default.

    Raises:
        InputError: the fit judge cannot be differentiated.

    Cost: twice `Rounds.rows` for every row, at most; twice that with guidance above 1.5.
    """
    rounds = rounds or Rounds()
    fitting, order = trials.fitting, tuple(order)
    if fitting.logits is None:
        raise InputError("the fit judge gives no gradients; use estimator=paired, or name another --judge")
    fitting.watcher.start("directions", total=len(trials.rows), done=0)
    ascents: dict[str, tuple[Ascent, int, tuple[int, ...]]] = {}
    for row in trials.rows:
        sign = _towards(trials.concept, neutral, row, order)
        found, labels = _ascent(trials, neutral, row, lambda sign=sign: _Scores(trials, order, sign), rounds)
        ascents[row.name] = found, sign, labels
        fitting.watcher.advance()
    own = {name: kept(sign * one.axis, keep) for name, (one, sign, _) in ascents.items()}
    looks = Looks()
    for name, (one, sign, labels) in ascents.items():
        places = tuple(sign * place for place in one.coordinates)
        looks += Looks(rows=(name,) * len(labels), coordinates=places, labels=labels)
    agreement = sum(one.agreement for one, _, _ in ascents.values()) / len(ascents)
    axes = RowAxes(
        common=kept(torch.stack(list(own.values())).sum(dim=0), Keep()), order=order, agreement=agreement, own=own
    )
    effect = {
        "ascents": {
            name: {
                "length": round(sign * one.length, 3),
                "agreement": round(one.agreement, 4),
                "images": len(labels),
                "shown": round(one.shown, 4),
                "gradients": "with lengths" if one.lengths else "alike",
            }
            for name, (one, sign, labels) in ascents.items()
        }
    }
    return Found(axes=axes, looks=looks, effect=effect)


def _ascent(
    trials: Trials, neutral: Neutral, row: PromptRow, scoring: Callable[[], _Scores], rounds: Rounds
) -> tuple[Ascent, tuple[int, ...]]:
    """Of a row, and what was read on the way: the better of two ways to average gradients."""
    alike, lengths = (_tried(trials, neutral, row, scoring(), rounds, lengths=lengths) for lengths in (False, True))
    return lengths if _nearer(lengths[0], alike[0]) else alike


def _tried(
    trials: Trials, neutral: Neutral, row: PromptRow, scores: _Scores, rounds: Rounds, *, lengths: bool
) -> tuple[Ascent, tuple[int, ...]]:
    found = ascend(
        trials.fitting.host,
        [trials.words(row, place) for place in range(rounds.batch)],
        scores,
        lambda number: _noises(trials, row, number, rounds.batch, neutral.noises.shape[1:]),
        rounds,
        guidance=trials.fitting.settings.guidance,
        lengths=lengths,
        embed=trials.fitting.embed,
    )
    return found, tuple(scores.labels)


def _nearer(one: Ascent, other: Ascent) -> bool:
    """Whether the first way arrives clearly sooner, or alone; where neither does, whether it shows the class more."""
    if one.shown >= ENOUGH and other.shown >= ENOUGH:
        return one.length < _CLEARLY * other.length
    return one.shown > other.shown


class _Scores:
    """The log-odds of one end's class against the other's, and what was read on the way."""

    def __init__(self, trials: Trials, order: tuple[str, ...], sign: int) -> None:
        self._trials, self._sign = trials, sign
        names = trials.concept.class_names
        self._columns = [names.index(name) for name in order]
        self.labels: list[int] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        assert self._trials.fitting.logits is not None  # noqa: S101
        logits = self._trials.fitting.logits(images, self._trials.concept)[:, self._columns]
        self.labels += logits.argmax(dim=1).tolist()
        return self._sign * (logits[:, -1] - logits[:, 0])


def _towards(concept: Concept, neutral: Neutral, row: PromptRow, order: tuple[str, ...]) -> int:
    """1 where the last class is the one that is shown too seldom, -1 where it is the first."""
    missing = []
    for name in (order[0], order[-1]):
        place = concept.class_names.index(name)
        seen = [label for one, label in zip(neutral.rows, neutral.labels, strict=True) if one == row.name]
        missing.append(concept.reference[place] - seen.count(place) / max(1, len(seen)))
    return 1 if missing[1] >= missing[0] else -1


def _noises(trials: Trials, row: PromptRow, number: int, batch: int, shape: torch.Size) -> torch.Tensor:
    seeds = [
        image_seed(trials.seed, "fit", f"{trials.concept.name} {row.name}", number * batch + place)
        for place in range(batch)
    ]
    return torch.stack([torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds])
