"""A model with a LoRA: how it is written, what it is called, and where the LoRA lies.

Needs no torch, so that unusable input is refused at once.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol, TypeVar

from .. import skewville
from ..errors import InputError, ModelError
from ..host.names import check_lora_name
from .config import ModelOptions

LORA = "+"
"""Between a model and a LoRA that is loaded into it: skewville+my/lora."""


class _OfModel(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def model(self) -> ModelOptions: ...


Config = TypeVar("Config", bound=_OfModel)


def split_lora(text: str) -> tuple[str, str | None]:
    """Model and LoRA of "MODEL+LORA"; a path that is there stands for itself, whatever it is called.

    Raises: InputError for nothing before or behind the plus.
    """
    if LORA not in text or Path(text).exists() or text.startswith(("http://", "https://")):
        return text, None
    model, _, lora = text.partition(LORA)
    if not model or not lora:
        raise InputError(f"{text}: expected MODEL{LORA}LORA, such as skewville{LORA}my/lora")
    return model, lora


def with_lora(config: Config) -> Config:
    """What is asked of "MODEL+LORA" as asked of MODEL with that LoRA.

    Raises: InputError when `--lora` is given as well.
    """
    source, lora = split_lora(config.source)
    if lora is None:
        return config
    if config.model.lora is not None:
        raise InputError(f"{config.source} names a LoRA, and so does --lora {config.model.lora}: give one of them")
    # every configuration is a dataclass with these fields, which a protocol cannot say
    return dataclasses.replace(config, source=source, model=dataclasses.replace(config.model, lora=lora))  # type: ignore[type-var]


def name_of(config: _OfModel) -> str:
    """How results call a model."""
    return config.source if config.model.lora is None else f"{config.source}{LORA}{config.model.lora}"


def lora_path(model: str, lora: str | None) -> str | None:
    """Where a LoRA is: one that ships with the embedded model by its name, everything else as it was given."""
    shipped = skewville.DERIVATIVES.get(lora or "") if model == "skewville" else None
    return lora if shipped is None else str(shipped)


def check_lora(model: str, lora: str | None) -> None:
    """Raises ModelError for a LoRA that is neither here nor could be on the Hub."""
    path = lora_path(model, lora)
    if path is None:
        return
    if model == "skewville" and not Path(path).exists() and "/" not in path:
        names = ", ".join(skewville.DERIVATIVES)
        raise ModelError(f"LoRA {path!r} is no file or directory here, and Skewville ships none of this name ({names})")
    check_lora_name(path)
