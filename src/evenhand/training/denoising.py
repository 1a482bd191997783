"""The denoiser on noised latents, under prompts that were encoded once: the same for every family of models."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from evenhand.files import write_bytes
from evenhand.host.host import Host
from evenhand.host.noise_level import noise_level
from evenhand.host.probe import Probe
from evenhand.host.runs import Onlooker, Runs, run
from evenhand.host.sites import Step

_MOVING = frozenset({"sample", "hidden_states", "timestep"})
_SHARED = frozenset({"img_ids", "txt_ids"})
"""Positions, which all rows share."""


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What the denoiser is given for each prompt beside latents and timestep.

    Args:
        prompts: the texts, in order.
        tensors: dotted name of an input -> (prompts, ...), or of a shared one its value.
        others: inputs that are no tensors, the same for every prompt.
        latents: name of the input that holds the latents.
    """

    prompts: tuple[str, ...]
    tensors: Mapping[str, torch.Tensor]
    others: Mapping[str, Any]
    latents: str

    def rows(self, numbers: torch.Tensor) -> dict[str, Any]:
        """The inputs of as many rows as there are numbers of prompts."""
        found: dict[str, Any] = {}
        for name, value in self.others.items():
            _put(found, name.split("."), value)
        for name, value in self.tensors.items():
            _put(found, name.split("."), value if name in _SHARED else value[numbers])
        return found

    def save(self, file: Path) -> None:
        """Write safetensors; what is no tensor stands in their metadata."""
        facts = {"prompts": list(self.prompts), "others": dict(self.others), "latents": self.latents}
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        write_bytes(file, save(tensors, metadata={"facts": json.dumps(facts)}))

    @classmethod
    def load(cls, file: Path) -> Conditions:
        """Read what `save` wrote."""
        with safe_open(file, framework="pt") as stored:
            facts = json.loads(stored.metadata()["facts"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  it is no dict
        return cls(tuple(facts["prompts"]), tensors, facts["others"], facts["latents"])


def encode_prompts(host: Host, prompts: Sequence[str]) -> Conditions:
    """Encode each prompt as the pipeline itself would.

    Cost: one step of one image for each prompt.
    """
    listener = _Listener()
    with host.attached(Onlooker("probe", listener)):
        for prompt in prompts:
            run(host, prompt, Runs(seeds=(0,), steps=1, batch=1))
    first = listener.seen[0]
    tensors = {
        name: value if name in _SHARED else torch.cat([one[name] for one in listener.seen])
        for name, value in first.items()
        if isinstance(value, torch.Tensor)
    }
    others = {name: value for name, value in first.items() if not isinstance(value, torch.Tensor)}
    return Conditions(tuple(prompts), tensors, others, listener.latents)


def sampler_grid(host: Host, prompt: str, steps: int) -> tuple[float, ...]:
    """The timesteps at which the model's own sampler calls its denoiser, highest first, in units of the scheduler.

    They are read off a run: spacing, shift and custom schedules of few-step models are then what they are.

    Cost: `steps` denoiser rows.
    """
    listener = _Listener()
    with host.attached(Onlooker("probe", listener)):
        run(host, prompt, Runs(seeds=(0,), steps=steps, batch=1))
    return tuple(dict.fromkeys(listener.times))


class _Listener:
    """Keeps the conditional inputs of the first step of every call."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.latents = ""
        self.times: list[float] = []

    def visit(self, step: Step, probe: Probe) -> None:
        self.times.append(step.timestep)
        if step.index == 0:
            self.latents = "sample" if "sample" in probe.inputs else "hidden_states"
            self.seen.append(_flat(probe.inputs))

    def evidence(self) -> tuple[()]:
        return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noised:
    """Latents with noise, as the denoiser gets them, and what it should predict.

    Args:
        sample: (images, ...).
        timesteps: (images,), in units of the scheduler.
        target: (images, ...).
    """

    sample: torch.Tensor
    timesteps: torch.Tensor
    target: torch.Tensor


def noised(
    scheduler: Any, prediction: str, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> Noised:
    """alpha x + sigma e at each image's own timestep, for noise, velocity, flow and clean prediction."""
    levels = [noise_level(scheduler, float(time), prediction) for time in timesteps]
    rows = [
        (level.alpha * one + level.sigma * e, level.target(one, e))
        for level, one, e in zip(levels, clean, noise, strict=True)
    ]
    sample, target = (torch.stack(some) for some in zip(*rows, strict=True))
    return Noised(sample=sample, timesteps=timesteps, target=target)


def errors(
    denoiser: Any, conditions: Conditions, numbers: torch.Tensor, what: Noised, timesteps_per_unit: float
) -> torch.Tensor:
    """The mean squared error of each image's prediction, (images,), where the denoiser is and in float32.

    Cost: one denoiser row per image.
    """
    return distances(predictions(denoiser, conditions, numbers, what, timesteps_per_unit), what.target)


def distances(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean square of each image's difference, (images,), in float32."""
    return (predicted - target.to(predicted)).square().flatten(1).mean(dim=1)


def predictions(
    denoiser: Any, conditions: Conditions, numbers: torch.Tensor, what: Noised, timesteps_per_unit: float
) -> torch.Tensor:
    """What the denoiser predicts for each image, (images, ...), where it is and in float32.

    Cost: one denoiser row per image.
    """
    weight = next(denoiser.parameters())
    inputs = _moved(conditions.rows(numbers), weight.device)
    inputs[conditions.latents] = what.sample.to(weight.device, weight.dtype)
    inputs["timestep"] = what.timesteps.to(weight.device) / timesteps_per_unit
    output = denoiser(**inputs)
    return (output[0] if isinstance(output, tuple) else output.sample).float()


def _moved(inputs: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, Mapping):
            found[name] = _moved(value, device)
        else:
            found[name] = value.to(device) if isinstance(value, torch.Tensor) else value
    return found


def _flat(inputs: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if name in _MOVING:
            continue
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value.detach() if isinstance(value, torch.Tensor) else value
    return found


def _put(inputs: dict[str, Any], path: Sequence[str], value: Any) -> None:
    name, *rest = path
    if rest:
        _put(inputs.setdefault(name, {}), rest, value)
    else:
        inputs[name] = value
