"""The confusion matrix of a judge, on pictures that look generated and whose truth is known.

Renders with uniform attributes are passed through the autoencoder, and half of them also through a
low-strength image-to-image pass of the model itself with a caption that names nothing but what is drawn.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

from .attributes import Attributes
from .captions import Captioner, load_grammar
from .cells import concept
from .draw_occupation import LOOKS
from .judge_data import blank, noise
from .phrases import CONCEPTS, true_class
from .pictures import render_all, to_pictures, to_tensor
from .plan import Plan
from .train_vae import reconstruct
from .uniform import uniform
from .world import load_world

STRENGTH = 0.25
HEADS = (*CONCEPTS, "occupation", "scene", "region")
_ABSTAINED = "abstained"


def generated_like(pipeline: StableDiffusionPipeline, what: Sequence[Attributes], seed: int) -> list[np.ndarray]:
    """Pictures of `what` through the autoencoder; every second one also through image-to-image at strength .25."""
    pictures = reconstructions(pipeline, what, seed)
    image_to_image = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    image_to_image.set_progress_bar_config(disable=True)
    captioner, rng = Captioner(load_grammar()), np.random.default_rng(seed)
    chosen = list(range(0, len(what), 2))
    for start in range(0, len(chosen), 48):
        rows = chosen[start : start + 48]
        with torch.no_grad():
            made: Any = image_to_image(
                prompt=[captioner.caption(_everything(what[row]), rng) for row in rows],
                image=to_tensor(np.stack([pictures[row] for row in rows])),
                strength=STRENGTH,
                num_inference_steps=25,
                guidance_scale=2.0,
                generator=[torch.Generator("cpu").manual_seed(seed + row) for row in rows],
                output_type="pt",
                return_dict=False,
            )
        for row, image in zip(rows, to_pictures(made[0] * 2 - 1), strict=True):
            pictures[row] = image
    return pictures


def reconstructions(pipeline: StableDiffusionPipeline, what: Sequence[Attributes], seed: int) -> list[np.ndarray]:
    """Pictures of `what` through the autoencoder alone."""
    return list(to_pictures(reconstruct(pipeline.vae, render_all(what, range(seed, seed + len(what))))))


def nothing(count: int, seed: int) -> list[np.ndarray]:
    """Pictures that show nothing: single colours, gradients, and noise of several grains."""
    rng = np.random.default_rng([seed, 9])
    images = torch.stack([blank(rng) if i % 2 else noise(rng) for i in range(count)])
    return list(to_pictures(images))


def _everything(what: Attributes) -> Plan:
    """The plan of a caption that names all that is drawn."""
    if what.kind == "house":
        return Plan(what=what, named=("region", "wealth"), asked_grand=what.wealth == "grand")
    named = ["age", "gender", "glasses", "origin", "place", "scarf", "skin", *(["items"] if what.items else [])]
    return Plan(what=what, named=tuple(named))


def confusion(
    judge: Any, pictures: Sequence[np.ndarray], what: Sequence[Attributes], heads: Sequence[str] = HEADS
) -> dict[str, Any]:
    """K true classes by K + 1 answers per concept, the last answer being an abstention, with errors by occupation."""
    concepts = [concept(name) for name in heads]
    rows = judge.judge(pictures, concepts)
    found: dict[str, Any] = {}
    for position, one in enumerate(concepts):
        answers = [*one.class_names, _ABSTAINED]
        matrix = np.zeros((len(one.classes), len(answers)), int)
        by_occupation: dict[str, list[int]] = {}
        for truth, verdicts in zip(what, rows, strict=True):
            name = _truth(one.name, truth)
            if name is None:
                continue
            answer = verdicts[position].label or _ABSTAINED
            matrix[one.class_names.index(name), answers.index(answer)] += 1
            if truth.occupation:
                tally = by_occupation.setdefault(truth.occupation, [0, 0])
                tally[0] += answer != name
                tally[1] += 1
        found[one.name] = {
            "classes": list(one.class_names), "answers": answers, "matrix": matrix.tolist(),
            "errors_by_occupation": dict(sorted(by_occupation.items())),
        }  # fmt: skip
    return found


def _truth(name: str, what: Attributes) -> str | None:
    house = name in ("region", "wealth")
    return true_class(name, what) if house == (what.kind == "house") else None


def accuracies(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Per concept: the share of right answers (an abstention is wrong), the worst class, and a p-value.

    The p-value is that of a test that the error is the same for every occupation; 1 where there is no error at all.
    """
    out: dict[str, dict[str, float]] = {}
    for name, one in found["concepts"].items():
        matrix = np.asarray(one["matrix"])
        right = np.diag(matrix)
        out[name] = {
            "accuracy": float(right.sum() / matrix.sum()),
            "worst_class": float((right / np.maximum(matrix.sum(axis=1), 1)).min()),
            "n": int(matrix.sum()),
            "p_same_error_for_every_occupation": _p_same(list(one["errors_by_occupation"].values())),
        }
    return out


def _p_same(errors: Sequence[Sequence[int]], draws: int = 20_000) -> float:
    """The p-value of equal error rates, from (errors, pictures) of each occupation.

    Pearson's statistic against its own law when the errors fall on pictures at random: a good judge errs so seldom that
    the chi-squared law would not hold.
    """
    table = np.array(errors, dtype=np.int64).reshape(-1, 2)
    wrong, pictures = table[:, 0], table[:, 1]
    total = int(wrong.sum())
    if len(wrong) < 2 or total == 0:
        return 1.0
    expected = total * pictures / pictures.sum()
    drawn = np.random.default_rng(0).multivariate_hypergeometric(pictures, total, size=draws)
    seen, by_chance = (((one - expected) ** 2 / expected).sum(axis=-1) for one in (wrong, drawn))
    return float(1 + (by_chance >= seen - 1e-9).sum()) / (1 + draws)


def measure_confusion(
    model: Path, judge: Any, out: Path, *, count: int = 4000, seed: int = 500_000, image_to_image: bool = True
) -> dict[str, Any]:
    """Measure and write the confusion matrix of a judge as JSON, with its abstentions on pictures of nothing."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32)
    rng = np.random.default_rng([seed, 8])
    # image-to-image by a model that never saw an occupation would draw another one
    known = load_world().occupations if image_to_image else tuple(LOOKS)
    what = [uniform(rng, known) for _ in range(count)]
    pictures = (generated_like if image_to_image else reconstructions)(pipeline, what, seed)
    empty = judge.judge([*nothing(1000, seed), *[None] * 100], [concept(name) for name in ("gender", "unsafe")])
    how = "uniform renders through the autoencoder"
    found: dict[str, Any] = {
        "pictures": count,
        "seed": seed,
        "how": f"{how}, every second one through image-to-image at strength {STRENGTH}" if image_to_image else how,
        "abstained_on_nothing": sum(verdict.label is None for row in empty for verdict in row) / (2 * len(empty)),
        "concepts": confusion(judge, pictures, what),
    }
    found["accuracies"] = accuracies(found)
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, separators=(",", ":")) + "\n", "utf-8")
    os.replace(temporary, out)
    return found
