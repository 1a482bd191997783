"""Saved interventions: tensors as safetensors, and a card that says what they belong to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from evenhand.errors import InputError, ModelError
from evenhand.files import read_json, write_bytes, write_json
from evenhand.host.families import prediction_type
from evenhand.host.host import Host
from evenhand.records import Record

SCHEMA = "evenhand.intervention/1"
TENSORS = "intervention.safetensors"
CARD = "card.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame(Record):
    """What a fitted tensor is tied to.

    Args:
        model: name of the base model, for people.
        model_hash: of the denoiser's weights; another model is refused, the same one with a LoRA is not.
        family: row of the table of families.
        prediction: what the denoiser predicts.
        module: path of the module, None where the intervention does not sit at one.
        image_size: (width, height) in pixels, None where it fits any.
    """

    model: str
    model_hash: str
    family: str
    prediction: str
    module: str | None = None
    image_size: tuple[int, int] | None = None

    @classmethod
    def of(cls, host: Host, *, module: str | None = None, image_size: tuple[int, int] | None = None) -> Self:
        """The frame of what is fitted on a host."""
        return cls(
            model=host.name,
            model_hash=host.weights_hash,
            family=host.family.name,
            prediction=prediction_type(host.pipe),
            module=module,
            image_size=image_size,
        )

    def check(self, host: Host, path: Path) -> None:
        """Raises ModelError with a sentence that says what differs.

        What was fitted on a model also goes onto that model with a LoRA: vectors and directions mostly carry over, and
        an audit says how well.
        """
        if self.model_hash not in (host.weights_hash, host.base_hash):
            raise ModelError(
                f"{path} was fitted on {self.model} ({self.family}, weights {self.model_hash[:12]}); {host.name} "
                f"({host.family.name}, weights {host.weights_hash[:12]}) is another model: fit it there"
            )
        if self.prediction != prediction_type(host.pipe):
            raise ModelError(
                f"{path} was fitted where the denoiser predicts {self.prediction}, here the scheduler says "
                f"{prediction_type(host.pipe)}; use the scheduler that it was fitted with"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card(Record):
    """Where an intervention comes from, and what it did when it was measured.

    Args:
        method: name of the method.
        site: where it acts.
        frame: what it is tied to.
        estimator: how it was computed, with its settings.
        prompts: the texts that were used, by role of the text.
        seeds: run seed by role; an audit with the same role and seed would measure what was fitted on.
        judges: hash by role ("fit" filters and stops, "report" measures); empty where no judge took part.
        guidance: scale at which it was fitted.
        steps: of the schedule.
        concept: what it is about; empty where it is about none.
        calibration: class -> row of a prompt set -> strength; the row "" stands for all others.
        effect: measured figures with their n; empty before they are measured.
        licence: of the saved tensors.
    """

    method: str
    site: str
    frame: Frame
    estimator: Mapping[str, Any]
    prompts: Mapping[str, Any]
    seeds: Mapping[str, int]
    judges: Mapping[str, str] = dataclasses.field(default_factory=dict)
    guidance: float = 1.0
    steps: int = 0
    concept: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    effect: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    licence: str = "as the base model"

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return {"schema": SCHEMA, **Record.to_dict(self), "frame": self.frame.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The card of a dict made by `to_dict`.

        Raises:
            InputError: another schema, or unknown or missing fields.
        """
        if data.get("schema") != SCHEMA:
            raise InputError(f"the card has schema {data.get('schema')!r}, expected {SCHEMA!r}")
        fields = {key: value for key, value in data.items() if key != "schema"}
        try:
            return cls(**{**fields, "frame": Frame.from_dict(fields["frame"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"the card is malformed: {error}") from error


def save_intervention(path: Path, tensors: Mapping[str, torch.Tensor], card: Card) -> None:
    """Write the folder `path`: the tensors, then the card, so that a folder with a card is complete."""
    if path.exists() and not (path / CARD).is_file() and any(path.iterdir()):
        raise InputError(f"{path} holds something else than a saved intervention; name an empty folder")
    path.mkdir(parents=True, exist_ok=True)
    (path / CARD).unlink(missing_ok=True)
    write_bytes(path / TENSORS, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
    write_json(path / CARD, card.to_dict())


def load_intervention(path: Path, host: Host) -> tuple[dict[str, torch.Tensor], Card]:
    """Read what `save_intervention` wrote, for the model that it was fitted on.

    Raises:
        InputError: no such folder, or a broken file.
        ModelError: another model or prediction; the line says what differs.
    """
    if not (path / CARD).is_file():
        raise InputError(f"{path} has no {CARD}, so it is no saved intervention; give the folder that `fit` wrote")
    card = Card.from_dict(read_json(path / CARD))
    card.frame.check(host, path)
    try:
        return load_file(path / TENSORS), card
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read {path / TENSORS}: {error}") from error
