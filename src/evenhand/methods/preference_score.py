"""A score on noisy latents: which class the finished image will show, and which of two latents shows it more.

It learns from finished latents x0 of images whose class is known, at every noise level of the model's schedule, with
fresh noise in every round: z = alpha(t) x0 + sigma(t) n. Two losses: the class (cross-entropy), and the preference
between two images of one prompt that show different classes, at the same level and with the same noise (Bradley and
Terry 1952: -log sigmoid(s_a(z_a) - s_a(z_b))), which only asks for what the classes differ in. The fresh noise keeps a
small network from learning its images by heart, and makes its gradient that of a class and not of single values.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from evenhand.host.noise_level import NoiseLevel

LevelOf = Callable[[float], NoiseLevel]
"""The noise level of a timestep, 0 to 1,000."""

_WIDTH, _FREQUENCIES, _SIDE = 48, 8, 4


class PreferenceScore(nn.Module):
    """Class logits from latents of unit root mean square and a timestep.

    Latents that form an image go through a small residual convolutional network at half their resolution, packed ones
    (rows, tokens, channels) through the same along the tokens.

    Args:
        classes: what it tells apart.
        channels: of the latents.
        flat: True for packed latents.
    """

    def __init__(self, classes: tuple[str, ...], channels: int, *, flat: bool = False) -> None:
        super().__init__()
        self.classes, self.flat = classes, flat
        convolution, pool = (nn.Conv1d, nn.AdaptiveAvgPool1d) if flat else (nn.Conv2d, nn.AdaptiveAvgPool2d)
        self.inward = convolution(channels, _WIDTH, 3, stride=2, padding=1)
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, _WIDTH), nn.SiLU())
        self.blocks = nn.ModuleList(_Block(convolution) for _ in range(2))
        self.outward = nn.Sequential(
            nn.GroupNorm(8, _WIDTH),
            nn.SiLU(),
            pool(_SIDE),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(_WIDTH * (_SIDE if flat else _SIDE * _SIDE), len(classes)),
        )

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Logits, (rows, classes), of latents of unit root mean square at the timestep of each row."""
        waves = timesteps.to(latents)[:, None] / 1000 * math.pi * 2.0 ** torch.arange(_FREQUENCIES).to(latents) / 2
        time = self.time(torch.cat([waves.sin(), waves.cos()], dim=1))
        hidden = self.inward(latents.transpose(1, 2) if self.flat else latents)
        for block in self.blocks:
            hidden = block(hidden, time)
        return self.outward(hidden)

    def log_chances(self, latents: torch.Tensor, timestep: float) -> torch.Tensor:
        """Logarithms of class probabilities at one timestep."""
        self.to(latents.device)
        return nn.functional.log_softmax(self(latents, latents.new_full((len(latents),), timestep)), dim=1)


