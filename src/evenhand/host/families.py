"""What differs between pipelines, in one table.

A family says where the denoiser is, how the pipeline does classifier-free guidance, and how much fits in one batch.
Everything else is read from the pipeline object itself: the prediction type from its scheduler's configuration, the
image size from its denoiser's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline

from evenhand.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row of the table.

    Attributes:
        name: short name, as in cards.
        pipelines: names of the pipeline classes; empty for a fallback by mechanism.
        linear_projection: tells SD 2.x from SD 1.x, which share their pipeline classes; None where it says nothing.
        denoiser: name of the component that is called once per step.
        batched_guidance: True where one call gets the rows [unconditional; conditional], False where each has its own.
        bottleneck: path of the middle module inside the denoiser, None where there is none.
        pooled: True where the denoiser also gets pooled text embeddings.
        latent_channels: channels of the latents, None where only the model itself knows.
        float32_text: text encoders and latents stay in float32 when the denoiser runs in a half type. Not for families
            whose text encoders are larger than their denoisers.
        float16_vae: False where the VAE overflows in float16 and so stays in float32 there.
        text_inputs: (input of the denoiser, position in what the pipeline's `encode_prompt` returns) of a text; a
            dotted name is an entry of a nested input.
        tokenizer: name of the one whose tokens `encoder_hidden_states` begins with, one place for each.
        timesteps_per_unit: training timesteps for 1 in the timestep that the denoiser is given.
        cpu_latent_pixels: latent pixels (height x width x images) of one batch that saturate a CPU.
        cuda_latent_pixels: the same for a GPU.
    """

    name: str
    pipelines: frozenset[str]
    linear_projection: bool | None = None
    denoiser: Literal["unet", "transformer"]
    batched_guidance: bool
    bottleneck: str | None
    pooled: bool
    latent_channels: int | None
    float32_text: bool
    float16_vae: bool = True
    text_inputs: tuple[tuple[str, int], ...] = (("encoder_hidden_states", 0),)
    tokenizer: str = "tokenizer"
    timesteps_per_unit: float = 1.0
    cpu_latent_pixels: int = 48 * 16 * 16
    cuda_latent_pixels: int


def _variants(stem: str) -> frozenset[str]:
    """The pipeline classes of a family that share the mechanism of `stem`."""
    kinds = ("", "Img2Img", "Inpaint", "ControlNet", "ControlNetImg2Img", "ControlNetInpaint")
    return frozenset(f"{stem}{kind}Pipeline" for kind in kinds)


FAMILIES: tuple[Family, ...] = (
    Family(
        name="sd1",
        pipelines=_variants("StableDiffusion"),
        linear_projection=False,
        denoiser="unet",
        batched_guidance=True,
        bottleneck="mid_block",
        pooled=False,
        latent_channels=4,
        float32_text=True,
        cuda_latent_pixels=32 * 64 * 64,
    ),
    Family(
        name="sd2",
        pipelines=_variants("StableDiffusion"),
        linear_projection=True,
        denoiser="unet",
        batched_guidance=True,
        bottleneck="mid_block",
        pooled=False,
        latent_channels=4,
        float32_text=True,
        cuda_latent_pixels=16 * 96 * 96,
    ),
    Family(
        name="sdxl",
        pipelines=_variants("StableDiffusionXL"),
        denoiser="unet",
        batched_guidance=True,
        bottleneck="mid_block",
        pooled=True,
        latent_channels=4,
        float32_text=True,
        float16_vae=False,
        text_inputs=(("encoder_hidden_states", 0), ("added_cond_kwargs.text_embeds", 2)),
        cuda_latent_pixels=16 * 128 * 128,
    ),
    Family(
        name="sd3",
        pipelines=frozenset(
            f"StableDiffusion3{kind}Pipeline"
            for kind in ("", "Img2Img", "Inpaint", "ControlNet", "ControlNetInpainting")
        ),
        denoiser="transformer",
        batched_guidance=True,
        bottleneck=None,
        pooled=True,
        latent_channels=16,
        float32_text=False,
        text_inputs=(("encoder_hidden_states", 0), ("pooled_projections", 2)),
        cuda_latent_pixels=8 * 128 * 128,
    ),
    Family(
        name="flux",
        pipelines=_variants("Flux"),
        denoiser="transformer",
        batched_guidance=False,
        bottleneck=None,
        pooled=True,
        latent_channels=16,
        float32_text=False,
        text_inputs=(("encoder_hidden_states", 0), ("pooled_projections", 1), ("txt_ids", 2)),
        tokenizer="tokenizer_2",  # the first encoder gives the pooled embedding alone
        timesteps_per_unit=1000.0,
        cuda_latent_pixels=4 * 128 * 128,
    ),
)

FALLBACKS: tuple[Family, ...] = (
    Family(
        name="unet",
        pipelines=frozenset(),
        denoiser="unet",
        batched_guidance=True,
        bottleneck="mid_block",
        pooled=False,
        latent_channels=None,
        float32_text=False,
        cuda_latent_pixels=8 * 64 * 64,
    ),
    Family(
        name="transformer",
        pipelines=frozenset(),
        denoiser="transformer",
        batched_guidance=True,
        bottleneck=None,
        pooled=False,
        latent_channels=None,
        float32_text=False,
        cuda_latent_pixels=4 * 128 * 128,
    ),
)


def detect_family(pipe: DiffusionPipeline) -> Family:
    """The row of a pipeline: by its class, else by what it has (`unet` or `transformer`).

    Raises:
        ModelError: the pipeline has no denoiser that Evenhand can find.
    """
    components = pipe.components
    name = type(pipe).__name__
    for family in FAMILIES:
        if name in family.pipelines and family.linear_projection in (None, _linear_projection(components)):
            return family
    for family in FALLBACKS:
        if components.get(family.denoiser) is not None:
            return family
    raise ModelError(
        f"pipeline {name} has neither a unet nor a transformer, only {', '.join(sorted(components))}; "
        "Evenhand needs a text-to-image diffusion pipeline"
    )


def family_of_class(name: str) -> Family | None:
    """The first row that lists a pipeline class, before any weights are read; None for the fallbacks."""
    return next((family for family in FAMILIES if name in family.pipelines), None)


def denoiser_of(pipe: DiffusionPipeline, family: Family) -> torch.nn.Module:
    """The module that predicts noise, velocity or flow."""
    return pipe.components[family.denoiser]


def prediction_type(pipe: DiffusionPipeline) -> str:
    """ "epsilon", "v_prediction", "sample", or "flow", as the scheduler's configuration says."""
    scheduler = pipe.components["scheduler"]
    if "FlowMatch" in type(scheduler).__name__ or scheduler.config.get("use_flow_sigmas", False):
        return "flow"
    return scheduler.config.get("prediction_type", "epsilon")


def _linear_projection(components: dict[str, Any]) -> bool:
    """SD 2.x projects with linear layers around its attention, SD 1.x with 1x1 convolutions."""
    unet = components.get("unet")
    return unet is not None and bool(unet.config.get("use_linear_projection", False))
