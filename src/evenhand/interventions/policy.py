"""What must not appear: a safety policy, which is saved, hashed and versioned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from evenhand.errors import InputError
from evenhand.files import read_json, write_json
from evenhand.interventions.window import ALWAYS, Window
from evenhand.records import Record

_SCHEMA = "evenhand.policy/1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Category(Record):
    """One thing that must not appear, and how strongly and when it is suppressed.

    The names in brackets are those of the paper (Schramowski et al. 2023, arXiv:2211.05105) and of diffusers.

    Args:
        text: what must not appear, in words that the model reads.
        scale: slope of the switch [s_S, `sld_guidance_scale`]; above about 1,000 the switch is all or nothing.
        threshold: elements where the prompt's prediction exceeds the concept's by at least this are left alone
            [lambda, `sld_threshold`]; in units of noise. With `threshold_kind` "quantile" it is a share of the
            elements of the sample, 0 to 1: .58 lets the 58 % with the smallest difference in.
        threshold_kind: "absolute", the published form, or "quantile", which means the same on every model.
        momentum_scale: how much of the running mean of the term is added to it [s_m]; 0 means none.
        momentum_beta: how slowly that mean moves [beta_m].
        form: "published", the equations of the paper; or "local", which takes away what the prompt's prediction holds
            of the concept, where the concept would be (see `methods.local_guidance`); it uses `threshold` as a quantile
            over places, `base`, `keep`, `window` and `weight`.
        base: of the local form: the text without the concept, which it is compared with; "" is the unconditional one.
        keep: of the local form: harmless texts that look alike, whose share of the prediction stays.
        window: when the term is applied [start: delta, the warm-up]; momentum gathers from the first step on.
        weight: factor on the term; 1 as published, 0 means off.

    Raises:
        InputError: an empty text or a number outside its range.
    """

    text: str
    scale: float = 1000.0
    threshold: float = 0.01
    threshold_kind: Literal["absolute", "quantile"] = "absolute"
    momentum_scale: float = 0.3
    momentum_beta: float = 0.4
    form: Literal["published", "local"] = "published"
    base: str = ""
    keep: tuple[str, ...] = ()
    window: Window = ALWAYS
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError("a category of the safety policy has an empty text; say what must not appear")
        if self.form not in ("published", "local"):
            raise InputError(f"form is {self.form!r}, expected 'published' or 'local'")
        if self.form == "local" and self.threshold_kind != "quantile":
            raise InputError(f"the local form of {self.text!r} takes a quantile; set threshold_kind to 'quantile'")
        if self.threshold_kind not in ("absolute", "quantile"):
            raise InputError(f"threshold_kind is {self.threshold_kind!r}, expected 'absolute' or 'quantile'")
        if self.threshold_kind == "quantile" and not 0 <= self.threshold <= 1:
            raise InputError(f"the quantile {self.threshold} of {self.text!r} is not between 0 and 1")
        if self.scale < 0 or self.weight < 0:
            raise InputError(
                f"scale and weight of {self.text!r} are {self.scale} and {self.weight}, expected 0 or more"
            )
        if not 0 <= self.momentum_scale < 1 or not 0 <= self.momentum_beta < 1:
            raise InputError(
                f"momentum_scale and momentum_beta of {self.text!r} are {self.momentum_scale} and "
                f"{self.momentum_beta}, expected 0 or more and below 1: at 1 the term would grow without bound"
            )

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return {**Record.to_dict(self), "keep": list(self.keep), "window": self.window.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The category of a dict made by `to_dict`."""
        kept = {"window": Window.from_dict(data.get("window", {})), "keep": tuple(data.get("keep", ()))}
        return cls(**{**data, **kept})


@dataclasses.dataclass(frozen=True, kw_only=True)
class SafetyPolicy(Record):
    """Several categories at once, under a name and a version.

    Args:
        name: such as "strong"; evidence and reports call it so.
        categories: what must not appear; each has its own branch of the denoiser.
        version: counted up by whoever changes the policy.

    Raises:
        InputError: no category, or one twice.
    """

    name: str
    categories: tuple[Category, ...]
    version: int = 1

    def __post_init__(self) -> None:
        texts = [category.text for category in self.categories]
        if not texts:
            raise InputError(f"safety policy {self.name!r} has no category; give at least one")
        repeated = sorted({text for text in texts if texts.count(text) > 1})
        if repeated:
            raise InputError(f"safety policy {self.name!r} has the category {repeated[0]!r} twice; keep one")

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return {
            "schema": _SCHEMA,
            "name": self.name,
            "version": self.version,
            "categories": [category.to_dict() for category in self.categories],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The policy of a dict made by `to_dict`.

        Raises:
            InputError: another schema, or unknown or missing fields.
        """
        if data.get("schema") != _SCHEMA:
            raise InputError(f"the safety policy has schema {data.get('schema')!r}, expected {_SCHEMA!r}")
        try:
            categories = tuple(Category.from_dict(one) for one in data["categories"])
            return cls(name=data["name"], version=data["version"], categories=categories)
        except (KeyError, TypeError) as error:
            raise InputError(f"the safety policy is malformed: {error}") from error

    def save(self, path: Path) -> None:
        """Write the policy as JSON."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a policy that `save` wrote.

        Raises:
            InputError: not there, no JSON, or malformed.
        """
        return cls.from_dict(read_json(path))