class _Block(nn.Module):
    """A residual block whose inner norm is scaled and shifted by the noise level."""

    def __init__(self, convolution: type[nn.Conv1d] | type[nn.Conv2d]) -> None:
        super().__init__()
        self.before, self.after = nn.GroupNorm(8, _WIDTH), nn.GroupNorm(8, _WIDTH)
        self.first, self.second = (convolution(_WIDTH, _WIDTH, 3, padding=1) for _ in range(2))
        self.time = nn.Linear(_WIDTH, 2 * _WIDTH)

    def forward(self, hidden: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        inner = self.after(self.first(nn.functional.silu(self.before(hidden))))
        places = [1] * (hidden.ndim - 2)
        scale, shift = (one.view(*one.shape, *places) for one in self.time(time).chunk(2, dim=1))
        return hidden + self.second(nn.functional.silu(inner * (1 + scale) + shift))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """Finished latents and what is perceived in their images.

    Args:
        latents: (images, ...).
        labels: (images,), number of the class.
        rows: (images,), number of the prompt row; only images of one row are compared.
    """

    latents: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor

    def __getitem__(self, chosen: torch.Tensor) -> Finished:
        """Some of the images, by number or by mask."""
        return Finished(latents=self.latents[chosen], labels=self.labels[chosen], rows=self.rows[chosen])


def train_score(
    classes: tuple[str, ...],
    data: Finished,
    level_of: LevelOf,
    *,
    seed: int = 0,
    rounds: int = 2_000,
    pairs: int = 48,
) -> PreferenceScore:
    """Train on pairs of one prompt row, every row and class as often as the others.

    Args:
        classes: in the order of the labels.
        data: of at least one row that shows two classes.
        level_of: the model's schedule.
        seed: of weights and draws.
        rounds: steps of AdamW.
        pairs: in each.

    Raises:
        ValueError: no row shows two classes.

    Cost: rounds x 2 pairs passes of the small network, forward and backward.
    """
    other = (data.rows[:, None] == data.rows[None]) & (data.labels[:, None] != data.labels[None])
    weights = _weights(data) * other.any(dim=1)
    if not weights.any():
        raise ValueError("no prompt shows two classes; there is nothing to prefer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        packed = data.latents.ndim == 3
        score = PreferenceScore(classes, data.latents.shape[2 if packed else 1], flat=packed)
        optimiser = torch.optim.AdamW(score.parameters(), 2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=rounds, pct_start=0.1)
        for _ in range(rounds):
            first = torch.multinomial(weights, pairs, replacement=True)
            second = torch.multinomial(other[first].float(), 1)[:, 0]
            loss = _loss(score, data, (first, second), level_of)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return score.eval().requires_grad_(False)


def _weights(data: Finished) -> torch.Tensor:
    """How often each image is drawn, so that every class of every row comes as often as the others."""
    group = data.rows * (int(data.labels.max()) + 1) + data.labels
    return 1 / torch.bincount(group)[group].float()


def _loss(
    score: PreferenceScore, data: Finished, sides: tuple[torch.Tensor, torch.Tensor], level_of: LevelOf
) -> torch.Tensor:
    """The class of either side, and the preference between them at one level and noise."""
    times = torch.randint(0, 1000, (len(sides[0]),)).float()
    noise = torch.randn(len(times), *data.latents.shape[1:])
    seen = torch.cat([noised(data.latents[side], noise, times, level_of) for side in sides])
    logits = score(seen, torch.cat([times, times]))
    labels = torch.cat([data.labels[side] for side in sides])
    own, foreign = (one.gather(1, data.labels[sides[0]][:, None]) for one in logits.chunk(2))
    return nn.functional.cross_entropy(logits, labels) - nn.functional.logsigmoid(own - foreign).mean()


def noised(clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor, level_of: LevelOf) -> torch.Tensor:
    """Latents of unit root mean square at each row's timestep."""
    levels = [level_of(time) for time in times.tolist()]
    alpha, sigma = (torch.tensor([getattr(one, name) for one in levels]) for name in ("alpha", "sigma"))
    shape = (-1, *[1] * (clean.ndim - 1))
    return unit(alpha.view(shape) * clean + sigma.view(shape) * noise)


def unit(latents: torch.Tensor) -> torch.Tensor:
    """Latents of unit root mean square: the frame in which all schedulers' latents look alike."""
    size = latents.flatten(1).square().mean(dim=1).sqrt().clamp(min=1e-12)
    return latents / size.view(-1, *[1] * (latents.ndim - 1))


def accuracy(
    score: PreferenceScore, data: Finished, level_of: LevelOf, timesteps: Sequence[float], *, seed: int = 0
) -> list[float]:
    """At each timestep, the mean over the classes of the share of images that is read right."""
    rng = torch.Generator().manual_seed(seed)
    found = []
    for time in timesteps:
        noise = torch.randn(data.latents.shape, generator=rng)
        with torch.no_grad():
            seen = noised(data.latents, noise, torch.full((len(noise),), float(time)), level_of)
            read = score.log_chances(seen, float(time)).argmax(dim=1)
        shares = [(read[data.labels == k] == k).float().mean() for k in data.labels.unique().tolist()]
        found.append(round(float(torch.stack(shares).mean()), 4) if shares else 0.0)
    return found


def tensors_of(score: PreferenceScore) -> dict[str, torch.Tensor]:
    """What is stored of a score."""
    return {f"score/{name}": tensor for name, tensor in score.state_dict().items()}


def score_of(tensors: Mapping[str, torch.Tensor], classes: tuple[str, ...]) -> PreferenceScore:
    """The score that was stored."""
    own = {name.removeprefix("score/"): tensor for name, tensor in tensors.items() if name.startswith("score/")}
    first = own["inward.weight"]
    score = PreferenceScore(classes, first.shape[1], flat=first.ndim == 3)
    score.load_state_dict(own)
    return score.eval().requires_grad_(False)
