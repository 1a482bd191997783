"""A score on noisy latents: which class the finished image will show, and which of two latents shows it more.

At every step the latents are read along one direction per class: the mean of what the class's prompt makes of the same
noises, less that of all classes. How steeply, and from where on, is trained with two losses: the class of the finished
image (cross-entropy), and the preference between two latents of the same seed and step that come from two classes'
prompts (Bradley and Terry 1952: -log sigmoid(s_a(z_a) - s_a(z_b))), which only asks for what the classes differ in.

The directions are not trained: a network with as many weights as a latent has values learns a hundred images by heart,
and its gradient then moves latents where nothing but the score changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import nn


class PreferenceScore(nn.Module):
    """Class logits from latents and a timestep.

    Args:
        classes: what it tells apart.
        axes: (steps, classes, values), each of norm 1.
        timesteps: (steps,), falling; between them the nearest is used.
    """

    axes: torch.Tensor
    timesteps: torch.Tensor

    def __init__(self, classes: tuple[str, ...], axes: torch.Tensor, timesteps: torch.Tensor) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("axes", axes)
        self.register_buffer("timesteps", timesteps)
        self.slope = nn.Parameter(torch.ones(len(axes)))
        self.bias = nn.Parameter(torch.zeros(len(axes), len(classes)))

    def forward(self, latents: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Logits, (rows, classes); latents of unit root mean square, and the number of each row's step."""
        read = torch.einsum("rv,rcv->rc", latents.flatten(1), self.axes[steps].to(latents))
        return self.slope[steps][:, None] * read + self.bias[steps]

    def log_chances(self, latents: torch.Tensor, timestep: float) -> torch.Tensor:
        """Logarithms of class probabilities at one timestep."""
        step = (self.timesteps - timestep).abs().argmin()
        return nn.functional.log_softmax(self(latents, step.expand(len(latents))), dim=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectories:
    """Latents after every step.

    Args:
        latents: (images, steps, channels, height, width).
        timesteps: (steps,).
        labels: (images,), number of the class.
        pairs: for each image the number of its seed among the images of the other classes, -1 without partners.
    """

    latents: torch.Tensor
    timesteps: torch.Tensor
    labels: torch.Tensor
    pairs: torch.Tensor


def train_score(
    classes: tuple[str, ...], data: Trajectories, *, seed: int = 0, rounds: int = 400, batch: int = 256
) -> PreferenceScore:
    """Find the directions, and train how they are read.

    Args:
        classes: in the order of the labels.
        data: of explicit and of neutral prompts; the directions come from those with partners.
        seed: of the draws.
        rounds: steps of Adam.
        batch: latents per round, drawn so that every class is as frequent as the others.

    Cost: rounds x batch products of latents.
    """
    score = PreferenceScore(classes, _axes(len(classes), data), data.timesteps)
    rng = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(score.parameters(), lr=0.05)
    counts = torch.bincount(data.labels, minlength=len(classes)).clamp(min=1)
    weights = 1 / counts[data.labels].float()
    for _ in range(rounds):
        rows = torch.multinomial(weights, batch, replacement=True, generator=rng)
        steps = torch.randint(0, data.latents.shape[1], (batch,), generator=rng)
        logits = score(unit(data.latents[rows, steps]), steps)
        loss = nn.functional.cross_entropy(logits, data.labels[rows])
        loss = loss + _preference(score, data, rows, steps, logits, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return score.eval().requires_grad_(False)


def _axes(classes: int, data: Trajectories) -> torch.Tensor:
    """Per step the classes' mean latents from the same seeds, less their mean, each of norm 1."""
    paired = data.pairs >= 0
    found = []
    for step in range(data.latents.shape[1]):
        flat = unit(data.latents[paired, step]).flatten(1)
        means = torch.stack([flat[data.labels[paired] == k].mean(dim=0) for k in range(classes)])
        means = means - means.mean(dim=0)
        found.append(means / means.norm(dim=1, keepdim=True).clamp(min=1e-12))
    return torch.stack(found)


def _preference(
    score: PreferenceScore,
    data: Trajectories,
    rows: torch.Tensor,
    steps: torch.Tensor,
    logits: torch.Tensor,
    rng: torch.Generator,
) -> torch.Tensor:
    """Bradley and Terry's loss against an image of the same seed and step from another class's prompt."""
    partners = torch.full_like(rows, -1)
    for place, row in enumerate(rows.tolist()):
        number = int(data.pairs[row])
        if number >= 0:
            others = torch.nonzero((data.pairs == number) & (data.labels != data.labels[row]))[:, 0]
            partners[place] = others[torch.randint(len(others), (1,), generator=rng)] if len(others) else -1
    paired = partners >= 0
    if not paired.any():
        return logits.new_zeros(())
    other = score(unit(data.latents[partners[paired], steps[paired]]), steps[paired])
    own = data.labels[rows[paired]][:, None]
    return -nn.functional.logsigmoid(logits[paired].gather(1, own) - other.gather(1, own)).mean()


def unit(latents: torch.Tensor) -> torch.Tensor:
    """Latents of unit root mean square: the frame in which all schedulers' latents look alike."""
    size = latents.flatten(1).square().mean(dim=1).sqrt().clamp(min=1e-12)
    return latents / size.view(-1, *[1] * (latents.ndim - 1))


def accuracy(score: PreferenceScore, data: Trajectories) -> list[float]:
    """The mean over the classes of the share of images that are read right, step by step."""
    found = []
    with torch.no_grad():
        for step in range(data.latents.shape[1]):
            number = torch.tensor(step).expand(len(data.latents))
            read = score(unit(data.latents[:, step]), number).argmax(dim=1)
            shares = [
                (read[data.labels == k] == k).float().mean()
                for k in range(len(score.classes))
                if (data.labels == k).any()
            ]
            found.append(round(float(torch.stack(shares).mean()), 4) if shares else 0.0)
    return found


def tensors_of(score: PreferenceScore) -> dict[str, torch.Tensor]:
    """What is stored of a score."""
    return {f"score/{name}": tensor for name, tensor in score.state_dict().items()}


def score_of(tensors: Mapping[str, torch.Tensor], classes: tuple[str, ...]) -> PreferenceScore:
    """The score that was stored."""
    own = {name.removeprefix("score/"): tensor for name, tensor in tensors.items() if name.startswith("score/")}
    score = PreferenceScore(classes, own["axes"], own["timesteps"])
    score.load_state_dict(own)
    return score.eval().requires_grad_(False)
