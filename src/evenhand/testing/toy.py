"""A real diffusers pipeline whose denoiser is the closed-form optimum of a few labelled pictures.

Each prompt has a distribution over the pictures. The denoiser that is optimal for such a finite set is known: the
posterior mean of the clean picture given the noisy one. So the share of every picture among many samples is known
before anything is sampled, and so is what an intervention does to it:

- the middle block holds the logarithms of a prompt's shares, so a vector c added there turns the shares p into
  p exp(c) / sum(p exp(c));
- its only linear layer, `to_k`, takes them in; it is the identity, so a change M of its weight turns log p into
  (1 + M) log p;
- other sites act through the same posterior.

It samples in milliseconds and needs no weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from diffusers.configuration_utils import FrozenDict
from diffusers.utils.torch_utils import randn_tensor

from evenhand.concepts.wordings import plain_caption
from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.records import Settings

SIDE, CHANNELS = 4, 4


@dataclasses.dataclass(frozen=True)
class ToyWorld:
    """What the toy model shows.

    Args:
        classes: one picture each.
        prompts: prompt -> share of each class, summing to 1. "" is what classifier-free guidance compares with; any
            other prompt that is not listed is an error.
    """

    classes: tuple[str, ...] = ("female", "male")
    prompts: Mapping[str, Sequence[float]] = dataclasses.field(
        default_factory=lambda: {
            "": (0.5, 0.5),
            "a nurse": (0.8, 0.2),
            "a mechanic": (0.2, 0.8),
            "a female person": (0.99, 0.01),
            "a male person": (0.01, 0.99),
        }
    )

    def pictures(self) -> torch.Tensor:
        """Orthogonal patterns of +1 and -1, (classes, channels, side, side)."""
        rng = torch.Generator().manual_seed(0)
        size = CHANNELS * SIDE * SIDE
        basis = torch.linalg.qr(torch.randn(size, len(self.classes), generator=rng, dtype=torch.float64))[0]
        return (basis.T * math.sqrt(size)).float().view(-1, CHANNELS, SIDE, SIDE)

    def shifted(self, prompt: str, vector: Sequence[float]) -> tuple[float, ...]:
        """The shares of a prompt after a vector is added at the middle block, in closed form."""
        weights = [share * math.exp(c) for share, c in zip(self.prompts[prompt], vector, strict=True)]
        return tuple(weight / sum(weights) for weight in weights)


class _Middle(torch.nn.Module):
    """The middle block: it passes the logarithms of the shares on, (rows, classes, 1, 1)."""

    def forward(self, shares: torch.Tensor) -> torch.Tensor:
        return shares * 1.0


class ToyDenoiser(torch.nn.Module):
    """The posterior mean of a finite set, as a prediction of noise."""

    def __init__(self, pictures: torch.Tensor, alphas_cumprod: torch.Tensor) -> None:
        super().__init__()
        self.pictures = torch.nn.Parameter(pictures)
        self.alphas_cumprod = torch.nn.Parameter(alphas_cumprod, requires_grad=False)
        self.mid_block = _Middle()
        self.to_k = torch.nn.Linear(len(pictures), len(pictures), bias=False)
        self.to_k.weight.data = torch.eye(len(pictures))
        self.config = FrozenDict(sample_size=SIDE, in_channels=CHANNELS)

    @property
    def device(self) -> torch.device:
        """Where the pictures lie; a pipeline asks its parts."""
        return self.pictures.device

    def forward(
        self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, return_dict: bool = True
    ) -> Any:
        """Logarithms of shares, (rows, 1, classes), stand in for embedded text."""
        times = torch.as_tensor(timestep).long().expand(len(sample))
        signal = self.alphas_cumprod[times].to(sample)[:, None]
        prior = self.mid_block(self.to_k(encoder_hidden_states[:, 0])[:, :, None, None])[:, :, 0, 0]
        points = signal[:, :, None].sqrt() * self.pictures.flatten(1)  # (rows, classes, values)
        distance = (sample.flatten(1)[:, None] - points).square().sum(dim=2)
        posterior = torch.softmax(prior - distance / (2 * (1 - signal)), dim=1)
        clean = (posterior @ self.pictures.flatten(1)).view_as(sample)
        level = signal[:, :, None, None]
        noise = (sample - level.sqrt() * clean) / (1 - level).sqrt()
        return SimpleNamespace(sample=noise) if return_dict else (noise,)


class ToyPipeline(DiffusionPipeline):
    """Prompt in, latents or pictures out, with the arguments and the loop of a Stable Diffusion pipeline."""

    def __init__(self, unet: ToyDenoiser, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.world = ToyWorld()
        self._guidance_scale, self._num_timesteps, self._interrupt = 1.0, 0, False

    @property
    def guidance_scale(self) -> float:
        """Scale of classifier-free guidance in the present call."""
        return self._guidance_scale

    @property
    def interrupt(self) -> bool:
        """Whether the steps that are left are passed over."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """Steps of the present call."""
        return self._num_timesteps

    def encode_prompt(
        self,
        prompt: str | list[str],
        device: Any = None,
        num_images_per_prompt: int = 1,
        do_classifier_free_guidance: bool = False,
        negative_prompt: str | list[str] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The logarithms of the shares, (rows, 1, classes), and those of the negative prompt with guidance."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        embedded = self._embed(prompts, num_images_per_prompt)
        if not do_classifier_free_guidance:
            return embedded, None
        if negative_prompt is None or isinstance(negative_prompt, str):
            negative_prompt = [negative_prompt or ""] * len(prompts)
        return embedded, self._embed(negative_prompt, num_images_per_prompt)

    def prepare_latents(self, images: int, generator: Any, latents: torch.Tensor | None) -> torch.Tensor:
        """Standard normal noise, one generator per image or one for all."""
        if latents is None:
            latents = randn_tensor((images, CHANNELS, SIDE, SIDE), generator=generator)
        return latents * self.scheduler.init_noise_sigma

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        num_inference_steps: int = 30,
        guidance_scale: float = 1.0,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: Any = None,
        latents: torch.Tensor | None = None,
        output_type: str = "latent",
        return_dict: bool = True,
        callback_on_step_end: Any = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Any:
        """Sample by DDIM; the arguments mean what they mean in Stable Diffusion."""
        self._guidance_scale, self._interrupt = guidance_scale, False
        guided = guidance_scale > 1
        embedded, negative = self.encode_prompt(prompt, None, num_images_per_prompt, guided, negative_prompt)
        noisy = self.prepare_latents(len(embedded), generator, latents)
        self.scheduler.set_timesteps(num_inference_steps)
        self._num_timesteps = len(self.scheduler.timesteps)
        text = embedded if negative is None else torch.cat([negative, embedded])
        for index, time in enumerate(self.scheduler.timesteps):
            if self.interrupt:
                continue
            rows = torch.cat([noisy] * 2) if guided else noisy
            noise = self.unet(rows, time, encoder_hidden_states=text, return_dict=False)[0]
            if guided:
                unconditional, conditional = noise.chunk(2)
                noise = unconditional + guidance_scale * (conditional - unconditional)
            noisy = self.scheduler.step(noise, time, noisy, return_dict=False)[0]
            if callback_on_step_end is not None:
                noisy = callback_on_step_end(self, index, time, {"latents": noisy}).pop("latents", noisy)
        images = noisy if output_type == "latent" else (noisy[:, :3] / 4 + 0.5).clamp(0, 1)
        return SimpleNamespace(images=images) if return_dict else (images,)

    def _embed(self, prompts: Sequence[str], copies: int) -> torch.Tensor:
        said = [_plainly(prompt, self.world) for prompt in prompts]
        unknown = [prompt for prompt in said if prompt not in self.world.prompts]
        if unknown:
            raise InputError(f"the toy does not know {unknown[0]!r}; it knows {', '.join(self.world.prompts)}")
        rows = torch.tensor([self.world.prompts[prompt] for prompt in said for _ in range(copies)])
        return rows.log()[:, None]


def _plainly(prompt: str, world: ToyWorld) -> str:
    """A prompt that the world knows in other words around its subject, in the world's words."""
    plain = plain_caption(prompt)
    return plain if prompt not in world.prompts and plain in world.prompts else prompt


def toy_host(world: ToyWorld | None = None) -> Host:
    """A host of the toy pipeline, with 30 steps and without guidance by default."""
    world = world or ToyWorld()
    # this schedule ends in almost pure noise, so that the noise that one starts from decides no class by itself
    scheduler = DDIMScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=False,
        timestep_spacing="trailing",
    )
    pipe = ToyPipeline(ToyDenoiser(world.pictures(), scheduler.alphas_cumprod), scheduler)
    pipe.world = world
    pipe.set_progress_bar_config(disable=True)
    return Host.wrap(pipe, name="toy", defaults=Settings(steps=30, guidance=1.0))


def shares_of(latents: torch.Tensor, world: ToyWorld) -> np.ndarray:
    """The share of each class among final latents: each counts for the picture that it is nearest to."""
    likeness = latents.flatten(1) @ world.pictures().flatten(1).T
    return np.bincount(likeness.argmax(dim=1).numpy(), minlength=len(world.classes)) / len(latents)
