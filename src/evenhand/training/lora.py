"""A LoRA in any module: put in, read, written, and taken out again so that the module is what it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

from evenhand.errors import InputError

ADAPTER = "population"


def add_lora(module: torch.nn.Module, *, rank: int, targets: Sequence[str], seed: int) -> list[torch.nn.Parameter]:
    """Put a LoRA into the layers of these names; the module learns nothing else. Returns what learns, in float32.

    Args:
        module: the denoiser.
        rank: of the LoRA; its alpha is the same, so that B A is added as it is.
        targets: last parts of the paths of linear layers.
        seed: of A; B is 0, so that nothing changes at first.

    Raises:
        InputError: the module has no such layer.
    """
    endings = tuple(f".{name}" for name in targets)
    if not any(f".{name}".endswith(endings) for name, _ in module.named_modules()):
        raise InputError(f"{type(module).__name__} has no layer named {', '.join(targets)}; name some with targets=")
    module.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, module, ADAPTER)
    learning = [one for one in module.parameters() if one.requires_grad]
    for parameter in learning:
        parameter.data = parameter.data.float()
    return learning


def lora_of(module: Any) -> dict[str, torch.Tensor]:
    """The adapter's matrices, "<path>.lora_A.weight" and "<path>.lora_B.weight", copied."""
    found = get_peft_model_state_dict(module, adapter_name=ADAPTER)
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def set_lora(module: Any, lora: Mapping[str, torch.Tensor]) -> None:
    """Put in matrices that `lora_of` gave."""
    set_peft_model_state_dict(module, dict(lora), adapter_name=ADAPTER)


@contextlib.contextmanager
def without_lora(module: Any) -> Iterator[None]:
    """The module as the reference is, for as long as the block lasts; a module without an adapter is that already."""
    layers = [layer for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def remove_lora(module: Any) -> None:
    """Take the adapter out; the layers that it was in are the very same objects again."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            path, _, own = name.rpartition(".")
            setattr(module.get_submodule(path), own, layer.get_base_layer())
    if "peft_config" in vars(module):
        delattr(module, "peft_config")
