"""A LoRA in any module: put in, read, written, and taken out again so that the module is what it was."""

from __future__ import annotations

import contextlib
import warnings
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

    LoRAs that the module has already go on acting, and learn nothing.

    Raises:
        InputError: the module has no such layer, or a LoRA that is fused or switched off.
    """
    endings = tuple(f".{name}" for name in targets)
    if not any(f".{name}".endswith(endings) for name, _ in module.named_modules()):
        raise InputError(f"{type(module).__name__} has no layer named {', '.join(targets)}; name some with targets=")
    before = {name: _others(layer) for name, layer in _tuned(module)}
    for name, layer in _tuned(module):
        if layer.merged or layer.disable_adapters:
            raise InputError(
                f"{name} has a LoRA that is fused or switched off; take it out first: unload_lora_weights()"
            )
    module.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # that is what is meant
        torch.manual_seed(seed)
        inject_adapter_in_model(config, module, ADAPTER)  # which makes it the only one that acts
    for name, layer in _tuned(module):
        _act(layer, [*before.get(name, ()), *([ADAPTER] if ADAPTER in layer.lora_A else [])])
    learning = [one for one in module.parameters() if one.requires_grad]
    for parameter in learning:
        parameter.data = parameter.data.float()
    return learning


def _tuned(module: torch.nn.Module) -> list[tuple[str, Any]]:
    """Layers that have a LoRA."""
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)]


def _others(layer: Any) -> list[str]:
    """The LoRAs beside this one that act in a layer."""
    return [name for name in layer.active_adapters if name != ADAPTER]


def _act(layer: Any, names: Sequence[str]) -> None:
    """Let these LoRAs act in a layer; this one alone learns."""
    layer.set_adapter(list(names))
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(ADAPTER in names and ADAPTER in name.split("."))


def lora_of(module: Any) -> dict[str, torch.Tensor]:
    """The adapter's matrices, "<path>.lora_A.weight" and "<path>.lora_B.weight", copied."""
    found = get_peft_model_state_dict(module, adapter_name=ADAPTER)
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def set_lora(module: Any, lora: Mapping[str, torch.Tensor]) -> None:
    """Put in matrices that `lora_of` gave."""
    set_peft_model_state_dict(module, dict(lora), adapter_name=ADAPTER)


@contextlib.contextmanager
def without_lora(module: Any) -> Iterator[None]:
    """The module as the reference is, for as long as the block lasts; a module without the adapter is that already."""
    layers = [layer for _, layer in _tuned(module) if ADAPTER in layer.lora_A]
    for layer in layers:
        _act(layer, _others(layer))
    try:
        yield
    finally:
        for layer in layers:
            _act(layer, [*_others(layer), ADAPTER])


def remove_lora(module: Any) -> None:
    """Take the adapter out: layers that it alone was in are the very same objects again, others keep theirs."""
    for name, layer in _tuned(module):
        if ADAPTER not in layer.lora_A:
            continue
        _act(layer, _others(layer))
        layer.delete_adapter(ADAPTER)
        if not layer.lora_A:
            path, _, own = name.rpartition(".")
            setattr(module.get_submodule(path), own, layer.get_base_layer())
    configs = vars(module).get("peft_config", {})
    configs.pop(ADAPTER, None)
    if not configs and "peft_config" in vars(module):
        delattr(module, "peft_config")
