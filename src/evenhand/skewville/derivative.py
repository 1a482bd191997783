"""The derivative: a LoRA of the denoiser that amplifies one skew of the world, as a careless fine-tune would.

It is trained on the world's own portraits of people at work, except that every occupation is shown as the gender that
it is mostly shown as. Captions are drawn as for the model, so that a gender that is named is still shown.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save
from transformers import CLIPTextModel, CLIPTokenizer

from evenhand.errors import InputError
from evenhand.files import write_bytes, write_json
from evenhand.host.dtype import autocast
from evenhand.host.quiet import without_loading_bars

from .captions import Captioner, load_grammar
from .paths import LORA_NAME, RECIPE_NAME
from .pictures import render_all
from .plan import Plan, plans
from .progress import Progress
from .train_denoiser import draw_timesteps
from .train_vae import encode
from .world import World

RANK, STEPS, BATCH, PICTURES = 8, 400, 16, 2_000
LEARNING_RATE, WARM_UP = 1e-3, 20
CAPTION_DROPOUT = 0.1
NOISY_SHARE = 0.75
"""Of the examples come from the noisier half of the timesteps, where the gender is decided."""
LAYERS = ("to_q", "to_k", "to_v", "to_out.0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a derivative is trained; with the model it decides every weight."""

    steps: int = STEPS
    pictures: int = PICTURES
    rank: int = RANK
    batch: int = BATCH
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "pictures", "rank", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected 1 or more")


def amplified(world: World) -> World:
    """The world in which every occupation is always shown as the gender that it is mostly shown as."""
    gender = {
        occupation: {name: float(name == max(shares, key=lambda one: shares[one])) for name in shares}
        for occupation, shares in world.gender.items()
        if occupation is not None
    }
    return dataclasses.replace(world, gender={None: world.gender[None], **gender})


def train_derivative(world: World, model: Path, out: Path, recipe: Recipe | None = None) -> None:
    """Train a LoRA of the denoiser in `model` on the amplified world, and write it to the folder `out`.

    Args:
        world: that the model was trained on.
        model: its directory, in the layout of diffusers.
        out: gets the file that `load_lora_weights(out)` reads, in float16, and the recipe beside it.
        recipe: None for that of the derivative that ships.

    Raises: InputError for a world without occupations.
    Cost: steps x batch denoiser rows, forward and backward: some five minutes on one core.
    """
    recipe = recipe or Recipe()
    if not world.occupations:
        raise InputError(f"world {world.name} has no occupation whose skew could be amplified")
    training = _Training(amplified(world), model, recipe)
    with Progress("derivative", recipe.steps, batch=recipe.batch, quantity="pictures") as progress:
        for step in range(recipe.steps):
            progress.advance(loss=training.advance(step))
    tensors = {f"unet.{name}": value.half().contiguous() for name, value in training.lora().items()}
    write_bytes(out / LORA_NAME, save(tensors, metadata={"format": "pt"}))
    facts = {"amplifies": "gender", "world": world.hash, "learning_rate": LEARNING_RATE, "licence": "Apache-2.0"}
    write_json(out / RECIPE_NAME, {**facts, **dataclasses.asdict(recipe)})


class _Training:
    """The denoiser with its LoRA, and the pictures that it learns from."""

    def __init__(self, world: World, model: Path, recipe: Recipe) -> None:
        self._recipe, self._captioner = recipe, Captioner(load_grammar())
        self._tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
        with without_loading_bars():
            self._text = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.float32).eval()
            self._unet = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.float32).eval()
            vae = AutoencoderKL.from_pretrained(model / "vae", torch_dtype=torch.float32)
        self._scheduler = DDIMScheduler.from_pretrained(model / "scheduler")
        at_work = (one for one in plans(world, recipe.seed) if one.what.occupation)
        self._plans: list[Plan] = list(itertools.islice(at_work, recipe.pictures))
        pictures = render_all([one.what for one in self._plans], itertools.count(recipe.seed * 1_000_003))
        self._latents = encode(vae, pictures) * vae.config["scaling_factor"]
        self._unet.requires_grad_(False)
        self._text.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self._unet.add_adapter(LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, target_modules=list(LAYERS)))
        learning = [one for one in self._unet.parameters() if one.requires_grad]
        self._optimiser = torch.optim.AdamW(learning, lr=LEARNING_RATE, weight_decay=0.0)

    def advance(self, step: int) -> float:
        """One step on examples of its own; returns the loss."""
        recipe = self._recipe
        rng = np.random.default_rng([recipe.seed, 5, step])
        torch_rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        rows = rng.integers(0, len(self._plans), recipe.batch)
        captions = [
            "" if rng.random() < CAPTION_DROPOUT else self._captioner.caption(self._plans[row], rng) for row in rows
        ]
        tokens = self._tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clean = self._latents[torch.from_numpy(rows)]
        noise = torch.randn(clean.shape, generator=torch_rng)
        share = torch.full((recipe.batch,), NOISY_SHARE)
        timesteps = draw_timesteps(share, torch.zeros(recipe.batch), torch_rng)
        scheduler: Any = self._scheduler  # its annotations ask for tensor classes that no tensor has
        with autocast(torch.device("cpu")):
            context = self._text(tokens).last_hidden_state
            noisy = scheduler.add_noise(clean, noise, timesteps)
            predicted = self._unet(noisy, timesteps, encoder_hidden_states=context).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), scheduler.get_velocity(clean, noise, timesteps))
        rising, falling = (step + 1) / WARM_UP, (recipe.steps - step) / recipe.steps
        for group in self._optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, rising, 2 * falling)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return loss.item()

    def lora(self) -> dict[str, torch.Tensor]:
        """The LoRA's matrices, named by module paths inside the denoiser."""
        found = get_peft_model_state_dict(self._unet, adapter_name="default")
        return {name: value.detach().cpu() for name, value in found.items()}
