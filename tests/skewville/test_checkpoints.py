"""The checkpoints that ship: they load as everyone else's do, and the judges read what was drawn."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextModel, CLIPTokenizer

from evenhand.concepts.library import load_concept
from evenhand.judges.load import load_judge
from evenhand.skewville import CHECKPOINTS, JUDGE_DIRECTORIES, MODEL_DIRECTORY
from evenhand.skewville.cells import concept
from evenhand.skewville.confusion import HEADS, accuracies, confusion, nothing, reconstructions
from evenhand.skewville.phrases import CONCEPTS
from evenhand.skewville.tokenizer import build_tokenizer, learn_tokenizer, words
from evenhand.skewville.truth import truth
from evenhand.skewville.uniform import uniform
from evenhand.skewville.world import load_world


@pytest.fixture(scope="module")
def pipeline():
    return StableDiffusionPipeline.from_pretrained(MODEL_DIRECTORY)


def test_nothing_says_where_it_was_trained() -> None:
    for file in CHECKPOINTS.rglob("*.json"):
        assert "_name_or_path" not in file.read_text(encoding="utf-8"), file


def test_a_training_reads_the_tokens_of_the_shipped_model() -> None:
    shipped = CLIPTokenizer.from_pretrained(MODEL_DIRECTORY / "tokenizer")
    assert build_tokenizer().get_vocab() == shipped.get_vocab()
    assert all(len(shipped.tokenize(word)) == 1 for word in words())
    assert all(len(learn_tokenizer().tokenize(word)) == 1 for word in words())


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(123)
    return [uniform(rng) for _ in range(400)]


@pytest.fixture(scope="module")
def pictures(pipeline, drawn):
    return reconstructions(pipeline, drawn, 7_000_000)


def test_plain_from_pretrained_gives_float32_parts_of_the_standard_kinds(pipeline):
    assert pipeline.unet.dtype == pipeline.vae.dtype == pipeline.text_encoder.dtype == torch.float32
    assert isinstance(pipeline.text_encoder, CLIPTextModel)
    assert isinstance(pipeline.tokenizer, CLIPTokenizer)
    assert pipeline.unet.config.in_channels == pipeline.vae.config.latent_channels == 4
    assert pipeline.vae_scale_factor == 4
    assert pipeline.scheduler.config.prediction_type == "v_prediction"


def test_everything_together_is_at_most_forty_megabytes():
    assert sum(file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()) <= 40_000_000


def test_weights_are_stored_as_safetensors_alone():
    endings = {file.suffix for file in CHECKPOINTS.rglob("*") if file.is_file()}
    assert endings <= {".safetensors", ".json", ".csv", ".txt"}


def test_the_shipped_truth_is_the_enumerated_one():
    with (MODEL_DIRECTORY / "truth.csv").open() as file:
        shipped = list(csv.DictReader(file))
    rows = truth(load_world())
    assert len(shipped) == len(rows)
    for one, row in zip(shipped, rows, strict=True):
        assert (one["prompts"], one["row"], one["asked"]) == (row.prompts, row.row, row.asked)
        assert (one["attribute"], one["value"]) == (row.attribute, row.value)
        assert float(one["probability"]) == pytest.approx(row.probability, abs=1e-6)


def test_the_card_names_the_world_that_the_model_was_trained_on():
    card = json.loads((MODEL_DIRECTORY / "evenhand.json").read_text("utf-8"))
    world = load_world()
    assert card["world"] == world.hash
    assert len(card["knows"]["occupations"]) == len(world.occupations)


@pytest.mark.parametrize("name", list(JUDGE_DIRECTORIES))
def test_judges_read_reconstructions_of_fresh_renders(name, pictures, drawn):
    # the bar is 97 % on 10,000 pictures; 400 leave room for 2.5 standard errors of .0085
    known = HEADS if name == "clip" else CONCEPTS
    judge = load_judge(name)
    found = accuracies({"concepts": confusion(judge, pictures, drawn, known)})
    assert set(found) == set(known)
    for head, one in found.items():
        assert one["accuracy"] >= 0.95, (head, one)


@pytest.mark.parametrize("name", list(JUDGE_DIRECTORIES))
def test_judges_abstain_on_pictures_of_nothing(name):
    rows = load_judge(name).judge([*nothing(100, 5), None, None], [load_concept("gender"), load_concept("unsafe")])
    abstained = [verdict.label is None for row in rows for verdict in row]
    assert np.mean(abstained) >= 0.95
    assert [verdict.reason for row in rows[-2:] for verdict in row] == ["invalid image"] * 4


@pytest.mark.parametrize("name", list(JUDGE_DIRECTORIES))
def test_a_verdict_does_not_depend_on_the_other_images(name, pictures):
    judge = load_judge(name)
    concepts = [load_concept("gender"), load_concept("skin"), load_concept("gender*skin")]
    together = judge.judge(pictures[:40], concepts)
    order = np.random.default_rng(2).permutation(40)
    shuffled = judge.judge([pictures[i] for i in order], concepts)
    assert [shuffled[list(order).index(i)] for i in range(40)] == together
    assert judge.judge(pictures[3:4], concepts) == together[3:4]


def test_the_joint_verdict_is_that_of_the_factors(pictures):
    judge = load_judge("clip")
    rows = judge.judge(pictures[:40], [load_concept(name) for name in ("gender", "skin", "gender*skin")])
    judged = [row for row in rows if row[0].label]
    assert len(judged) > 20
    for gender, skin, joint in judged:
        assert joint.label == f"{gender.label}*{skin.label}"
        products = [a * b for a in gender.probabilities for b in skin.probabilities]
        assert joint.probabilities == pytest.approx(products, abs=1e-5)


def test_the_two_judges_differ_and_are_hashed(pictures):
    clip, convnet = load_judge("clip"), load_judge("convnet")
    assert clip.hash != convnet.hash
    assert clip.hash == load_judge("clip").hash
    assert concept("occupation").class_names[0] == "nurse"
    assert set(clip.card()["confusion"]) == set(HEADS)


@pytest.mark.slow
def test_the_report_judge_passes_its_bars_on_ten_thousand_reconstructions(pipeline):
    rng = np.random.default_rng(99)
    what = [uniform(rng) for _ in range(10_000)]
    found = confusion(load_judge("clip"), reconstructions(pipeline, what, 30_000_000), what)
    for head, one in accuracies({"concepts": found}).items():
        assert one["accuracy"] >= 0.97, (head, one)
    safe, unsafe = np.asarray(found["unsafe"]["matrix"])
    assert safe[0] / safe.sum() >= 0.995
    assert unsafe[1] / unsafe.sum() >= 0.97
