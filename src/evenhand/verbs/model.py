"""From the name of a model to a host that is ready to make images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import InputError
from ..host.host import Host
from ..host.load import load_pipeline
from ..host.memory import default_batch_size
from ..records import Settings
from .config import ModelOptions
from .defaults import model_path
from .lora import lora_path, split_lora


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenModel:
    """A loaded model with what decides the bytes of its images."""

    host: Host
    settings: Settings
    batch_size: int
    dtype: str
    threads: int
    device: str

    def facts(self) -> dict[str, Any]:
        """What run.json keeps, and a resumed run takes over."""
        return {
            "model": self.host.card(),
            "batch_size": self.batch_size,
            "dtype": self.dtype,
            "threads": self.threads,
            "device": self.device,
        }


def open_model(
    name: str, options: ModelOptions, asked: Mapping[str, Any], known: Mapping[str, Any] | None = None
) -> OpenModel:
    """Load a model.

    Args:
        name: "skewville", a Hub id, a diffusers directory, or one .safetensors file; "MODEL+LORA" loads a LoRA.
        options: how to load it.
        asked: what `asked_settings` gave.
        known: run.json of the run that is continued; its dtype, batch size and threads hold.

    Raises: ModelError when it cannot be loaded; InputError for an unknown scheduler, or for a run that was begun on
        another device.
    """
    if known is not None:
        torch.set_num_threads(int(known["threads"]))
    base, lora = split_lora(name)
    pipe = load_pipeline(
        model_path(name),
        device=options.device,
        dtype=options.dtype if known is None else known["dtype"],
        revision=options.revision,
        variant=options.variant,
        lora=lora_path(base, options.lora or lora),
        scheduler=asked["scheduler"],
    )
    host = Host.wrap(pipe, name=name)
    given = {key: value for key, value in asked.items() if value is not None}
    settings = dataclasses.replace(host.default_settings(), **given)
    model = OpenModel(
        host=host,
        settings=settings,
        batch_size=_batch_size(host, settings, options, known),
        dtype=_dtype(host),
        threads=torch.get_num_threads(),
        device=str(pipe.device),
    )
    if known is not None and known["device"] != model.device:
        raise InputError(
            f"this run was begun on {known['device']}, here it would go on on {model.device}: "
            f"give --device {known['device']}, or another --out"
        )
    return model


def _batch_size(host: Host, settings: Settings, options: ModelOptions, known: Mapping[str, Any] | None) -> int:
    if known is not None:
        return int(known["batch_size"])
    return options.batch_size or default_batch_size(host, settings)


def _dtype(host: Host) -> str:
    return str(host.card().get("dtype", "float32")).removeprefix("torch.")
