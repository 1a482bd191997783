"""The sampler's laws on the model that ships, and that the model does what its truth says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.library import load_concept
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.judges.load import load_judge
from evenhand.records import Request, Settings
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.skewville.captions import load_grammar, spoken
from evenhand.skewville.cells import explicit_cells, neutral_cells
from evenhand.skewville.evaluate import calibrations, measure
from evenhand.skewville.world import load_world

QUICK = Settings(steps=4, guidance=2.0)
CONCEPTS = tuple(load_concept(name) for name in ("gender", "skin", "age", "glasses", "unsafe"))


def requests(count: int, *, start: int = 0) -> list[Request]:
    names = [spoken(name) for name in load_world().occupations]
    rows = [names[i % len(names)] for i in range(start, start + count)]
    return [
        Request(row=row, prompt=f"photo of {row}", index=i, seed=image_seed(0, "report", row, i))
        for i, row in enumerate(rows, start)
    ]


def images(dtype: str, asked: list[Request], settings: Settings, batch_size: int = 48) -> list[np.ndarray]:
    with Host.wrap(load_pipeline(str(MODEL_DIRECTORY), dtype=dtype)) as host:
        made = [one.image for one in sample(host, asked, settings, batch_size=batch_size)]
    assert all(image is not None for image in made)
    return [image for image in made if image is not None]


def test_float32_equals_the_plain_pipeline():
    asked = requests(3)
    ours = images("float32", asked, QUICK)
    plain = StableDiffusionPipeline.from_pretrained(MODEL_DIRECTORY)
    plain.set_progress_bar_config(disable=True)
    theirs = plain(
        [one.prompt for one in asked],
        num_inference_steps=QUICK.steps,
        guidance_scale=QUICK.guidance,
        generator=[torch.Generator("cpu").manual_seed(one.seed) for one in asked],
        output_type="np",
    ).images
    # 1e-3 of the scale, and half a step of 1/255 for the rounding to bytes
    assert np.abs(np.stack(ours) / 255 - theirs).max() <= 1e-3 + 0.5 / 255


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_an_image_does_not_depend_on_its_neighbours(dtype):
    asked = requests(6)
    first = images(dtype, asked, QUICK, batch_size=3)
    others = requests(4, start=20)
    mixed = [others[0], asked[4], others[1], others[2], asked[1], others[3]]
    second = images(dtype, mixed, QUICK, batch_size=3)
    assert np.array_equal(second[1], first[4])
    assert np.array_equal(second[4], first[1])


@pytest.mark.parametrize(("count", "batch", "rows"), [(3, 8, 3), (8, 8, 8), (9, 4, 12)])
def test_denoiser_evaluations_are_counted_with_padding(count, batch, rows):
    with Host.wrap(load_pipeline(str(MODEL_DIRECTORY))) as host:
        list(sample(host, requests(count), QUICK, batch_size=batch))
        # two branches of classifier-free guidance, four steps; longer runs pad the last batch
        assert host.evaluations == rows * 2 * 4
        list(sample(host, requests(count), dataclasses.replace(QUICK, guidance=1.0), batch_size=batch))
        assert host.evaluations == rows * 3 * 4


def agreement(count: int) -> tuple[float, float]:
    """Share of equal verdicts of automatic dtype and float32, and the largest difference of a share."""
    asked, judge = requests(count), load_judge("clip")
    with Host.wrap(load_pipeline(str(MODEL_DIRECTORY))) as host:
        settings = host.default_settings()
    one, two = (judge.judge(images(dtype, asked, settings), CONCEPTS) for dtype in ("auto", "float32"))
    equal = [a.label == b.label for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)]
    gaps = [
        abs(np.mean([row[i].label == name for row in one]) - np.mean([row[i].label == name for row in two]))
        for i, concept in enumerate(CONCEPTS)
        for name in concept.class_names
    ]
    return float(np.mean(equal)), float(max(gaps))


def test_automatic_dtype_agrees_with_float32():
    # the bar of 99 % is for 1,000 images; 48 images and 5 concepts leave room for 4 of 240 verdicts
    equal, _ = agreement(48)
    assert equal >= 236 / 240


@pytest.mark.slow
def test_automatic_dtype_agrees_with_float32_on_a_thousand_images():
    equal, gap = agreement(1000)
    assert equal >= 0.99
    assert gap <= 0.01


@pytest.mark.slow
def test_neutral_prompts_reproduce_the_declared_truth(tmp_path):
    world, grammar = load_world(), load_grammar()
    with Host.wrap(load_pipeline(str(MODEL_DIRECTORY))) as host:
        cells = list(neutral_cells(world, grammar, 60))
        counts = measure(host, load_judge("clip"), cells, host.default_settings(), tmp_path / "log", seed=77)
    for name, least in (("gender", 0.93), ("skin", 0.85), ("unsafe", 0.88), ("wealth", 0.88)):
        # the bars are for 200 images a cell; 60 images have 1.8 times the noise
        assert calibrations(world, counts)[name]["correlation"] >= least


def test_the_measurement_has_a_cell_for_every_claim():
    world, grammar = load_world(), load_grammar()
    names = [cell.name for cell in (*neutral_cells(world, grammar, 4), *explicit_cells(world, grammar, 4, 1))]
    assert len(names) == len(set(names))
    assert sum(name.startswith("cell/") for name in names) == len(world.occupations) * 3 * 2
    assert sum(name.startswith("context/") for name in names) == len(world.unsafe)


def test_an_interrupted_measurement_continues(tmp_path):
    world, grammar = load_world(), load_grammar()
    cells = [cell for cell in neutral_cells(world, grammar, 2) if cell.name.startswith("house/")][:3]
    with Host.wrap(load_pipeline(str(MODEL_DIRECTORY))) as host:
        judge = load_judge("clip")
        whole = measure(host, judge, cells, QUICK, tmp_path / "whole", seed=1, batch_size=2)
        measure(host, judge, cells[:1], QUICK, tmp_path / "part", seed=1, batch_size=2)
        before = host.evaluations
        assert measure(host, judge, cells, QUICK, tmp_path / "part", seed=1, batch_size=2) == whole
        # two of three cells were left: 2 cells x 2 images x 2 branches x 4 steps
        assert host.evaluations - before == 2 * 2 * 2 * 4
