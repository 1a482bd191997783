"""What images of a model were seen to show, and how far that is from what another one's showed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save

from evenhand.files import write_bytes
from evenhand.metrics.content import FEWEST, Row, between_rows, discrepancy, drift, text_score
from evenhand.metrics.intervals import student_t

CHANGES = ("text_drop", "mmd", "specific_drop", "drift")
_PARTS = ("features", "pixels", "own", "other")
_ONE_SIDED = 0.90
"""Of an interval whose lower end is passed with a chance of 5 %."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A change over prompt rows: its mean and 95 % interval, and the lower limit of one side at 95 %."""

    value: float
    low: float
    high: float
    least: float
    rows: int

    @classmethod
    def over(cls, values: Sequence[float]) -> Change | None:
        """Of one value per row; None where none is known. A single row has no interval."""
        known = [float(value) for value in values if math.isfinite(value)]
        if not known:
            return None
        mean = float(np.mean(known))
        if len(known) < 2:
            return cls(value=mean, low=mean, high=mean, least=mean, rows=1)
        (low, high), (least, _) = student_t(known), student_t(known, _ONE_SIDED)
        return cls(value=mean, low=low, high=high, least=least, rows=len(known))

    def breaks(self, limit: float, *, certain: bool = False) -> bool:
        """Whether it is above a limit, and not by chance: its lower limit is above 0. A limit of 0 is off.

        Args:
            limit: of the value.
            certain: of a figure that chance alone leaves at 0.
        """
        return bool(limit) and self.value > limit and (certain or self.least > 0)

    def to_dict(self) -> dict[str, float]:
        """For cards."""
        return {name: round(value, 4) for name, value in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """Images of one model.

    Args:
        neutral: row -> its pictures as features, with what is perceived in each; their pixels are not kept.
        recognised: row -> for each picture whether it shows the row.
        specific: row -> for each picture that was asked for something by name whether it shows that.
        others: row -> pictures of prompts that the model should not change on.
    """

    neutral: Mapping[str, Row]
    recognised: Mapping[str, Sequence[bool]]
    specific: Mapping[str, Sequence[bool]]
    others: Mapping[str, Row]

    @property
    def hits(self) -> list[bool]:
        """Of all neutral pictures, whether they are recognised."""
        return [one for some in self.recognised.values() for one in some]

    @property
    def recognised_share(self) -> float:
        """Of all neutral pictures."""
        return sum(self.hits) / len(self.hits)

    def save(self, file: Path) -> None:
        """Write safetensors, whole or not at all."""
        tensors = {
            f"{kind}/{name}/{part}": torch.from_numpy(np.ascontiguousarray(getattr(row, part)))
            for kind, rows in (("neutral", self.neutral), ("others", self.others))
            for name, row in rows.items()
            for part in _PARTS
        }
        facts = {
            "labels": {name: list(row.labels) for name, row in self.neutral.items()},
            "others": {name: len(row.labels) for name, row in self.others.items()},
            "recognised": {name: list(some) for name, some in self.recognised.items()},
            "specific": {name: list(some) for name, some in self.specific.items()},
        }
        write_bytes(file, save(tensors, metadata={"facts": json.dumps(facts)}))

    @classmethod
    def load(cls, file: Path) -> Seen:
        """Read what `save` wrote."""
        with safe_open(file, framework="pt") as stored:
            facts = json.loads(stored.metadata()["facts"])

            def row(kind: str, name: str, labels: Sequence[str | None]) -> Row:
                parts: dict[str, Any] = {part: stored.get_tensor(f"{kind}/{name}/{part}").numpy() for part in _PARTS}
                return Row(**parts, labels=labels)

            return cls(
                neutral={name: row("neutral", name, labels) for name, labels in facts["labels"].items()},
                others={name: row("others", name, [None] * count) for name, count in facts["others"].items()},
                recognised=facts["recognised"],
                specific=facts["specific"],
            )


def changes(plain: Seen, now: Seen, *, controls: Seen | None = None) -> dict[str, Change]:
    """How far a model is from the plain one, as far as it is known; over the rows.

    - `text_drop`: 1 less the text-image score, within what is perceived (see `metrics.content`);
    - `mmd`: discrepancy of the pictures within what is perceived, over that between two rows of the plain model;
    - `specific_drop`: by how much less often is shown what a prompt asks for by name, on the same seeds;
    - `drift`: of the other prompts' pictures on the same seeds, over that between two seeds.

    Args:
        plain: the plain model's neutral pictures.
        now: the other model's.
        controls: the plain model's pictures of specific and other prompts, on the seeds of `now`; None takes `plain`.
    """
    controls = controls or plain
    rows = [(one, now.neutral[name]) for name, one in plain.neutral.items() if len(one.labels) >= FEWEST]
    featured = [pair for pair in rows if pair[0].features.size and pair[1].features.size]
    between = between_rows([one for one, _ in featured])
    found = {
        "text_drop": Change.over([1 - text_score(one, two) for one, two in rows if one.own.size and two.own.size]),
        "mmd": Change.over([discrepancy(one, two) / between for one, two in featured] if between > 0 else []),
        "specific_drop": Change.over(
            [_share(controls.specific[name]) - _share(some) for name, some in now.specific.items()]
        ),
        "drift": Change.over([_moved(controls.others[name], row) for name, row in now.others.items()]),
    }
    return {name: one for name, one in found.items() if one is not None}


def _share(some: Sequence[bool]) -> float:
    return sum(some) / len(some)


def _moved(before: Row, after: Row) -> float:
    """Of features and pixels; of pixels alone where the judge gives no features."""
    if before.features.size and after.features.size:
        return drift(before, after)
    flat = dataclasses.replace(before, features=before.pixels), dataclasses.replace(after, features=after.pixels)
    return drift(*flat)
