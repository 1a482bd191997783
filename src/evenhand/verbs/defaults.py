"""What a model says about itself before it is loaded: where it is, its steps and guidance, who judges it.

Needs no torch, so that unusable input is refused at once.
"""

from __future__ import annotations

from typing import Any

from .. import skewville
from ..host.card import ModelCard
from ..host.card import read_card as read_card_at
from ..host.names import check_model_name
from .config import ImageOptions
from .lora import split_lora


def model_path(name: str) -> str:
    """Where a model is: the embedded one by its name, else the path or Hub id as it was given; without its LoRA."""
    base, _ = split_lora(name)
    return str(skewville.MODEL_DIRECTORY) if base == "skewville" else base


def check_model(name: str) -> None:
    """Raises ModelError for a model that is neither here nor could be on the Hub."""
    check_model_name(model_path(name))


def read_card(name: str) -> ModelCard:
    """The card of a model; an empty one where it has none. Looks at local directories only."""
    return read_card_at(model_path(name))


def asked_settings(card: ModelCard, image: ImageOptions) -> dict[str, Any]:
    """Steps, guidance, scheduler and size as far as the user or the card says; None is the pipeline's own."""
    width, height = image.size or (None, None)
    return {
        "steps": card.steps if image.steps is None else image.steps,
        "guidance": card.guidance if image.guidance is None else image.guidance,
        "scheduler": image.scheduler,
        "width": width,
        "height": height,
    }
