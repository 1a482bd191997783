"""Joint training of the denoiser and its text encoder on cached latents."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel, compute_snr
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .captions import Captioner, load_grammar
from .checkpoint import load_state, save_state
from .pictures import render_all
from .plan import Plan, plans
from .progress import Progress
from .tokenizer import MAX_LENGTH, build_tokenizer, special_tokens
from .train_text import teach_reading
from .train_vae import encode
from .world import World

LEARNING_RATE = 1.2e-3
WARM_UP = 200
CAPTION_DROPOUT = 0.1
MIN_SNR = 5.0
TEXT_WIDTH = 128


def new_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1.x, sampled by DDIM from the last timestep on."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def new_denoiser() -> UNet2DConditionModel:
    """An untrained U-Net of 7 M parameters for 16 x 16 latents."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(48, 96, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # the number of heads, by this configuration's historical name
        # the text also enters the timestep embedding, pooled: so small things far from any cross attention learn soon
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        norm_num_groups=8,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder: three layers, 128 wide."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        projection_dim=TEXT_WIDTH,
        **special_tokens(),
    )
    return CLIPTextModel(config)


def cache_latents(
    world: World, vae: AutoencoderKL, count: int, seed: int, file: Path | None = None
) -> tuple[list[Plan], torch.Tensor]:
    """`count` training examples of the world: their plans, and their scaled latents in float16.

    With `file`, latents that an earlier start of the same training left there are read instead of made again.
    """
    chosen = list(itertools.islice(plans(world, seed), count))
    if file and file.exists():
        return chosen, load_file(file)["latents"]
    parts, size, scale = [], 4000, vae.config["scaling_factor"]
    with Progress("latents", -(-count // size), quantity="pictures", batch=size) as progress:
        for start in range(0, count, size):
            pictures = render_all([plan.what for plan in chosen[start : start + size]], itertools.count(start))
            parts.append((encode(vae, pictures) * scale).half())
            progress.advance()
    latents = torch.cat(parts).contiguous()
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"latents": latents}, file.with_suffix(".tmp"))
        os.replace(file.with_suffix(".tmp"), file)
    return chosen, latents


class DenoiserTraining:
    """The state of one training run; `run` advances it, and it can be saved and continued."""

    def __init__(
        self,
        world: World,
        vae: AutoencoderKL,
        out: Path,
        *,
        steps: int,
        reading_steps: int,
        batch: int,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self._world, self._vae, self._out = world, vae, out
        self._steps, self._batch, self._seed = steps, batch, seed
        self._tokenizer = build_tokenizer()
        self._captioner = Captioner(load_grammar())
        self._scheduler = new_scheduler()
        text_encoder = new_text_encoder(self._tokenizer)
        self._models = torch.nn.ModuleDict({"unet": new_denoiser(), "text": text_encoder})
        if not (out / "state.safetensors").exists():
            teach_reading(text_encoder, self._tokenizer, self._captioner, world, steps=reading_steps, seed=seed)
        self._ema = EMAModel(self._models.parameters(), decay=0.999)
        self._optimiser = torch.optim.AdamW(
            self._models.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=1e-2
        )
        self._step = load_state(out / "state", self._models, self._ema, self._optimiser)

    def run(self, pictures: int) -> None:
        """Train to the last step; every 500 steps the state is saved, and at the end the pipeline."""
        data, latents = cache_latents(self._world, self._vae, pictures, self._seed, self._out / "latents.safetensors")
        with Progress("denoiser", self._steps, quantity="samples", batch=self._batch, done=self._step) as progress:
            while self._step < self._steps:
                progress.advance(loss=self._advance(data, latents))
                if self._step % 500 == 0:
                    save_state(self._out / "state", self._models, self._ema, self._optimiser, self._step)
                    self.save()
        self.save()

    def _advance(self, data: list[Plan], latents: torch.Tensor) -> float:
        # Each step has its own streams, so that a continued run takes the same steps as one that never stopped.
        rng = np.random.default_rng([self._seed, 3, self._step])
        torch_rng = torch.Generator().manual_seed(self._seed * 1_000_003 + self._step)
        rows = rng.integers(0, len(data), self._batch)
        captions = ["" if rng.random() < CAPTION_DROPOUT else self._captioner.caption(data[row], rng) for row in rows]
        tokens = self._tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clean = latents[torch.from_numpy(rows)].float()
        noise = torch.randn(clean.shape, generator=torch_rng)
        timesteps = torch.randint(0, 1000, (self._batch,), generator=torch_rng)
        scheduler: Any = self._scheduler  # its annotations ask for tensor classes that no tensor has
        noisy = scheduler.add_noise(clean, noise, timesteps)
        with torch.autocast("cpu", torch.bfloat16):
            context = self._models["text"](tokens).last_hidden_state
            predicted = self._models["unet"](noisy, timesteps, encoder_hidden_states=context).sample
        snr = compute_snr(self._scheduler, timesteps)
        weight = snr.clamp(max=MIN_SNR) / snr
        squares = (predicted.float() - noise).square().mean(dim=(1, 2, 3))
        self._learn((weight * squares).mean())
        return squares.mean().item()

    def _learn(self, loss: torch.Tensor) -> None:
        progress = self._step / self._steps
        rate = LEARNING_RATE * min(1.0, (self._step + 1) / WARM_UP) * (1 - progress)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._models.parameters(), 1.0)
        self._optimiser.step()
        self._ema.step(self._models.parameters())
        self._step += 1

    def save(self) -> None:
        """Write the pipeline with the averaged weights in the standard diffusers layout."""
        self._ema.store(self._models.parameters())
        self._ema.copy_to(self._models.parameters())
        parts: dict[str, Any] = {
            "vae": self._vae,
            "text_encoder": self._models["text"],
            "tokenizer": self._tokenizer,
            "unet": self._models["unet"],
            "scheduler": self._scheduler,
            "safety_checker": None,
            "feature_extractor": None,
        }
        pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
        pipeline.save_pretrained(self._out / "pipeline")
        self._ema.restore(self._models.parameters())
