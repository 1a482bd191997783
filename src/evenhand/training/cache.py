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
from evenhand.training.denoising import Conditions, Noised, distances, errors, noised, predictions

_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferenceData:
    """Images as training sees them, the rows of a population beside each other.

    Args:
        latents: clean, (images, ...).
        winner: (images,).
        population: (images,), number of the pair of populations, from 0 on.
        pair: (images,), number of the winner and the loser that share timestep and noise; see `pair_numbers`.
        prompt: (images,), number of the neutral prompt that all images of a population are trained under.
        own: (images,), number of the prompt that made the image.
        timesteps: (pairs, draws), in units of the scheduler.
        reference: (images, draws), mean squared error of the reference at that draw.
        taught: (winners, draws, ...), what the reference predicts at that draw under the prompt that made the winner;
            (0,) where nothing is taught.
        weight: (images,), of each winner in the plain training on winners; 1 as they were made.
        conditions: of the prompts.
        seed: of the draws.
        prediction: what the denoiser predicts.
    """

    latents: torch.Tensor
    winner: torch.Tensor
    population: torch.Tensor
    pair: torch.Tensor
    prompt: torch.Tensor
    own: torch.Tensor
    timesteps: torch.Tensor
    reference: torch.Tensor
    taught: torch.Tensor
    weight: torch.Tensor
    conditions: Conditions
    seed: int
    prediction: str

    @property
    def populations(self) -> int:
        """How many pairs of populations."""
        return 1 + int(self.population.max())

    @property
    def draws(self) -> int:
        """Fixed draws of timestep and noise for each pair."""
        return self.timesteps.shape[1]

    def rows_of(self, population: int) -> torch.Tensor:
        """Numbers of its images, winners first."""
        own = torch.nonzero(self.population == population).flatten()
        return torch.cat([own[self.winner[own]], own[~self.winner[own]]])

    def lessons(self, rows: torch.Tensor, draw: int) -> torch.Tensor:
        """What is taught for the winners among some images, in their order, (winners, ...)."""
        place = torch.cumsum(self.winner, 0) - 1
        return self.taught[place[rows[self.winner[rows]]], draw].float()

    def noised(self, scheduler: Any, rows: torch.Tensor, draw: int) -> Noised:
        """Images at their pair's draw: a winner and its loser share timestep and noise, other pairs have their own."""
        return self.noised_each(scheduler, rows, torch.full((len(rows),), draw))

    def noised_each(self, scheduler: Any, rows: torch.Tensor, draws: torch.Tensor) -> Noised:
        """As `noised`, each image at a draw of its own, (images,)."""
        pairs = self.pair[rows]
        noise = torch.stack([self._noise(int(pair), int(draw)) for pair, draw in zip(pairs, draws, strict=True)])
        return noised(scheduler, self.prediction, self.latents[rows].float(), noise, self.timesteps[pairs, draws])

    def _noise(self, pair: int, draw: int) -> torch.Tensor:
        seed = draw_seed(self.seed, pair, draw)
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


_TENSORS = (
    "latents", "winner", "population", "pair", "prompt", "own", "timesteps", "reference", "taught", "weight",
)  # fmt: skip


def pair_numbers(population: torch.Tensor, winner: torch.Tensor) -> torch.Tensor:
    """The k-th winner and the k-th loser of a population have one number, (images,); numbers go from 0 on."""
    found: dict[tuple[int, int], int] = {}
    met: dict[tuple[int, bool], int] = {}
    numbers = []
    for side in zip(population.tolist(), winner.tolist(), strict=True):
        met[side] = met.get(side, -1) + 1
        numbers.append(found.setdefault((side[0], met[side]), len(found)))
    return torch.tensor(numbers)


def draw_seed(seed: int, pair: int, draw: int) -> int:
    """Seed of a draw: a function of what is drawn, never of the process that draws it."""
    text = f"{seed}/preference/{pair}/{draw}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def draw_timesteps(
    pairs: int, draws: int, seed: int, grid: tuple[float, ...] = (), last: int = 1000, first: int = 0
) -> torch.Tensor:
    """Timesteps of every draw, (pairs, draws).

    Without a grid a pair's draws are stratified: one in each of as many equal parts of the schedule, in an order of the
    pair's own, so that no pair and no epoch hangs on some timesteps by chance.

    Args:
        pairs: how many.
        draws: for each.
        seed: of the run.
        grid: a few-step model's own timesteps, of which each is as likely; empty for all of them.
        last: timesteps of the schedule.
        first: the lowest that is drawn.
    """
    found = torch.empty(pairs, draws)
    for pair in range(pairs):
        order = torch.randperm(draws, generator=torch.Generator("cpu").manual_seed(draw_seed(seed, pair, -1)))
        for draw in range(draws):
            rng = torch.Generator("cpu").manual_seed(draw_seed(seed, pair, draw) ^ 1)
            if grid:
                found[pair, draw] = grid[int(torch.randint(len(grid), (1,), generator=rng))]
            else:
                part = (int(order[draw]) + float(torch.rand(1, generator=rng))) / draws
                found[pair, draw] = first + int(part * (last - first))
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


def with_lessons(data: PreferenceData, denoiser: Any, scheduler: Any, timesteps_per_unit: float) -> PreferenceData:
    """The data with what the reference predicts for each winner under the prompt that made it.

    Of all noises that may have led to a noised winner this is the mean, as far as the reference knows it. Training
    towards it leads where training towards the noise itself leads, with a gradient that varies less.

    Cost: winners x draws denoiser rows; their latents in half precision for each.
    """
    winners = torch.nonzero(data.winner).flatten()
    found = torch.empty(len(winners), data.draws, *data.latents.shape[1:], dtype=torch.float16)
    with torch.no_grad():
        for draw in range(data.draws):
            for places in torch.arange(len(winners)).split(_BATCH):
                rows = winners[places]
                what = data.noised(scheduler, rows, draw)
                own = predictions(denoiser, data.conditions, data.own[rows], what, timesteps_per_unit)
                found[places, draw] = own.cpu().half()
    return dataclasses.replace(data, taught=found)


def winners_under_own_prompts(data: PreferenceData, scheduler: Any) -> PreferenceData:
    """The winners of data that teach, each a population of its own under the prompt that made it.

    What the reference predicts there are their lessons, at the same draws, so that nothing is evaluated again.
    """
    rows = torch.nonzero(data.winner).flatten()
    reference = torch.stack(
        [
            distances(data.lessons(rows, draw), data.noised(scheduler, rows, draw).target)
            for draw in range(data.draws)
        ],
        dim=1,
    )  # fmt: skip
    return dataclasses.replace(
        data,
        latents=data.latents[rows],
        winner=data.winner[rows],
        population=torch.arange(len(rows)),
        pair=data.pair[rows],
        prompt=data.own[rows],
        own=data.own[rows],
        reference=reference,
        weight=data.weight[rows],
    )
