"""Joint training of the denoiser and its text encoder on cached latents."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from evenhand.host.dtype import autocast

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
TEXT_LEARNING_RATE = 4e-4  # the text encoder can read already; faster, it would forget what is not used yet
WARM_UP = 200
CAPTION_DROPOUT = 0.1
NOISY_SHARE = 0.5  # of the examples are drawn from the noisier half of the timesteps only ...
# Of the last steps' examples, those with a context (True) and others: shares from the noisier half, where the spread of
# gender, skin and wealth is decided, and from the middle, where small things (a weapon) are. Both are learned last.
SETTLING_NOISY_SHARE = {True: 0.2, False: 0.6}
SETTLING_MIDDLE_SHARE = {True: 0.65, False: 0.25}
SETTLING_HOUSE_SHARE = 0.3  # of the last steps' examples; a house has little to learn but its wealth, late as the above
OPENING_BETA_END = 0.012  # the schedule of all but the last steps; settling on the final one takes a fifth of them
SETTLING_FACTOR = 0.4  # of the learning rates, falling to 0
TEXT_WIDTH = 128


def new_scheduler(beta_end: float = 0.02) -> DDIMScheduler:
    """A scaled-linear noise schedule, sampled by DDIM from the last timestep on.

    Stable Diffusion 1.x ends at a beta of .012, with a signal-to-noise ratio of .0047. Pictures as small as these can
    show there what they will be: the latents of a grand and a modest house, 19 apart, differ by 1.3 standard
    deviations of the noise. Sampling starts from noise that knows nothing of the prompt, so neutral shares would be
    pulled together (Lin et al. 2023, arXiv:2305.08891). At .02 that ratio is .0002.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=beta_end,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
        # Velocity weighs an error in the clean latents alike at every noise level. Noise prediction weighs it by
        # the signal-to-noise ratio, so what is decided while there is mostly noise (a tone of skin, a badge, the
        # wealth of a house) would be learned last.
        prediction_type="v_prediction",
    )


def draw_timesteps(noisy: torch.Tensor, middle: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Training timesteps, one per example.

    Args:
        noisy: (examples,), chance that it comes from the schedule's noisier half.
        middle: (examples,), chance that it comes from its middle; else it comes from anywhere.
        rng: of the draws.
    """
    count = len(noisy)
    kind = torch.rand(count, generator=rng)
    from_noisy, anywhere, from_middle = (
        torch.randint(low, high, (count,), generator=rng) for low, high in ((500, 1000), (0, 1000), (200, 700))
    )
    return torch.where(kind < noisy, from_noisy, torch.where(kind >= 1 - middle, from_middle, anywhere))


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


def decay(progress: float) -> float:
    """Factor on the learning rates: a slow linear fall, and over the last quarter of the training down to 0."""
    return min(1 - progress / 1.5, 2 * (1 - progress))


class DenoiserTraining:
    """The state of one training run; `run` advances it, and it can be saved and continued."""

    def __init__(
        self,
        world: World,
        vae: AutoencoderKL,
        out: Path,
        *,
        steps: int,
        settling: int,
        reading_steps: int,
        batch: int,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self._world, self._vae, self._out = world, vae, out
        self._opening, self._steps, self._batch, self._seed = steps, steps + settling, batch, seed
        self._tokenizer = build_tokenizer()
        self._captioner = Captioner(load_grammar())
        self._scheduler = new_scheduler()
        self._opening_scheduler = new_scheduler(OPENING_BETA_END)
        text_encoder = new_text_encoder(self._tokenizer)
        self._models = torch.nn.ModuleDict({"unet": new_denoiser(), "text": text_encoder})
        if not (out / "state.safetensors").exists():
            teach_reading(text_encoder, self._tokenizer, self._captioner, world, steps=reading_steps, seed=seed)
        self._ema = EMAModel(self._models.parameters(), decay=0.999, foreach=True)
        groups = [
            {"params": list(self._models[name].parameters()), "top": top}
            for name, top in (("unet", LEARNING_RATE), ("text", TEXT_LEARNING_RATE))
        ]
        self._optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=1e-2, fused=True)
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
        opening = self._step < self._opening
        rows = self._rows(data, rng, opening)
        captions = ["" if rng.random() < CAPTION_DROPOUT else self._captioner.caption(data[row], rng) for row in rows]
        tokens = self._tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        clean = latents[torch.from_numpy(rows)].float()
        noise = torch.randn(clean.shape, generator=torch_rng)
        timesteps = draw_timesteps(*self._shares([data[row] for row in rows], opening), torch_rng)
        # Any, since its annotations ask for tensor classes that no tensor has
        scheduler: Any = self._opening_scheduler if opening else self._scheduler
        noisy = scheduler.add_noise(clean, noise, timesteps)
        velocity = scheduler.get_velocity(clean, noise, timesteps)
        with autocast(torch.device("cpu")):
            context = self._models["text"](tokens).last_hidden_state
            predicted = self._models["unet"](noisy, timesteps, encoder_hidden_states=context).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), velocity)
        self._learn(loss)
        return loss.item()

    def _rows(self, data: Sequence[Plan], rng: np.random.Generator, opening: bool) -> np.ndarray:
        """Numbers of a step's examples; while settling a wanted share of them are houses."""
        rows = rng.integers(0, len(data), self._batch)
        if opening:
            return rows
        is_house = np.array([plan.what.kind == "house" for plan in data])
        wanted = rng.random(self._batch) < SETTLING_HOUSE_SHARE
        for house in (True, False):
            own = np.flatnonzero(is_house == house)
            if len(own):
                chosen = own[rng.integers(0, len(own), self._batch)]
                rows = np.where(wanted == house, chosen, rows)
        return rows

    def _shares(self, plans: Sequence[Plan], opening: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Per example the chances of a noisy and of a middle timestep."""
        if opening:
            return torch.full((len(plans),), NOISY_SHARE), torch.zeros(len(plans))
        in_context = [plan.what.scene in self._world.unsafe for plan in plans]
        noisy, middle = ([table[one] for one in in_context] for table in (SETTLING_NOISY_SHARE, SETTLING_MIDDLE_SHARE))
        return torch.tensor(noisy), torch.tensor(middle)

    def _learn(self, loss: torch.Tensor) -> None:
        if self._step < self._opening:
            factor = min(1.0, (self._step + 1) / WARM_UP) * decay(self._step / self._opening)
        else:
            factor = SETTLING_FACTOR * (self._steps - self._step) / (self._steps - self._opening)
        for group in self._optimiser.param_groups:
            group["lr"] = group["top"] * factor
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
