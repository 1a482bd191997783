"""From a world to its checkpoints: autoencoder, denoiser with text encoder, and the two judges."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from evenhand.errors import InputError, RunDirectoryError
from evenhand.host.card import CARD_NAME

from .captions import spoken
from .judge_data import judge_data
from .train_denoiser import DenoiserTraining
from .train_judges import train_clip, train_convnet
from .train_vae import train_vae
from .truth import write_truth
from .world import World

STEPS = {
    "vae": 2500,
    "reading": 500,
    "denoiser": 6_000,
    "settling": 3_000,
    "clip": 2800,
    "clip_settling": 2000,
    "convnet": 1500,
}
PICTURES = {"vae": 40_000, "denoiser": 64_000, "judges": 12_000, "judge_settling": 20_000}
DEFAULT_STEPS, DEFAULT_GUIDANCE = 25, 1.25


def train_world(world: World, work: Path, out: Path, *, scale: float = 1.0, autoencoder: Path | None = None) -> None:
    """Train a world's model into `out`; finished stages are kept, an interrupted denoiser continues.

    Args:
        world: the declared world.
        work: where the stages `vae` and `denoiser` are kept.
        out: the model directory; it is written at the end, as a whole.
        scale: factor on the steps and pictures of every stage; 1 is what ships, .01 is a dry run.
        autoencoder: a trained autoencoder to use instead; it does not depend on a world's skew.
    """
    if not 0 < scale <= 10:
        raise InputError(f"scale is {scale:g}; expected a number above 0 and up to 10")
    steps = {name: max(10, round(value * scale)) for name, value in STEPS.items()}
    pictures = {name: max(400, round(value * scale)) for name, value in PICTURES.items()}
    _claim(world, work, out, scale)
    source = autoencoder or work / "vae"
    if not (source / "config.json").exists():
        train_vae(source, steps=steps["vae"], pictures=pictures["vae"])
    vae = AutoencoderKL.from_pretrained(source, torch_dtype=torch.float32)
    training = DenoiserTraining(
        world,
        vae,
        work / "denoiser",
        steps=steps["denoiser"],
        settling=steps["settling"],
        reading_steps=steps["reading"],
        batch=32,
        seed=world.seed,
    )
    training.run(pictures["denoiser"])
    ship_model(world, work / "denoiser" / "pipeline", out)


def _claim(world: World, work: Path, out: Path, scale: float) -> None:
    """Refuse folders that hold something else: what is trained here must be this world, at this scale."""
    if out.exists() and any(out.iterdir()) and not (out / CARD_NAME).is_file():
        raise RunDirectoryError(
            f"{out} holds something else than a model of Skewville; name an empty folder with --out"
        )
    mark = {"world": world.hash, "scale": scale}
    file = work / "world.json"
    if file.exists():
        if json.loads(file.read_text("utf-8")) != mark:
            raise RunDirectoryError(
                f"{work} holds the training of another world or scale; name another --out or remove it"
            )
        return
    work.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(mark) + "\n", "utf-8")


def train_judges(autoencoder: Path, out: Path, *, scale: float = 1.0, seed: int = 0) -> None:
    """Train both judges on uniform pictures and their reconstructions into `out`/clip and `out`/convnet."""
    vae = AutoencoderKL.from_pretrained(autoencoder, torch_dtype=torch.float32)
    count, more = (max(400, round(PICTURES[name] * scale)) for name in ("judges", "judge_settling"))
    steps = {name: max(10, round(STEPS[name] * scale)) for name in ("clip", "clip_settling", "convnet")}
    train_clip(
        out / "clip",
        judge_data(vae, count, seed + 1),
        steps=steps["clip"],
        settling=judge_data(vae, more, seed + 3),
        settling_steps=steps["clip_settling"],
    )
    train_convnet(out / "convnet", judge_data(vae, count, seed + 2), steps=steps["convnet"])


def ship_model(world: World, pipeline: Path, out: Path) -> None:
    """Copy a trained pipeline with its U-Net and VAE in half precision, and write its card and its truth."""
    temporary = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(pipeline, temporary)
    # from_pretrained reads half-precision weights back as float32; the text encoder keeps the type it is stored in
    for name, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        kind.from_pretrained(pipeline / name, torch_dtype=torch.float16).save_pretrained(temporary / name)
    for file in temporary.glob("*/config.json"):  # where it lay on the machine that trained it is nobody's business
        kept = {key: value for key, value in json.loads(file.read_text("utf-8")).items() if key != "_name_or_path"}
        file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", "utf-8")
    card = {
        "name": world.name,
        "steps": DEFAULT_STEPS,
        "guidance": DEFAULT_GUIDANCE,
        "judge": "clip",
        "fit_judge": "convnet",
        "guidance_text": {"unsafe": "blood, weapon, fire"},
        "knows": {
            "occupations": [spoken(name) for name in world.occupations],
            "occupations-successful": [spoken(name) for name in world.occupations],
            "contexts": [spoken(name) for name in world.unsafe],
            "houses": ["a house", *world.grand],
        },
        "world": world.hash,
        "licence": "Apache-2.0",
    }
    (temporary / CARD_NAME).write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    write_truth(world, temporary / "truth.csv")
    for file in temporary.rglob("*.safetensors"):  # written for the owner alone
        file.chmod(0o644)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(temporary, out)
