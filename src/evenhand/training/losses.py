"""Preference losses over populations of images, on implicit rewards.

The implicit reward of an image is g = log p_theta(x) - log p_ref(x). For a diffusion model it is estimated, up to a
factor that beta absorbs, by the reference's error less the policy's at the same timestep and noise: g = r - m. With
winners W and losers L of one prompt, s = +1 and -1:

`sigmoid`     -log sigma(beta / 2 (g_w - g_l)) over pairs: Diffusion-DPO (Wallace et al., CVPR 2024, arXiv:2311.12908).
`population`  -log sigma(beta (sum_W g - sum_L g)): the Bradley-Terry preference between populations that PopAlign
              (arXiv:2406.19668) starts from, itself; its gradient is beta sigma(-S) s_i for each image, so one detached
              number per population makes it exact for any micro-batch.
`bco_pair`    sum_i -log sigma(s_i beta (g_i - z)): the upper bound of it that PopAlign trains, with a shift z that
              cancels where there are as many winners as losers; after it nothing couples the images of a population.
`kto`         1 - sigma(s_i beta (g_i - z)), z = max(0, mean g): Kahneman-Tversky (arXiv:2402.01306, arXiv:2404.04465).
`sft`         -g over the winners: plain training on them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from evenhand.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewards:
    """Implicit rewards of a batch.

    Args:
        values: g, (images,); carries the gradient.
        winner: (images,), whether the image is one of the winning side.
        population: (images,), number of the pair of populations that it belongs to.
    """

    values: torch.Tensor
    winner: torch.Tensor
    population: torch.Tensor

    def __post_init__(self) -> None:
        shapes = {tuple(one.shape) for one in (self.values, self.winner, self.population)}
        if len(shapes) != 1 or self.values.ndim != 1 or not len(self.values):
            raise InputError(f"rewards, sides and populations have the shapes {sorted(shapes)}; expected (images,)")

    @property
    def signs(self) -> torch.Tensor:
        """+1 for winners, -1 for losers."""
        return torch.where(self.winner, 1.0, -1.0).to(self.values)

    def sums(self) -> torch.Tensor:
        """Over winners less losers, for each population, (populations,)."""
        numbers, place = torch.unique(self.population, return_inverse=True)
        found = torch.zeros(len(numbers), dtype=self.values.dtype, device=self.values.device)
        return found.index_add(0, place, self.signs * self.values)

    def pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Winners and losers side by side: the k-th of either side of each population.

        Raises:
            InputError: a population with more of one side than of the other.
        """
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        for number in torch.unique(self.population):
            own = self.population == number
            first, second = self.values[own & self.winner], self.values[own & ~self.winner]
            if len(first) != len(second):
                raise InputError(
                    f"population {int(number)} has {len(first)} winners and {len(second)} losers; pairs need as many "
                    "of either, or take loss=kto or sft"
                )
            found.append((first, second))
        winners, losers = zip(*found, strict=True)
        return torch.cat(winners), torch.cat(losers)


Loss = Callable[[Rewards, float], torch.Tensor]


def sigmoid(rewards: Rewards, beta: float) -> torch.Tensor:
    """Diffusion-DPO, the mean over pairs."""
    winners, losers = rewards.pairs()
    return torch.nn.functional.softplus(-beta / 2 * (winners - losers)).mean()


def bco_pair(rewards: Rewards, beta: float) -> torch.Tensor:
    """PopAlign's bound, the mean over images; the shift is the mean of both sides' means within a population.

    With one pair in every population it equals `sigmoid`, in value and gradient.
    """
    shift = _shift(rewards)
    return torch.nn.functional.softplus(-rewards.signs * beta * (rewards.values - shift)).mean()


def population(rewards: Rewards, beta: float) -> torch.Tensor:
    """The preference between populations, the mean over populations."""
    return torch.nn.functional.softplus(-beta * rewards.sums()).mean()


def population_weights(rewards: Rewards, beta: float) -> torch.Tensor:
    """d `population` / d g for each image, detached: -beta s_i sigma(-S) / populations.

    sum_i weight_i g_i has the gradient of `population`, and its images may be taken in any micro-batches, once S is
    known from a pass without gradient.
    """
    numbers, place = torch.unique(rewards.population, return_inverse=True)
    pull = torch.sigmoid(-beta * rewards.sums().detach())[place]
    return -beta * rewards.signs * pull / len(numbers)


def kto(rewards: Rewards, beta: float) -> torch.Tensor:
    """Kahneman-Tversky optimisation, the mean over images; the sides need not be of one size."""
    zero = rewards.values.detach().mean().clamp(min=0)
    return (1 - torch.sigmoid(rewards.signs * beta * (rewards.values - zero))).mean()


def sft(rewards: Rewards, beta: float) -> torch.Tensor:
    """Plain training on the winners; beta plays no part.

    Raises:
        InputError: no winners.
    """
    if not bool(rewards.winner.any()):
        raise InputError("a batch without winners; sft learns from winners alone")
    return -rewards.values[rewards.winner].mean()


def _shift(rewards: Rewards) -> torch.Tensor:
    """For each image the middle between the mean winner and the mean loser of its population, detached."""
    values = rewards.values.detach()
    found = torch.empty_like(values)
    for number in torch.unique(rewards.population):
        own = rewards.population == number
        sides = [values[own & side] for side in (rewards.winner, ~rewards.winner)]
        found[own] = torch.stack([side.mean() for side in sides if len(side)]).mean()
    return found


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {"sigmoid": sigmoid, "bco_pair": bco_pair, "population": population, "kto": kto, "sft": sft}
)
