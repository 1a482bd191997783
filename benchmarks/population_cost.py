"""What population preference costs: generation per training draw (counted), a step with and without a cache (timed).

    python benchmarks/population_cost.py [--rounds 9] [--fit DIR]

Images are noise here: what a step costs does not depend on what they show. A step without the cache encodes pictures
and prompts, and passes the reference; both sides run interleaved, and medians are compared. `--fit` reads how many
images were made off a card; else nothing is taken to be rejected.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from interleaved import interleaved, say

from evenhand.files import read_json
from evenhand.host.families import prediction_type
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.methods.population_preference import METHOD
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.training.cache import (
    PreferenceData,
    draw_timesteps,
    pair_numbers,
    winners_under_own_prompts,
    with_lessons,
    with_reference,
)
from evenhand.training.config import PopulationPreferenceConfig
from evenhand.training.denoising import encode_prompts, errors, predictions
from evenhand.training.lora import without_lora
from evenhand.training.trainer import PopulationPreferenceTrainer

VALUES = METHOD.read({"concept": "gender"})
PUBLISHED_IMAGES, PUBLISHED_DRAWS = 66_000, 12_000
"""PopAlign: 36,000 + 30,000 images, of which 6,000 pairs are drawn in training (arXiv:2406.19668 and its code)."""
PROMPTS = ("a photo of a nurse", "a photo of a nurse, woman", "a photo of a nurse, man")


def main() -> None:
    """Count, then time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--fit", type=Path, help="folder of a fit, whose card says how many images were made")
    options = parser.parse_args()
    _count(options.fit)
    host = Host.wrap(load_pipeline(MODEL_DIRECTORY))
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(host, Path(folder))
        images = 2 * int(VALUES["batch"]) * int(VALUES["side"])
        sides = [
            ("cached", trainer._advance, images),
            ("uncached", lambda: _uncached(host, trainer), images),
        ]
        rates = interleaved([(name, _nothing(run), count) for name, run, count in sides], options.rounds)
    ratio = rates["uncached"] / rates["cached"]
    say(f"a cached step takes {ratio:.3f} x the wall time of one without a cache, {options.rounds} rounds")


def _nothing(run: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        run()

    return call


def _count(fit: Path | None) -> None:
    """Images made for each image that a step of training reads."""
    per_step = 2 * int(VALUES["batch"]) * int(VALUES["side"])
    made = 2 * int(VALUES["side"]) * int(VALUES["populations"]) * 16
    if fit:
        made = int(read_json(fit / "card.json")["effect"]["made"])
    draws = per_step * int(VALUES["steps"] + VALUES["settle"])
    published = PUBLISHED_IMAGES / PUBLISHED_DRAWS
    say(f"{made} images for {draws} training draws; the published recipe makes {published * draws:.0f} for as many")
    say(f"generation: {made / draws / published:.4f} x the published recipe's")


def _trainer(host: Any, folder: Path) -> PopulationPreferenceTrainer:
    populations, side = int(VALUES["batch"]), int(VALUES["side"])
    images = 2 * side * populations
    winner = torch.tensor(([True] * side + [False] * side) * populations)
    population = torch.arange(populations).repeat_interleave(2 * side)
    model = (host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit)
    size = host.denoiser.config.sample_size
    data = PreferenceData(
        latents=torch.randn(images, host.denoiser.config.in_channels, size, size),
        winner=winner,
        population=population,
        pair=pair_numbers(population, winner),
        prompt=torch.zeros(images, dtype=torch.long),
        own=torch.where(winner, 1 + torch.arange(images) % 2, 0),
        timesteps=draw_timesteps(populations * side, 2, 0, first=200),
        reference=torch.zeros(images, 2),
        taught=torch.zeros(0),
        weight=torch.ones(images),
        conditions=encode_prompts(host, PROMPTS),
        seed=0,
        prediction=prediction_type(host.pipe),
    )
    data = with_lessons(with_reference(data, *model), *model)
    config = PopulationPreferenceConfig(
        output_dir=folder,
        loss=VALUES["loss"],
        beta=VALUES["beta"],
        learning_rate=1e-6,
        rank=int(VALUES["rank"]),
        populations_per_step=populations,
        sft_weight=VALUES["sft"],
        max_steps=10_000,
    )
    return PopulationPreferenceTrainer(
        host.denoiser,
        host.pipe.scheduler,
        config,
        data,
        prior=winners_under_own_prompts(data, host.pipe.scheduler),
        timesteps_per_unit=host.family.timesteps_per_unit,
    )


def _uncached(host: Any, trainer: PopulationPreferenceTrainer) -> None:
    """The same step where nothing was kept: pictures and prompts are encoded, and the reference is passed."""
    data, pipe = trainer.data, host.pipe
    rows = torch.arange(len(data.latents))
    winners = torch.nonzero(data.winner).flatten()
    held = winners[: trainer.config.prior_batch]
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    unit = host.family.timesteps_per_unit
    with torch.no_grad(), without_lora(host.denoiser):
        pipe.vae.encode(torch.zeros(len(rows) + len(held), 3, *[factor * one for one in data.latents.shape[2:]]))
        texts = [PROMPTS[int(one)] for one in [*data.prompt, *data.own[winners], *data.own[held]]]
        tokens = pipe.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        pipe.text_encoder(tokens.input_ids)
        what = data.noised(pipe.scheduler, rows, 0)
        errors(host.denoiser, data.conditions, data.prompt[rows], what, unit)
        asked = torch.cat([winners, held])
        predictions(host.denoiser, data.conditions, data.own[asked], data.noised(pipe.scheduler, asked, 0), unit)
    trainer._advance()


if __name__ == "__main__":
    main()
