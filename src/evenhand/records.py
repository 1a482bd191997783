"""The frozen records that travel between the stages; every one has a JSON form and a content hash.

Request -> Sample -> Verdict -> Estimate, with Settings and Cost beside them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, so that equal values have equal text. Refuses NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Record:
    """Base of the frozen records: `to_dict`, `from_dict`, `hash`."""

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record of a dict made by `to_dict`; unknown keys are an error."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})

    @property
    def hash(self) -> str:
        """Content hash of the record."""
        return content_hash(self.to_dict())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Record):
    """How images are made, shared by every request of one run; None means the model's own default."""

    steps: int = 25
    guidance: float = 7.5
    scheduler: str | None = None
    width: int | None = None
    height: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(Record):
    """One image to make.

    `row` is the name of the prompt row (a group such as "nurse"), `prompt` the text, `index` the position of
    the image within its row, `seed` starts `torch.Generator("cpu")`; `assigned` is the class that an
    allocation gave the image, None where nothing was assigned. `guidance`, `width` and `height` are this image's own,
    None for those of the run.
    """

    row: str
    prompt: str
    index: int
    seed: int
    negative_prompt: str | None = None
    assigned: str | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None

    @property
    def own_settings(self) -> dict[str, Any]:
        """What this image has in the place of the run's settings, by the names of `Settings`."""
        own = {"guidance": self.guidance, "width": self.width, "height": self.height}
        return {name: value for name, value in own.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write; settings of its own are named only where there are any."""
        plain = Record.to_dict(self)
        return {key: value for key, value in plain.items() if value is not None or key not in _OWN}


_OWN = ("guidance", "width", "height")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One image that was made.

    `image` is uint8 (height, width, 3), or None where the model gave NaN or infinity; `evidence` is what each
    intervention says it did to it, by the intervention's name.
    """

    request: Request
    image: np.ndarray | None
    latents: np.ndarray | None = None
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """False where the model produced values that are not numbers."""
        return self.image is not None


REFUSED = "refused"
"""The reason of a verdict on an image that an endpoint refused to make."""


UNMADE = "not made"
"""The reason of a verdict on an image that no worker could make."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict(Record):
    """What a judge perceives in one image for one concept.

    `label` is a class name of the concept, or None where the judge abstains; `probabilities` are one per class
    in the concept's order, empty where there are none; `reason` says why it abstained. A panel's
    `votes` are the labels of its members, None where one abstained.
    """

    concept: str
    label: str | None
    probabilities: tuple[float, ...] = ()
    judge: str = ""
    reason: str | None = None
    votes: tuple[str | None, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write; votes stand in it where there are any."""
        data = Record.to_dict(self)
        return data if self.votes else {key: value for key, value in data.items() if key != "votes"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate(Record):
    """One number of a result with its interval; the fields are those of result.json.

    `class_name` is written as "class". A value that is undefined is None with n = 0, else low <= value <= high.
    `p_value` is that of no change, for paired changes that have a test; else None. `q_value` is the same among many
    tests, by Benjamini and Hochberg, where they are read together.
    """

    metric: str
    concept: str | None = None
    class_name: str | None = None
    prompt: str | None = None
    intervention: str | None = None
    kind: Literal["level", "change"] = "level"
    unit: Literal["image", "prompt"] = "image"
    scope: Literal["these", "like-these"] = "these"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    abstained: int = 0
    floor: tuple[float, float] | None = None
    allocation: Literal["iid", "stratified"] | None = "iid"
    decision: Literal["fair", "biased", "undecided"] | None = None
    circular: bool = False
    p_value: float | None = None
    q_value: float | None = None

    def __post_init__(self) -> None:
        if self.value is None:
            if self.low is not None or self.high is not None:
                raise ValueError(f"estimate {self.metric}: bounds without a value")
        elif not (self.low is not None and self.high is not None and self.low <= self.value <= self.high):
            raise ValueError(
                f"estimate {self.metric}: expected low <= value <= high, got {self.low}, {self.value}, {self.high}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As in result.json: the key is "class", the floor a list of mean and 95 % quantile."""
        data = Record.to_dict(self)
        data["class"] = data.pop("class_name")
        data["floor"] = None if self.floor is None else list(self.floor)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        fields = dict(data)
        fields["class_name"] = fields.pop("class")
        fields["floor"] = None if fields["floor"] is None else tuple(fields["floor"])
        return cls(**fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost(Record):
    """What one arm cost. Every row that the denoiser computed counts, padding included."""

    intervention: str | None
    images: int
    denoiser_evaluations: int
    seconds: float
