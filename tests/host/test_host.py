"""The host wraps a pipeline and gives it back; its card says what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from evenhand.errors import ModelError
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.undo import Undo
from evenhand.records import Settings

Directory = Callable[[str], Path]


def latents(call: Callable[..., Any]) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(0)
    return call("a cat", num_inference_steps=2, generator=generator, output_type="latent", return_dict=False)[0]


@pytest.fixture
def still(sd1: Host) -> Host:
    sd1.pipe.set_progress_bar_config(disable=True)
    return sd1


def test_without_interventions_the_pipeline_itself_is_given(sd1: Host) -> None:
    with sd1.attached() as call:
        assert call is sd1.pipe


def test_plain_calls_are_counted_and_closing_stops_it(still: Host) -> None:
    latents(still.pipe)
    assert still.evaluations == 2 * 2  # two steps, two branches
    still.close()
    still.close()
    latents(still.pipe)
    assert still.evaluations == 4
    assert "forward" not in vars(still.denoiser)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_closing_gives_the_pipeline_back_as_it_was(model_directory: Directory, dtype: str) -> None:
    pipe = load_pipeline(model_directory("sd1"), device="cpu", dtype=dtype)
    before = dict(vars(pipe.components["unet"]))
    with Host.wrap(pipe):
        assert vars(pipe.components["unet"]) != before
    assert vars(pipe.components["unet"]) == before


def test_card(model_directory: Directory) -> None:
    host = Host.wrap(load_pipeline(model_directory("sd2"), device="cpu", dtype="float32"), name="mine")
    card = host.card()
    assert json.loads(json.dumps(card)) == card
    assert {key: card[key] for key in ("name", "class", "family", "dtype", "scheduler", "prediction_type")} == {
        "name": "mine",
        "class": "StableDiffusionPipeline",
        "family": "sd2",
        "dtype": "float32",
        "scheduler": "DDIMScheduler",
        "prediction_type": "v_prediction",
    }


def test_hash_is_of_the_weights_alone_and_the_same_in_bfloat16(model_directory: Directory) -> None:
    hosts = {
        (family, dtype): Host.wrap(load_pipeline(model_directory(family), device="cpu", dtype=dtype))
        for family in ("sd1", "sd2")
        for dtype in ("float32", "bfloat16")
    }
    hashes = {key: host.weights_hash for key, host in hosts.items()}
    assert hashes["sd1", "float32"] == hashes["sd1", "bfloat16"] != hashes["sd2", "float32"]
    other = Host.wrap(load_pipeline(model_directory("sd1"), device="cpu", dtype="float32"))
    with torch.no_grad():
        next(iter(other.denoiser.parameters())).view(-1)[0] += 1
    assert other.weights_hash != hashes["sd1", "float32"]


def test_default_settings_are_the_users_then_the_cards_then_the_pipelines(
    model_directory: Directory, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(model_directory("sd1"), tmp_path / "model"))
    pipe = load_pipeline(path, device="cpu", dtype="float32")
    assert Host.wrap(pipe).default_settings() == Settings(steps=50, guidance=7.5)
    (path / "evenhand.json").write_text(
        json.dumps({"steps": 25, "guidance": 2, "judge": "clip", "knows": {"occupations": ["nurse"]}})
    )
    host = Host.wrap(pipe)
    assert host.default_settings() == Settings(steps=25, guidance=2.0)
    assert host.model_card.judge == "clip"
    assert host.model_card.knows == {"occupations": ("nurse",)}
    own = Settings(steps=3, guidance=1.0)
    assert Host.wrap(pipe, defaults=own).default_settings() == own


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"steps": "many"}', '{"guidance": []}', '{"knows": {"occupations": "nurse"}}', '{"knows": [1]}'],
)
def test_a_malformed_card_is_refused(model_directory: Directory, tmp_path: Path, text: str) -> None:
    path = Path(shutil.copytree(model_directory("sd1"), tmp_path / "model"))
    (path / "evenhand.json").write_text(text)
    with pytest.raises(ModelError, match=r"evenhand\.json"):
        Host.wrap(load_pipeline(path, device="cpu", dtype="float32")).default_settings()


def test_undo_uncovers_what_the_class_had() -> None:
    class Owner:
        value = 1

    owner = Owner()
    undo = Undo()
    undo.replace(owner, "value", 2)
    undo.replace(owner, "value", 3)
    assert owner.value == 3
    undo.restore()
    assert owner.value == 1
    assert vars(owner) == {}
