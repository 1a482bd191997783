"""The mean shift of the initial noise that shows a class of a prompt, found by the gradient through the sampler.

With a deterministic sampler the image is a function of the noise, x(z), so that what the noise decides can be
differentiated. For one prompt and a class that it shows too seldom, a mean m of the noise is moved up

    E[ l(x(m + e)) ],  e ~ N(0, I),  l = log-odds of the class by the fit judge

by steps of one length, from fresh noise each time. By Stein's identity the first step is where the class's noises lie
on the mean (Brillinger 1983; the active subspace, Constantine 2015), found with a thousandth of the images that their
labels would take. It stops once most images show the class: how far the noise must move is the fit's own calibration.

Gradients are averaged by their directions, or as they are, with their lengths, which spread over two orders of
magnitude. A mean with the lengths is that of a few images between two classes, and their noise with it. But an image
that is all but decided has a short gradient, which says how its class looks and not what would change it: where nearly
all are, directions alone lead nowhere (houses of one region became less often what they were moved towards). Nobody
knows beforehand which it is, so both are tried (`noise_ascents`).

Pairs of explicit prompts do not tell this: they say in what the pictures differ, not what the network reads from the
noise when the prompt leaves it open.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from evenhand.host.differentiable import Embed, Objective, slopes
from evenhand.host.host import Host

ENOUGH = 0.875
"""Share of a round's images, on the mean with the round before, that show the class: the ascent is over then."""
_MEMORY = 0.8
"""Of the running mean of the gradients."""
_UNGUIDED = 1.5
"""Up to this guidance the unconditional rows are left out: half the cost, and the gradient hardly turns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounds:
    """How an ascent goes.

    Args:
        count: rounds at most.
        batch: noises of each.
        stride: length of a step, in standard deviations of the noise.
        steps: of the schedule that is differentiated.
    """

    count: int = 16
    batch: int = 16
    stride: float = 0.5
    steps: int = 6

    @property
    def rows(self) -> int:
        """Denoiser rows of one ascent without guidance, at most: forward, again, and backward."""
        return 3 * self.count * self.batch * self.steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ascent:
    """What an ascent found.

    Args:
        axis: the direction of the mean, of norm 1.
        length: of the mean, in standard deviations.
        agreement: cosine of the mean gradients of every second round with that of the others.
        coordinates: of all noises that were tried along the axis.
        values: the objective there; above 0 where the class is shown, on the short schedule.
        shown: share of the images of the last two rounds that show the class.
        lengths: whether gradients were averaged with their lengths.
    """

    axis: torch.Tensor
    length: float
    agreement: float
    coordinates: tuple[float, ...]
    values: tuple[float, ...]
    shown: float
    lengths: bool


def ascend(
    host: Host,
    prompts: Sequence[str],
    objective: Objective,
    noises: Callable[[int], torch.Tensor],
    rounds: Rounds,
    *,
    guidance: float,
    lengths: bool = False,
    embed: Embed | None = None,
) -> Ascent:
    """Move the mean of the noise until a class is shown.

    Args:
        host: the model.
        prompts: that leave the class open, one for each noise of a round: one subject in several wordings.
        objective: from images to the log-odds of the class.
        noises: number of a round -> its noises, (batch, ...), standard normal.
        rounds: how far.
        guidance: of the model.
        lengths: True averages the gradients as they are; False counts every image alike, with its gradient's direction.
        embed: what acts on the embedded prompts; None leaves them as they are.

    Cost: `Rounds.rows`, twice with guidance above 1.5.
    """
    mean, memory = torch.zeros_like(noises(0)[0]), torch.zeros_like(noises(0)[0])
    tried: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    pulls: list[torch.Tensor] = []
    for number in range(rounds.count):
        start = noises(number) + mean
        found = slopes(
            host,
            prompts,
            start,
            objective,
            steps=rounds.steps,
            guidance=1.0 if guidance <= _UNGUIDED else guidance,
            embed=embed,
        )
        tried.append(start)
        values.append(found.values)
        if _shown(values) >= ENOUGH and number > 1:
            break
        pulls.append(_pull(found.gradients, lengths=lengths))
        memory = _MEMORY * memory + pulls[-1]
        mean = mean + rounds.stride * memory / memory.norm().clamp(min=1e-12)
    axis = mean / mean.norm().clamp(min=1e-12)
    return Ascent(
        axis=axis,
        length=float(mean.norm()),
        agreement=_agreement(pulls),
        coordinates=tuple((torch.cat(tried).flatten(1) @ axis.flatten()).tolist()),
        values=tuple(torch.cat(values).tolist()),
        shown=_shown(values),
        lengths=lengths,
    )


def _shown(values: Sequence[torch.Tensor]) -> float:
    return float((torch.cat(list(values[-2:])) > 0).float().mean())


def _pull(gradients: torch.Tensor, *, lengths: bool) -> torch.Tensor:
    """The mean of the gradients, or of their directions; one that is no number counts for nothing."""
    flat = gradients.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    if not lengths:
        flat = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return flat.mean(dim=0).view(gradients.shape[1:])


def _agreement(pulls: Sequence[torch.Tensor]) -> float:
    if len(pulls) < 2:
        return 0.0
    halves = [torch.stack(list(pulls[half::2])).mean(dim=0).flatten() for half in (0, 1)]
    return float(torch.cosine_similarity(halves[0], halves[1], dim=0))
