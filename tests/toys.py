"""A toy model and a toy judge with known truth: an image is one grey level, drawn from its seed, and says its class.

The level is that of all pixels but the last. Level v of 0 to 239 shows class floor(v K / 240) of a concept with K
classes; 255 shows nothing that can be judged.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evenhand.concepts.concept import Concept
from evenhand.records import Request, Sample, Settings, Verdict
from evenhand.verbs.series import Series

LEVELS = 240
NOTHING = 255


def level(request: Request) -> int:
    """The grey level of a request: uniform on 0..239, from its seed alone."""
    return random.Random(request.seed).randrange(LEVELS)


def toy_image(request: Request) -> np.ndarray:
    """An 8 x 8 picture of one grey, with its seed in the last pixel: no two are equal."""
    image = np.full((8, 8, 3), level(request), dtype=np.uint8)
    image[-1, -1] = [request.seed >> 16 & 255, request.seed >> 8 & 255, request.seed & 255]
    return image


class ToySource:
    """Makes and judges toy images, and remembers what it was asked for."""

    def __init__(
        self,
        *,
        picture: Callable[[Request], np.ndarray | None] = toy_image,
        judge_hash: str = "toy",
        on_image: Callable[[Request], None] | None = None,
    ) -> None:
        self.picture, self.judge_hash, self.on_image = picture, judge_hash, on_image
        self.made: list[Request] = []
        self.judged: list[Request] = []
        self.shapes: list[int] = []
        self.evaluations = 0

    def samples(self, requests: Sequence[Request], batch_size: int) -> Iterator[Sample]:
        for start in range(0, len(requests), batch_size):
            self.shapes.append(batch_size)
            self.evaluations += batch_size
            for request in requests[start : start + batch_size]:
                if self.on_image is not None:
                    self.on_image(request)
                self.made.append(request)
                yield Sample(request=request, image=self.picture(request))

    def judge(self, samples: Sequence[Sample], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        self.judged += [sample.request for sample in samples]
        return ToyJudge().judge([sample.image for sample in samples], concepts)


class ToyJudge:
    """Reads the grey level."""

    name = "toy"
    hash = "toy"

    def card(self) -> dict[str, Any]:
        return {"name": self.name, "hash": self.hash}

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        return [[_read(image, concept) for concept in concepts] for image in images]


def _read(image: np.ndarray | None, concept: Concept) -> Verdict:
    if image is None:
        return Verdict(concept=concept.name, label=None, judge="toy", reason="invalid image")
    value = int(image[0, 0, 0])
    if value == NOTHING:
        return Verdict(concept=concept.name, label=None, judge="toy", reason="nothing to judge")
    return Verdict(concept=concept.name, label=concept.class_names[value * len(concept.classes) // LEVELS], judge="toy")


class ToyHost:
    """What a loaded model looks like from outside."""

    def __init__(self) -> None:
        self.evaluations = 0
        self.batches: list[int] = []
        self.pipe = SimpleNamespace(components={})
        self.device = "cpu"

    def card(self) -> dict[str, Any]:
        return {"name": "toy", "hash": "toy-weights", "family": "toy", "class": "ToyPipeline"}


def toy_sample(
    host: ToyHost,
    requests: Sequence[Request],
    settings: Settings,
    *,
    batch_size: int,
    keep_latents: bool = False,
    pad: bool | None = None,
) -> Iterator[Sample]:
    """The sampler's signature over toy images: 2 rows per step and image, padding counted."""
    for start in range(0, len(requests), batch_size):
        some = requests[start : start + batch_size]
        host.evaluations += settings.steps * 2 * (batch_size if pad else len(some))
        host.batches.append(len(some))
        for request in some:
            latents = np.full((4, 2, 2), request.seed % 97, dtype=np.float32) if keep_latents else None
            yield Sample(request=request, image=toy_image(request), latents=latents)


def requests_of(rows: Sequence[str], images: int) -> tuple[Request, ...]:
    """Requests whose seed is their position."""
    pairs = [(row, index) for row in rows for index in range(images)]
    return tuple(
        Request(row=row, prompt=f"photo of {row}", index=index, seed=seed) for seed, (row, index) in enumerate(pairs)
    )


def series_of_toys(concept: Concept, rows: Sequence[str] = ("nurse", "chef"), images: int = 5) -> Series:
    """A series over toy images."""
    return Series(name="toys", rows=tuple(rows), concepts=(concept,), requests=requests_of(rows, images))


def toy_facts(batch_size: int = 4) -> Mapping[str, Any]:
    """What run.json holds of the toy model."""
    model = {"name": "toy", "hash": "toy-weights"}
    return {
        "verb": "audit",
        "command": "evenhand audit toy",
        "model": model,
        "judge": {"name": "toy", "hash": "toy"},
        "batch_size": batch_size,
        "dtype": "float32",
        "threads": 1,
        "device": "cpu",
    }


def install_toy(monkeypatch: pytest.MonkeyPatch, *, batch_size: int = 8, broken: str | None = None) -> ToyHost:
    """Put a toy host, sampler and judge in the place of real ones; images of the row `broken` are not numbers."""
    from evenhand.verbs import audit, generate, sources
    from evenhand.verbs.model import OpenModel

    host = ToyHost()

    def open_toy(
        name: str, options: Any, asked: Mapping[str, Any], known: Mapping[str, Any] | None = None
    ) -> OpenModel:
        given = {key: value for key, value in asked.items() if value is not None}
        settings = Settings(**{"steps": 2, "guidance": 3.0, **given})
        model: Any = host
        return OpenModel(host=model, settings=settings, batch_size=batch_size, dtype="float32", threads=1, device="cpu")

    def sample(*args: Any, **named: Any) -> Iterator[Sample]:
        for one in toy_sample(*args, **named):
            yield dataclasses.replace(one, image=None) if one.request.row == broken else one

    for module in (audit, generate):
        monkeypatch.setattr(module, "open_model", open_toy)
    for module in (sources, generate):
        monkeypatch.setattr(module, "sample", sample)
    monkeypatch.setattr(audit, "load_judge", lambda name, device="cpu": ToyJudge())
    return host
