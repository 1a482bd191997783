"""The weight site: a LoRA of the denoiser, added to its weights for as long as it is attached.

W + s B A for every layer that it names. The kept originals come back, not W - s B A, which rounding would change. A
file in the layout of diffusers (`pytorch_lora_weights.safetensors`) holds the same tensors, for servers that load it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from evenhand.errors import InputError, ModelError
from evenhand.files import write_bytes
from evenhand.host.carrier import module_at
from evenhand.host.sites import Call, Site
from evenhand.host.undo import Undo

LORA_FILE = "pytorch_lora_weights.safetensors"
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightDelta:
    """An intervention that changes weights.

    Args:
        name: how reports call it.
        lora: "<module>.lora_A.weight" (rank, in) and "<module>.lora_B.weight" (out, rank) of every layer, with module
            paths inside the denoiser; alpha is the rank, so that B A is added as it is.
        strength: factor on B A; 1 as trained, 0 is off.

    Raises:
        InputError: half of a layer is missing.
    """

    name: str
    lora: Mapping[str, torch.Tensor]
    strength: float = 1.0
    site: Site = "weight"

    def __post_init__(self) -> None:
        for name in self.lora:
            other = name.removesuffix(_DOWN) + _UP if name.endswith(_DOWN) else name.removesuffix(_UP) + _DOWN
            if not name.endswith((_DOWN, _UP)) or other not in self.lora:
                raise InputError(f"{self.name}: {name} has no {other}; expected two matrices for every layer of a LoRA")
        if not self.lora:
            raise InputError(f"{self.name} has no layer")

    @property
    def modules(self) -> tuple[str, ...]:
        """Paths of the layers."""
        return tuple(name.removesuffix(_DOWN) for name in self.lora if name.endswith(_DOWN))

    def scaled(self, strength: float) -> WeightDelta:
        """The same delta at another strength."""
        return dataclasses.replace(self, strength=strength)

    def check(self, host: Any) -> None:
        """Refuse a model without these layers.

        Raises:
            ModelError: a layer is missing, or has another shape.
        """
        for module in self.modules:
            weight = getattr(module_at(host.denoiser, module), "weight", None)
            shape = (self.lora[module + _UP].shape[0], self.lora[module + _DOWN].shape[1])
            if weight is None or tuple(weight.shape) != shape:
                found = None if weight is None else tuple(weight.shape)
                raise ModelError(
                    f"{self.name} was trained on a layer {module} of {shape}, here it has {found}: another model"
                )

    def begin(self, call: Call) -> WeightEffect:
        """The effect on one call."""
        return WeightEffect(self, call.images)


def save_lora(folder: Path, lora: Mapping[str, torch.Tensor], denoiser: str) -> None:
    """Write the file that `pipe.load_lora_weights(folder)` and image servers load.

    Args:
        folder: where; the file gets the name that diffusers looks for.
        lora: as `WeightDelta` takes it.
        denoiser: name of the component, "unet" or "transformer".
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{denoiser}.{name}": value.detach().cpu().contiguous() for name, value in lora.items()}
    write_bytes(folder / LORA_FILE, save(tensors, metadata={"format": "pt"}))


class WeightEffect:
    """One call."""

    def __init__(self, delta: WeightDelta, images: int) -> None:
        self._delta, self._images = delta, images
        self._norm = 0.0

    def install(self, denoiser: torch.nn.Module, undo: Undo) -> None:
        """Put the changed weights in place of the kept ones."""
        for module in self._delta.modules:
            weight: Any = denoiser.get_submodule(module).weight
            up, down = (self._delta.lora[module + name].to(weight.device).float() for name in (_UP, _DOWN))
            change = self._delta.strength * (up @ down)
            self._norm += float(change.square().sum())
            undo.swap(weight, (weight.data.float() + change).to(weight.dtype))

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """The norm of what was added to the weights, the same for all images."""
        return [{"norm": round(self._norm**0.5, 6)}] * self._images
