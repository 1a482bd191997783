"""The recipe at a tiny scale: stages, continuation, and what it refuses. No real training runs here."""

from __future__ import annotations

import csv
import itertools
import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from typer.testing import CliRunner

from evenhand.errors import RunDirectoryError
from evenhand.host.load import load_pipeline
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.skewville.__main__ import app
from evenhand.skewville.attributes import SKIN_BANDS
from evenhand.skewville.plan import plans
from evenhand.skewville.recipe import ship_model, train_world
from evenhand.skewville.train_denoiser import (
    LEARNING_RATE,
    OPENING_BETA_END,
    SETTLING_FACTOR,
    SETTLING_HOUSE_SHARE,
    SETTLING_MIDDLE_SHARE,
    SETTLING_NOISY_SHARE,
    TEXT_LEARNING_RATE,
    DenoiserTraining,
    decay,
    draw_timesteps,
    new_scheduler,
)
from evenhand.skewville.world import load_world

WORLD = load_world()


@pytest.fixture(scope="module")
def vae():
    return AutoencoderKL.from_pretrained(MODEL_DIRECTORY / "vae", torch_dtype=torch.float32)


def weights(training: DenoiserTraining) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in training._models.parameters()]


def test_a_training_that_was_stopped_takes_the_same_steps_as_one_that_was_not(tmp_path, vae):
    from evenhand.skewville.checkpoint import save_state

    whole = DenoiserTraining(WORLD, vae, tmp_path / "whole", steps=3, settling=0, reading_steps=2, batch=2, seed=5)
    whole.run(8)
    part = DenoiserTraining(WORLD, vae, tmp_path / "part", steps=3, settling=0, reading_steps=2, batch=2, seed=5)
    data = _data(vae, tmp_path / "part")
    part._advance(*data)
    save_state(tmp_path / "part" / "state", part._models, part._ema, part._optimiser, part._step)
    again = DenoiserTraining(WORLD, vae, tmp_path / "part", steps=3, settling=0, reading_steps=2, batch=2, seed=5)
    assert again._step == 1
    again.run(8)
    for one, two in zip(weights(whole), weights(again), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(("share", "noisier"), [(0.0, 0.5), (0.5, 0.75), (0.75, 0.875), (1.0, 1.0)])
def test_training_timesteps_lean_towards_the_noisier_half(share, noisier):
    timesteps = draw_timesteps(torch.full((20_000,), share), torch.zeros(20_000), torch.Generator().manual_seed(0))
    assert (0 if share < 1 else 500) <= timesteps.min() < (10 if share < 1 else 510)
    assert 990 < timesteps.max() < 1000
    # a share of them is drawn from [500, 1000), and half of the others fall there by themselves
    assert (timesteps >= 500).float().mean().item() == pytest.approx(noisier, abs=0.01)


def test_examples_that_show_a_context_lean_towards_the_middle(tmp_path, vae):
    training = DenoiserTraining(WORLD, vae, tmp_path, steps=0, settling=1, reading_steps=2, batch=2, seed=5)
    data = list(itertools.islice(plans(WORLD, 5), 200))
    shown = [plan.what.scene in WORLD.unsafe for plan in data]
    assert any(shown)
    assert not all(shown)
    noisy, middle = training._shares(data, False)
    assert noisy.tolist() == pytest.approx([SETTLING_NOISY_SHARE[one] for one in shown])
    assert middle.tolist() == pytest.approx([SETTLING_MIDDLE_SHARE[one] for one in shown])
    assert training._shares(data, True)[1].sum() == 0
    # of 65 % from [200, 700), 20 % from [500, 1000) and 15 % from anywhere: .65 + .2 x .4 + .15 x .5 in the middle
    timesteps = draw_timesteps(
        torch.full((20_000,), 0.2), torch.full((20_000,), 0.65), torch.Generator().manual_seed(0)
    )
    inside = ((timesteps >= 200) & (timesteps < 700)).float().mean().item()
    assert inside == pytest.approx(0.65 + 0.2 * 0.4 + 0.15 * 0.5, abs=0.01)


def test_while_settling_a_wanted_share_of_the_examples_are_houses(tmp_path, vae):
    training = DenoiserTraining(WORLD, vae, tmp_path, steps=0, settling=1, reading_steps=2, batch=8000, seed=5)
    data = list(itertools.islice(plans(WORLD, 5), 400))
    is_house = np.array([plan.what.kind == "house" for plan in data])
    rows = training._rows(data, np.random.default_rng(0), opening=False)
    assert is_house[rows].mean() == pytest.approx(SETTLING_HOUSE_SHARE, abs=0.02)
    assert len(set(rows)) > 350  # both kinds are drawn from all of theirs
    natural = training._rows(data, np.random.default_rng(0), opening=True)
    assert is_house[natural].mean() == pytest.approx(is_house.mean(), abs=0.02)


def test_the_text_encoder_learns_at_its_own_rate(tmp_path, vae):
    training = DenoiserTraining(WORLD, vae, tmp_path, steps=4, settling=0, reading_steps=2, batch=2, seed=5)
    training.run(8)
    unet, text = (group["lr"] for group in training._optimiser.param_groups)
    assert text / unet == pytest.approx(TEXT_LEARNING_RATE / LEARNING_RATE)


def test_the_last_steps_are_taken_on_the_schedule_that_ships(tmp_path, vae):
    training = DenoiserTraining(WORLD, vae, tmp_path, steps=2, settling=2, reading_steps=2, batch=2, seed=5)
    training.run(8)
    assert training._step == 4
    # the rate of the next step would be 0
    assert training._optimiser.param_groups[0]["lr"] == pytest.approx(LEARNING_RATE * SETTLING_FACTOR / 2)
    pipe = load_pipeline(str(tmp_path / "pipeline"), dtype="float32")
    assert pipe.scheduler.config.beta_end == 0.02


def test_the_schedule_ends_in_noise_that_shows_nothing_of_the_picture():
    (opening, shipped) = (
        float(scheduler.alphas_cumprod[-1]) for scheduler in (new_scheduler(OPENING_BETA_END), new_scheduler())
    )
    # exp(-sum of betas); sum = 1000 (a^2 + a b + b^2) / 3 for square roots a, b of the ends
    assert opening == pytest.approx(0.0047, abs=2e-4)
    assert shipped == pytest.approx(0.00024, abs=4e-5)


def test_the_rate_falls_slowly_and_at_the_end_to_zero():
    assert decay(0) == 1
    assert decay(0.75) == pytest.approx(0.5)  # 1 - .75 / 1.5, and 2 x .25
    assert decay(1) == 0
    assert all(decay(step / 100) >= decay((step + 1) / 100) for step in range(100))


def _data(vae, out):
    from evenhand.skewville.train_denoiser import cache_latents

    return cache_latents(WORLD, vae, 8, 5, out / "latents.safetensors")


def test_a_shipped_model_loads_and_carries_its_world(tmp_path, vae):
    DenoiserTraining(WORLD, vae, tmp_path, steps=1, settling=0, reading_steps=2, batch=2, seed=1).run(4)
    ship_model(WORLD, tmp_path / "pipeline", tmp_path / "model")
    pipe = load_pipeline(str(tmp_path / "model"), dtype="float32")
    assert pipe.unet.dtype == torch.float32
    card = json.loads((tmp_path / "model" / "evenhand.json").read_text("utf-8"))
    assert card["world"] == WORLD.hash
    assert (tmp_path / "model" / "truth.csv").stat().st_size > 1000
    assert not (tmp_path / "model.tmp").exists()


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(RunDirectoryError, match="holds something else"):
        train_world(WORLD, tmp_path / "work", tmp_path / "out", scale=0.001, autoencoder=MODEL_DIRECTORY / "vae")
    assert (tmp_path / "out" / "letter.txt").read_text() == "dear"


def test_the_training_of_another_world_is_not_continued(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "world.json").write_text('{"world": "another", "scale": 1.0}')
    with pytest.raises(RunDirectoryError, match="another world or scale"):
        train_world(WORLD, tmp_path / "work", tmp_path / "out", scale=1.0, autoencoder=MODEL_DIRECTORY / "vae")


def test_render_writes_pictures_and_labels_that_belong_together(tmp_path):
    result = CliRunner().invoke(app, ["render", "--n", "6", "--seed", "3", "--out", str(tmp_path / "one")])
    assert result.exit_code == 0
    CliRunner().invoke(app, ["render", "--n", "6", "--seed", "3", "--out", str(tmp_path / "two")])
    with (tmp_path / "one" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"{i:05d}.png" for i in range(6)]
    for row in rows:
        first, second = (np.asarray(Image.open(tmp_path / name / row["file"])) for name in ("one", "two"))
        assert first.shape == (64, 64, 3)
        assert np.array_equal(first, second)
        if row["skin"]:
            low, high = SKIN_BANDS[row["skin"]]
            assert low <= float(row["skin_tone"]) <= high


def test_more_pictures_begin_with_the_same_ones(tmp_path):
    for n in (2, 4):
        CliRunner().invoke(app, ["render", "--n", str(n), "--seed", "8", "--out", str(tmp_path / str(n))])
    for name in itertools.islice(sorted(path.name for path in (tmp_path / "2").glob("*.png")), 2):
        assert (tmp_path / "2" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()
