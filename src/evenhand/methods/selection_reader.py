"""A small judge of latents: from the initial noise and the latents after some steps, what the image will show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from evenhand.methods.preference_score import unit

_WIDTH, _SIDE, _BATCH = 48, 4, 96


class LatentJudge(nn.Module):
    """Class log-probabilities from noise and latents.

    Both are seen: what a deterministic sampler added to the noise is where the image shows. Latents that form an image
    go through a small convolutional network, packed ones (rows, tokens, channels) through the same along the tokens.

    Args:
        classes: what it tells apart.
        channels: of the latents.
        flat: True for packed latents.
    """

    def __init__(self, classes: tuple[str, ...], channels: int, *, flat: bool = False) -> None:
        super().__init__()
        self.classes, self.flat = classes, flat
        convolution, pool = (nn.Conv1d, nn.AdaptiveAvgPool1d) if flat else (nn.Conv2d, nn.AdaptiveAvgPool2d)
        cells = _SIDE if flat else _SIDE * _SIDE
        self.layers = nn.Sequential(
            convolution(2 * channels, _WIDTH, 3, padding=1),
            nn.GroupNorm(8, _WIDTH),
            nn.SiLU(),
            convolution(_WIDTH, _WIDTH, 3, padding=1),
            nn.GroupNorm(8, _WIDTH),
            nn.SiLU(),
            pool(_SIDE),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(_WIDTH * cells, len(classes)),
        )

    def forward(self, noise: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """(rows, classes)."""
        both = [unit(one.float()) for one in (noise, latents)]
        seen = torch.cat([one.transpose(1, 2) for one in both] if self.flat else both, dim=1)
        return nn.functional.log_softmax(self.layers(seen.cpu()), dim=1)


def train_judge(
    classes: tuple[str, ...],
    noise: torch.Tensor,
    latents: torch.Tensor,
    labels: torch.Tensor,
    held: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    seed: int = 0,
    rounds: int = 300,
) -> LatentJudge:
    """Train on the images that are not held; keep the best on the held ones.

    Args:
        classes: in the order of the labels.
        noise, latents: (images, channels, height, width), or packed.
        labels: (images,), number of the class.
        held: (images,), True for those that only say when to stop.
        weights: (images,), how often each is drawn; None draws every class as often as the others.
        seed: of weights and draws.
        rounds: steps of AdamW.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = LatentJudge(
            classes, latents.shape[1] if latents.ndim == 4 else latents.shape[2], flat=latents.ndim == 3
        )
        counts = torch.bincount(labels[~held], minlength=len(classes)).clamp(min=1)
        drawn = torch.where(held, 0.0, 1 / counts[labels].float() if weights is None else weights)
        optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=rounds, pct_start=0.1)
        best, kept = -1.0, judge.state_dict()
        for round_ in range(1, rounds + 1):
            rows = torch.multinomial(drawn, _BATCH, replacement=True)
            judge.train()
            loss = nn.functional.nll_loss(judge(noise[rows], latents[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if round_ % 50 == 0 or round_ == rounds:
                reached = balanced_accuracy(judge, noise[held], latents[held], labels[held])
                if reached > best:
                    best, kept = reached, {name: one.clone() for name, one in judge.state_dict().items()}
    judge.load_state_dict(kept)
    return judge.eval().requires_grad_(False)


def balanced_accuracy(judge: LatentJudge, noise: torch.Tensor, latents: torch.Tensor, labels: torch.Tensor) -> float:
    """The mean over the classes of the share that is read right; classes without an image are left out."""
    rates = hit_rates(judge, noise, latents, labels)
    shares = [row[place] / sum(row) for place, row in enumerate(rates) if sum(row)]
    return sum(shares) / len(shares) if shares else 0.0


def hit_rates(judge: LatentJudge, noise: torch.Tensor, latents: torch.Tensor, labels: torch.Tensor) -> list[list[int]]:
    """True class by class read: counts."""
    judge.eval()
    with torch.no_grad():
        read = judge(noise, latents).argmax(dim=1) if len(labels) else labels
    size = len(judge.classes)
    return [[int(((labels == true) & (read == seen)).sum()) for seen in range(size)] for true in range(size)]


def tensors_of(judges: Mapping[str, LatentJudge]) -> dict[str, torch.Tensor]:
    """What is stored of some judges."""
    return {f"{name}/{key}": one for name, judge in judges.items() for key, one in judge.state_dict().items()}


def judge_of(tensors: Mapping[str, torch.Tensor], name: str, classes: Sequence[str]) -> LatentJudge:
    """One that was stored."""
    own = {key.removeprefix(f"{name}/"): one for key, one in tensors.items() if key.startswith(f"{name}/")}
    first = own["layers.0.weight"]
    judge = LatentJudge(tuple(classes), first.shape[1] // 2, flat=first.ndim == 3)
    judge.load_state_dict(own)
    return judge.eval().requires_grad_(False)
