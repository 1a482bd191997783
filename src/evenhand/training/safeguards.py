"""What keeps a training from lowering its loss the wrong way: by making losers, or everything else, worse.

`penalty`  a hinge on winners whose error rose above the reference's, after DPO-Positive (Pal et al., arXiv:2402.13228):
           beta sum_W max(0, -g) per population. Its pull on an image equals the most that `losses.population` can pull.
`clip`     where the winners of a population are worse than the reference on the mean, its losers pass no gradient: the
           idea of Diffusion-SDPO (arXiv:2511.03317), which scales the losers' gradient down, taken to its end.
`hold`     log cosh(beta g) of images that are to stay as they are: quadratic near the reference, and no steeper than
           beta, so that it pulls as strongly as the losses do at a weight of 1.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from evenhand.training.losses import Rewards

SAFEGUARDS = ("off", "penalty", "clip")


def winner_penalty(rewards: Rewards, beta: float, populations: int) -> torch.Tensor:
    """The hinge on winners whose error rose, as a part of the mean over `populations`; 0 where none did."""
    return beta * torch.relu(-rewards.values[rewards.winner]).sum() / populations


def clipped_losers(rewards: Rewards) -> torch.Tensor:
    """Whether each image passes gradients, (images,): not a loser whose population's winners got worse."""
    known = rewards.values.detach()
    passes = torch.ones_like(rewards.winner)
    for number in torch.unique(rewards.population):
        own = rewards.population == number
        winners = known[own & rewards.winner]
        if len(winners) and float(winners.mean()) < 0:
            passes[own & ~rewards.winner] = False
    return passes


def clipped(rewards: Rewards) -> Rewards:
    """The same rewards, in value; without the gradients that `clipped_losers` takes."""
    return dataclasses.replace(
        rewards, values=torch.where(clipped_losers(rewards), rewards.values, rewards.values.detach())
    )


def hold(values: torch.Tensor, beta: float) -> torch.Tensor:
    """The mean of log cosh(beta g) over images whose error is to stay the reference's.

    Args:
        values: g of each, (images,).
        beta: factor on them; above 0.
    """
    size = (beta * values).abs()
    return (size + torch.nn.functional.softplus(-2 * size) - math.log(2)).mean()
