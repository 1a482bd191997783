"""Saving and loading the state of a training run as safetensors, so that it can be interrupted."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import save_file


def save_state(path: Path, model: torch.nn.Module, ema: EMAModel, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Write weights, their average and the optimiser's moments to `path`.safetensors, atomically."""
    tensors: dict[str, torch.Tensor] = {}
    for i, (parameter, average) in enumerate(zip(model.parameters(), ema.shadow_params, strict=True)):
        tensors[f"model.{i}"] = parameter.detach()
        tensors[f"average.{i}"] = average
        for key, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{i}.{key}"] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, temporary, {"step": str(step)})
    os.replace(temporary, path.with_suffix(".safetensors"))


def load_state(path: Path, model: torch.nn.Module, ema: EMAModel, optimiser: torch.optim.Optimizer) -> int:
    """Restore what `save_state` wrote and return its step; 0 where nothing was saved."""
    file = path.with_suffix(".safetensors")
    if not file.exists():
        return 0
    with safe_open(file, "pt") as tensors, torch.no_grad():
        step = int(tensors.metadata()["step"])
        keys = set(tensors.keys())
        for i, (parameter, average) in enumerate(zip(model.parameters(), ema.shadow_params, strict=True)):
            parameter.copy_(tensors.get_tensor(f"model.{i}"))
            average.copy_(tensors.get_tensor(f"average.{i}"))
            prefix = f"optimiser.{i}."
            state = {key[len(prefix) :]: tensors.get_tensor(key) for key in keys if key.startswith(prefix)}
            optimiser.state[parameter].update(state)
    ema.optimization_step = step
    return step
