"""The last thing that a training is taught: what images of it say that its shares still miss (`training.finishing`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from evenhand.files import write_bytes
from evenhand.methods.population_steering import named_prompts
from evenhand.training.cache import PreferenceData
from evenhand.training.finishing import Asked, FinishConfig, Finishing
from evenhand.training.populations import Made, Plan
from evenhand.training.trainer import PopulationPreferenceTrainer
from evenhand.watch import Watcher

_FINISHED = "finished.safetensors"


def finish(
    trainer: PopulationPreferenceTrainer, asked: Asked, scheduler: Any, timesteps_per_unit: float, watcher: Watcher
) -> None:
    """Teach the adapter that has been trained what is asked of it.

    Args:
        trainer: at the end of its training.
        asked: by images of that adapter.
        scheduler: of the pipeline.
        timesteps_per_unit: of the model's family.
        watcher: told of progress.
    """
    config = FinishConfig(seed=trainer.config.seed)
    Finishing(trainer.data, asked, scheduler, timesteps_per_unit, config).train(
        trainer.denoiser, trainer.learning, watcher
    )
    kept = {name: value.contiguous() for name, value in trainer.lora().items()}
    write_bytes(trainer.config.output_dir / _FINISHED, save(kept))


def take_up(trainer: PopulationPreferenceTrainer) -> bool:
    """Put in the adapter that was finished before a stop; False where there is none."""
    file: Path = trainer.config.output_dir / _FINISHED
    if not file.is_file():
        return False
    trainer.restore(load(file.read_bytes()))
    return True


def asked_of(missing: Mapping[str, Sequence[float]], data: PreferenceData, images: Sequence[Made], plan: Plan) -> Asked:
    """What shares still miss, as finishing is told it.

    Args:
        missing: prompt row -> what is to be added to the log-odds of each class of the target.
        data: as training reads it; its conditions hold every caption with the words of every class.
        images: in whose order its rows are.
        plan: of the populations.
    """
    return Asked(
        groups=[one.slot.row for one in images],
        named=named_prompts(data, images, plan),
        odds={row: torch.tensor(some) for row, some in missing.items()},
    )
