"""The commands on a real pipeline of diffusers and a real CLIP, both random and tiny."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ledgers
import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from evenhand.cli import app
from evenhand.host.load import load_pipeline


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_generate_makes_the_images_of_plain_diffusers(tmp_path: Path, model: Path) -> None:
    run("generate", model, "a nurse", "-n", 2, "--seed", 7, "--dtype", "float32", "--out", tmp_path / "out", "--quiet")
    pipe: Any = load_pipeline(model, dtype="float32")
    pipe.set_progress_bar_config(disable=True)
    for index in (0, 1):
        generator = torch.Generator("cpu").manual_seed(7 + index)
        plain = pipe(
            "a nurse", num_inference_steps=3, guidance_scale=2.0, generator=generator, output_type="np"
        ).images[0]
        ours = np.asarray(Image.open(tmp_path / "out" / f"{index:03d}.png"))
        assert np.abs(ours / 255 - plain).max() < 1e-3 + 0.5 / 255


def test_an_audit_of_a_saved_model_with_a_saved_judge(tmp_path: Path, model: Path, judge: Path) -> None:
    command = ("audit", model, "--concept", "gender", "--images-per-prompt", 4, "--batch-size", 5, "--judge", judge)
    command = (*command, "--dtype", "float32", "--out", tmp_path / "run", "--json")
    result = json.loads(run(*command).stdout)
    (cost,) = result["costs"]
    assert len(result["prompts"][0]["rows"]) == 3
    # 3 rows x 4 images in 3 batches of 5, the last one padded; 3 steps, 2 branches
    assert cost["denoiser_evaluations"] == 3 * 5 * 3 * 2
    assert result["settings"] == {"steps": 3, "guidance": 2.0, "scheduler": None, "width": None, "height": None}
    stored = json.loads((tmp_path / "run/run.json").read_text())
    assert (stored["dtype"], stored["batch_size"], stored["device"]) == ("float32", 5, "cpu")
    assert stored["judge"]["name"] == str(judge)

    # what a killed run leaves: the last image is gone; it comes back bit for bit, at the shape of its batch
    image = sorted((tmp_path / "run/images").rglob("*.png"))[-1]
    before = image.read_bytes()
    image.unlink()
    again = json.loads(run(*command).stdout)
    assert image.read_bytes() == before
    assert again["estimates"] == result["estimates"]
    assert again["costs"][0]["denoiser_evaluations"] == cost["denoiser_evaluations"] + 5 * 3 * 2


def test_images_with_an_intervention_are_those_of_the_pipeline_with_it(tmp_path: Path, model: Path) -> None:
    spec = 'negative-prompt:text="blood, fire"'
    run("generate", model, "a nurse", "--with", spec, "--seed", 7, "--dtype", "float32", "--out", tmp_path / "with")
    options = ("--negative-prompt", "blood, fire", "--seed", 7, "--dtype", "float32", "--out", tmp_path / "given")
    run("generate", model, "a nurse", *options)
    assert (tmp_path / "with/000.png").read_bytes() == (tmp_path / "given/000.png").read_bytes()
    (entry,) = json.loads((tmp_path / "with/samples.json").read_text())["samples"]
    assert entry["evidence"] == {"negative-prompt": {"prompt": "", "negative": "blood, fire"}}


def test_an_audit_with_interventions_is_an_arm_of_its_own(tmp_path: Path, model: Path, judge: Path) -> None:
    specs = ("safe-guidance:text=blood,preset=max", "negative-prompt:text=fire")
    command: tuple[object, ...] = ("audit", model, "--concept", "gender", "--images-per-prompt", 2, "--judge", judge)
    command = (*command, *(part for spec in specs for part in ("--with", spec)), "--dtype", "float32")
    command = (*command, "--batch-size", 6, "--out", tmp_path / "run", "--json")
    result = json.loads(run(*command).stdout)
    name = " + ".join(specs)
    assert result["arms"] == [name]
    assert {estimate["intervention"] for estimate in result["estimates"]} == {name}
    (cost,) = result["costs"]
    # 6 images, 3 steps: two rows for guidance and one for the concept
    assert (cost["intervention"], cost["denoiser_evaluations"]) == (name, 6 * 3 * 3)
    lines = ledgers.lines(tmp_path / "run")
    assert all(line["evidence"]["safe-guidance"]["active_steps"] == 3 for line in lines)
    assert all(line["arm"] == name for line in lines)
    assert name in (tmp_path / "run/report.html").read_text().replace("&quot;", '"')


def test_guidance_that_would_do_nothing_ends_in_one_line_and_leaves_no_image(tmp_path: Path, model: Path) -> None:
    arguments = ("generate", model, "a nurse", "--with", "safe-guidance:text=blood", "--guidance", 1)
    result = CliRunner().invoke(app, [str(one) for one in (*arguments, "--out", tmp_path / "out", "--quiet")])
    assert result.exit_code == 2
    assert "safe-guidance is inert at guidance 1" in result.output
    assert not list((tmp_path / "out").glob("*.png"))
