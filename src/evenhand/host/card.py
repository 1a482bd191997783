"""`evenhand.json`: what a model directory says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenhand.errors import ModelError

CARD_NAME = "evenhand.json"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The defaults of a model, each None where its file leaves it out.

    Attributes:
        steps: denoising steps.
        guidance: guidance scale.
        judge: name of the judge that was made for its images; it makes the figures of reports.
        fit_judge: name of another one, for fitting.
        guidance_text: concept -> words that the model reads for what must not appear.
        knows: prompt set -> names of the rows that the model was trained on; a set that is not named is known whole.
    """

    steps: int | None = None
    guidance: float | None = None
    judge: str | None = None
    fit_judge: str | None = None
    guidance_text: Mapping[str, str] = field(default_factory=dict)
    knows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_card(directory: str | Path | None) -> ModelCard:
    """The card of a local model directory; an empty one where there is no `evenhand.json`.

    Raises:
        ModelError: the file is not JSON or holds a value of the wrong kind.
    """
    path = Path(directory or "") / CARD_NAME
    if not directory or not path.is_file():
        return ModelCard()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON ({error}); mend or remove it") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds {type(data).__name__}, expected an object with steps, guidance, judge, knows")
    knows = _checked(path, data, "knows", dict) or {}
    for name, rows in knows.items():
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise ModelError(f"{path}: knows.{name} is {rows!r}, expected a list of row names")
    texts = _checked(path, data, "guidance_text", dict) or {}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ModelError(f"{path}: guidance_text is {texts!r}, expected a text for each concept")
    steps = _checked(path, data, "steps", int)
    guidance = _checked(path, data, "guidance", (int, float))
    return ModelCard(
        steps=steps,
        guidance=None if guidance is None else float(guidance),
        judge=_checked(path, data, "judge", str),
        fit_judge=_checked(path, data, "fit_judge", str),
        guidance_text=texts,
        knows={name: tuple(rows) for name, rows in knows.items()},
    )


def _checked(path: Path, data: dict[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    value = data.get(key)
    if value is not None and not isinstance(value, kind):
        names = kind.__name__ if isinstance(kind, type) else " or ".join(one.__name__ for one in kind)
        raise ModelError(f"{path}: {key} is {value!r}, expected {names}")
    return value
