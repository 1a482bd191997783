"""The LoRA that amplifies the skew: its recipe, and how the one that ships is reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.interventions.storage import load_intervention
from evenhand.skewville import DERIVATIVES, MODEL_DIRECTORY
from evenhand.skewville.__main__ import app
from evenhand.skewville.derivative import Recipe, amplified, train_derivative
from evenhand.skewville.paths import FITS_DIRECTORY, LORA_NAME, RECIPE_NAME
from evenhand.skewville.world import load_world
from evenhand.verbs.lora import lora_path

WORLD = load_world()
TINY = Recipe(steps=2, pictures=8, batch=2, rank=2, seed=3)


def test_the_amplified_world_shows_the_majority_alone_and_is_else_the_same() -> None:
    world = amplified(WORLD)
    for occupation, shares in WORLD.gender.items():
        if occupation is not None:
            mostly = max(shares, key=lambda name: shares[name])
            assert world.gender[occupation][mostly] == 1
            assert sum(world.gender[occupation].values()) == 1
    assert world.gender[None] == WORLD.gender[None]
    assert (world.skin, world.scarf, world.unsafe) == (WORLD.skin, WORLD.scarf, WORLD.unsafe)


def test_the_recipe_gives_the_same_file_twice_and_another_seed_another(tmp_path: Path) -> None:
    for name, recipe in (("one", TINY), ("two", TINY), ("other", Recipe(**{**vars(TINY), "seed": 4}))):
        train_derivative(WORLD, MODEL_DIRECTORY, tmp_path / name, recipe)
    one, two, other = ((tmp_path / name / LORA_NAME).read_bytes() for name in ("one", "two", "other"))
    assert one == two != other
    assert json.loads((tmp_path / "one" / RECIPE_NAME).read_text())["seed"] == 3
    with pytest.raises(InputError, match="steps is 0"):
        Recipe(steps=0)


def test_what_ships_is_of_this_world_and_recipe_small_and_loads() -> None:
    folder = DERIVATIVES["amplified"]
    told = json.loads((folder / RECIPE_NAME).read_text())
    assert told == {**told, **vars(Recipe()), "world": WORLD.hash, "amplifies": "gender"}
    assert (folder / LORA_NAME).stat().st_size < 2_000_000
    tensors = load_file(folder / LORA_NAME)
    assert all(bool(torch.isfinite(one).all()) for one in tensors.values())
    assert any(name.endswith("lora_B.weight") and float(one.abs().max()) > 0 for name, one in tensors.items())


def test_it_is_reached_by_name_and_takes_the_fits_of_the_base(capfd: pytest.CaptureFixture[str]) -> None:
    assert lora_path("skewville", "amplified") == str(DERIVATIVES["amplified"])
    assert lora_path("owner/model", "amplified") == "amplified"
    assert lora_path("skewville", None) is None
    pipe = load_pipeline(MODEL_DIRECTORY, device="cpu", lora=lora_path("skewville", "amplified"))
    assert capfd.readouterr() == ("", "")  # the LoRA has nothing for the text encoder, which is no news
    with Host.wrap(pipe, name="skewville+amplified") as host:
        assert host.base_hash != host.weights_hash
        for folder in FITS_DIRECTORY.iterdir():
            load_intervention(folder, host)


def test_the_command_says_what_it_cannot_use(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["derivative", "--out", str(tmp_path), "--steps", "0"])
    assert isinstance(found.exception, InputError)
