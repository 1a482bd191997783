"""The end of a training: what images say that shares still miss is taught once, by lessons that do not change.

Under a neutral prompt the best prediction of the noise in x_t is the mean of those under the prompts that name a class,
weighted by how likely each class is, given x_t (see `training.implied_shares`). Adding d_c to the log-odds of a class
makes of these weights w_c(x_t) exp(d_c) / sum, so the prediction moves by sum_c (w'_c - w_c) eps_c(x_t). That is the
lesson: what the model predicts at the end of its training, moved by what images of it ask for.

A lesson has no noise of its own and says where to stop, so that nothing swings, and what predictions wrongly imply of a
share does not matter: it is the same before and after. Where nothing is missed a lesson is what the model predicts, and
the model stays what it is, to the bit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.training.cache import PreferenceData, draw_seed
from evenhand.training.denoising import distances, predictions
from evenhand.training.lora import without_lora
from evenhand.training.trainer import TrainingError
from evenhand.watch import Watcher

_RISING, _FALLING = 5, 0.6
"""Steps over which the rate rises, and the part of the steps over which it falls to 0."""
_LEAST = 0.02
"""No class is taken to be less likely, which least squares may leave outside of 0 to 1."""
_SCALE = 1e4
"""On the loss, whose gradients would lie near Adam's epsilon."""
_BATCH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What images of the trained model ask for.

    Args:
        groups: prompt row of each image of the data.
        named: (images, classes), numbers of the prompts that name each class in the image's own wording.
        odds: prompt row -> (classes,), what is added to the log-odds of each class; 0 changes nothing.
    """

    groups: Sequence[str]
    named: torch.Tensor
    odds: Mapping[str, torch.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinishConfig:
    """How it is taught.

    Args:
        steps: of the optimiser; 0 teaches nothing.
        rate: highest learning rate.
        each: noised images of each prompt row in a step.
        held: noised winners in a step that hold the model, under the prompts that made them, to what it predicts.
        seed: of the order.
    """

    steps: int = 80
    rate: float = 3e-4
    each: int = 3
    held: int = 16
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """Noised images of a step: their numbers, draws, the prompts that they are taught under, and their lessons."""

    rows: torch.Tensor
    draws: torch.Tensor
    prompt: torch.Tensor
    lessons: torch.Tensor


class Finishing:
    """Teaches a trained model what is asked of it.

    Args:
        data: cached images of both sides; winners hold the model under their own prompts.
        asked: what is asked.
        scheduler: of the pipeline.
        timesteps_per_unit: of the model's family.
        config: how.
    """

    def __init__(
        self, data: PreferenceData, asked: Asked, scheduler: Any, timesteps_per_unit: float, config: FinishConfig
    ) -> None:
        self._data, self._asked, self._config = data, asked, config
        self._scheduler, self._unit = scheduler, timesteps_per_unit

    def train(self, denoiser: Any, learning: Sequence[torch.nn.Parameter], watcher: Watcher) -> list[float]:
        """Teach it; what the model missed of each step's lessons (mean square), before that step.

        Args:
            denoiser: with its adapter, which is turned off for what each class looks like.
            learning: what learns.
            watcher: told of progress.

        Raises:
            TrainingError: what is missed is no number; the adapter is what it was.

        Cost: for each image of a step a denoiser row with a backward pass and one without, and for each taught image
            one more for every class.
        """
        config, parts, found = self._config, [], []
        before = [one.detach().clone() for one in learning]
        watcher.start("finishing", total=2 * config.steps, done=0)
        for step in range(config.steps):  # all lessons before anything learns
            parts.append(self._parts(denoiser, step))
            watcher.advance()
        optimiser = torch.optim.AdamW(list(learning), lr=config.rate, weight_decay=0.0)
        for step, (taught, held) in enumerate(parts):
            for group in optimiser.param_groups:
                group["lr"] = config.rate * _part_of_rate(step, config.steps)
            optimiser.zero_grad()
            missed = self._missed(denoiser, taught)
            found.append(float(missed.detach()))
            if not math.isfinite(found[-1]):
                for one, value in zip(learning, before, strict=True):
                    one.data.copy_(value)
                raise TrainingError(
                    f"finishing misses its lessons by {found[-1]} at its step {step + 1}; nothing of it is kept"
                )
            (_SCALE * (missed + self._missed(denoiser, held))).backward()
            optimiser.step()
            watcher.advance()
        return found

    def _parts(self, denoiser: Any, step: int) -> tuple[_Part, _Part]:
        """What a step teaches, and what it holds."""
        data, config = self._data, self._config
        rng = torch.Generator("cpu").manual_seed(draw_seed(config.seed, step, -1))
        groups: dict[str, list[int]] = {}
        for place, group in enumerate(self._asked.groups):
            groups.setdefault(group, []).append(place)
        taught = torch.cat([_some(torch.tensor(places), config.each, rng) for places in groups.values()])
        held = _some(torch.nonzero(data.winner).flatten(), config.held, rng)
        draws = [torch.randint(data.draws, (len(rows),), generator=rng) for rows in (taught, held)]
        with torch.no_grad():
            batches = zip(taught.split(_BATCH), draws[0].split(_BATCH), strict=True)
            lessons = torch.cat([self._lessons(denoiser, *some) for some in batches])
            kept = self._predicted(denoiser, held, draws[1], data.own[held])
        return (
            _Part(rows=taught, draws=draws[0], prompt=data.prompt[taught], lessons=lessons),
            _Part(rows=held, draws=draws[1], prompt=data.own[held], lessons=kept),
        )

    def _lessons(self, denoiser: Any, rows: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """What the model predicts, moved by what is asked, (images, ...)."""
        own = self._predicted(denoiser, rows, draws, self._data.prompt[rows])
        with without_lora(denoiser):
            named = self._asked.named[rows].T
            classes = torch.stack([self._predicted(denoiser, rows, draws, one) for one in named], dim=1)
        odds = torch.stack([self._asked.odds[self._asked.groups[int(row)]] for row in rows]).to(own)
        return own + moved(own, classes, odds)

    def _missed(self, denoiser: Any, part: _Part) -> torch.Tensor:
        own = self._predicted(denoiser, part.rows, part.draws, part.prompt)
        return distances(own, part.lessons).mean()

    def _predicted(self, denoiser: Any, rows: torch.Tensor, draws: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        what = self._data.noised_each(self._scheduler, rows, draws)
        return predictions(denoiser, self._data.conditions, prompt, what, self._unit)


def moved(own: torch.Tensor, classes: torch.Tensor, odds: torch.Tensor) -> torch.Tensor:
    """How far a prediction moves where the log-odds of its classes do, (images, ...).

    Args:
        own: under the neutral prompt, (images, ...).
        classes: under the prompts that name each class, (images, classes, ...).
        odds: what is added to the log-odds of each, (images, classes).
    """
    weights, factors = weights_in(own, classes), odds.exp()
    whole = weights.sum(dim=1, keepdim=True) / (weights * factors).sum(dim=1, keepdim=True)
    return torch.einsum("nk,nk...->n...", weights * (factors * whole - 1), classes)  # exactly 0 where odds are


def weights_in(own: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Of each class in a prediction, by least squares, (images, classes): above 0, of sum 1.

    Args:
        own: under the neutral prompt, (images, ...).
        classes: under the prompts that name each class, (images, classes, ...).
    """
    apart = (classes[:, :-1] - classes[:, -1:]).flatten(2)
    found = torch.linalg.lstsq(apart.transpose(1, 2), (own - classes[:, -1]).flatten(1)[..., None]).solution[..., 0]
    found = torch.cat([found, 1 - found.sum(dim=1, keepdim=True)], dim=1).clamp(min=_LEAST)
    return found / found.sum(dim=1, keepdim=True)


def _some(places: torch.Tensor, count: int, rng: torch.Generator) -> torch.Tensor:
    """So many of them, none twice where there are enough."""
    rounds = -(-count // len(places))
    return places[torch.cat([torch.randperm(len(places), generator=rng) for _ in range(rounds)])[:count]]


def _part_of_rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / _RISING, (steps - step) / (_FALLING * steps))
