"""What training reads: latents, sides, and the reference's errors at fixed timesteps and noises; nothing else.

With it training holds neither autoencoder nor text encoder, and makes no pass of the reference: its error of an image
was taken once for each of K fixed draws of timestep and noise, and epoch e of the training uses draw e mod K.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from evenhand.errors import InputError
from evenhand.files import write_bytes
from evenhand.training.denoising import Conditions, Noised, errors, noised

_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferenceData:
    """Images as training sees them, the rows of a population beside each other.

    Args:
        latents: clean, (images, ...).
        winner: (images,).
        population: (images,), number of the pair of populations, from 0 on.
        prompt: (images,), number of the neutral prompt that all images of a population are trained under.
        timesteps: (populations, draws), in units of the scheduler.
        reference: (images, draws), mean squared error of the reference at that draw.
        conditions: of the prompts.
        seed: of the draws.
        prediction: what the denoiser predicts.
    """

    latents: torch.Tensor
    winner: torch.Tensor
    population: torch.Tensor
    prompt: torch.Tensor
    timesteps: torch.Tensor
    reference: torch.Tensor
    conditions: Conditions
    seed: int
    prediction: str

    @property
    def populations(self) -> int:
        """How many pairs of populations."""
        return len(self.timesteps)

    @property
    def draws(self) -> int:
        """Fixed draws of timestep and noise for each population."""
        return self.timesteps.shape[1]

    def rows_of(self, population: int) -> torch.Tensor:
        """Numbers of its images, winners first."""
        own = torch.nonzero(self.population == population).flatten()
        return torch.cat([own[self.winner[own]], own[~self.winner[own]]])

    def noised(self, scheduler: Any, rows: torch.Tensor, draw: int) -> Noised:
        """Images at their population's draw: both sides of a population share timestep and noise."""
        noise = torch.stack([self._noise(int(self.population[row]), draw) for row in rows])
        times = self.timesteps[self.population[rows], draw]
        return noised(scheduler, self.prediction, self.latents[rows].float(), noise, times)

    def _noise(self, population: int, draw: int) -> torch.Tensor:
        seed = draw_seed(self.seed, population, draw)
        return torch.randn(self.latents.shape[1:], generator=torch.Generator("cpu").manual_seed(seed))

    def save(self, folder: Path) -> None:
        """Write the folder; the conditions last, so that a folder with them is complete."""
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        facts = json.dumps({"seed": self.seed, "prediction": self.prediction})
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "preferences.safetensors", save(tensors, metadata={"facts": facts}))
        self.conditions.save(folder / "conditions.safetensors")

    @classmethod
    def load(cls, folder: Path) -> PreferenceData:
        """Read what `save` wrote.

        Raises:
            InputError: the folder holds no complete cache.
        """
        if not (folder / "conditions.safetensors").is_file():
            raise InputError(f"{folder} holds no complete cache of preferences; build it again")
        with safe_open(folder / "preferences.safetensors", framework="pt") as stored:
            facts = json.loads(stored.metadata()["facts"])
            tensors = {name: stored.get_tensor(name) for name in _TENSORS}
        return cls(**tensors, conditions=Conditions.load(folder / "conditions.safetensors"), **facts)


_TENSORS = ("latents", "winner", "population", "prompt", "timesteps", "reference")


def draw_seed(seed: int, population: int, draw: int) -> int:
    """Seed of a draw: a function of what is drawn, never of the process that draws it."""
    text = f"{seed}/preference/{population}/{draw}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def draw_timesteps(
    populations: int, draws: int, seed: int, grid: tuple[float, ...] = (), last: int = 1000
) -> torch.Tensor:
    """Timesteps of every draw, (populations, draws): uniform, or of a few-step model's own grid."""
    found = torch.empty(populations, draws)
    for population in range(populations):
        for draw in range(draws):
            rng = torch.Generator("cpu").manual_seed(draw_seed(seed, population, draw) ^ 1)
            place = int(torch.randint(len(grid) or last, (1,), generator=rng))
            found[population, draw] = grid[place] if grid else place
    return found


def with_reference(
    data: PreferenceData,
    denoiser: Any,
    scheduler: Any,
    timesteps_per_unit: float,
    of: torch.Tensor | None = None,
) -> PreferenceData:
    """The data with the reference's errors at every draw.

    Args:
        data: the images.
        denoiser: as the reference is: without an adapter, or with it turned off.
        scheduler: of the pipeline.
        timesteps_per_unit: of the model's family.
        of: numbers of the images whose errors are taken; None for all.

    Cost: images x draws denoiser rows.
    """
    found = data.reference.clone()
    with torch.no_grad():
        for draw in range(data.draws):
            for rows in (torch.arange(len(data.latents)) if of is None else of).split(_BATCH):
                what = data.noised(scheduler, rows, draw)
                own = errors(denoiser, data.conditions, data.prompt[rows], what, timesteps_per_unit)
                found[rows, draw] = own.cpu()
    return dataclasses.replace(data, reference=found)
