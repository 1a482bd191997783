"""One .safetensors file that holds a whole SD 1.x, SD 2.x or SDXL model in its original layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import SafetensorError, safe_open

from evenhand.errors import ModelError
from evenhand.host.directory import INDEX_NAME


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one kind of checkpoint is recognised: by a prefix that only its text encoder has.

    `base` is the Hub repository whose configuration files belong to it.
    """

    text_prefix: str
    pipeline: type[DiffusionPipeline]
    base: str


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        text_prefix="conditioner.embedders.1.model.",
        pipeline=StableDiffusionXLPipeline,
        base="stabilityai/stable-diffusion-xl-base-1.0",
    ),
    Layout(
        text_prefix="cond_stage_model.model.",
        pipeline=StableDiffusionPipeline,
        base="stabilityai/stable-diffusion-2-1",
    ),
    Layout(
        text_prefix="cond_stage_model.transformer.",
        pipeline=StableDiffusionPipeline,
        base="stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
)

_PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_DENOISER_PREFIX = "model.diffusion_model."


def check_suffix(path: Path) -> None:
    """Only .safetensors is read.

    Raises:
        ModelError: a pickle, or another kind of file.
    """
    if path.suffix in _PICKLED:
        raise ModelError(
            f"model file {str(path)!r} is a pickle ({path.suffix}), which can run code when it is read; "
            "convert it to .safetensors"
        )
    if path.suffix != ".safetensors":
        raise ModelError(f"model file {str(path)!r} ends in {path.suffix or 'nothing'}, expected .safetensors")


def detect_layout(path: Path) -> Layout:
    """The layout of a file, from the names in its header; no weights are read.

    Raises:
        ModelError: damaged, a LoRA, only a denoiser, or a model of another family.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"model file {str(path)!r} is damaged or not safetensors ({error}); fetch it again") from None
    denoiser = any(name.startswith(_DENOISER_PREFIX) for name in names)
    for layout in LAYOUTS:
        if denoiser and any(name.startswith(layout.text_prefix) for name in names):
            return layout
    if any("lora" in name for name in names):
        raise ModelError(f"model file {str(path)!r} is a LoRA, not a whole model; give the model, and this with --lora")
    reason = (
        "holds a denoiser without its text encoder" if denoiser else f"has names such as {min(names, default='none')!r}"
    )
    raise ModelError(
        f"model file {str(path)!r} {reason}; expected a whole SD 1.x, SD 2.x or SDXL checkpoint, "
        "or give a diffusers directory"
    )


def config_directory(path: Path) -> Path | None:
    """The folder with the name of the file, without its suffix, where it holds a pipeline's configuration.

    It stands in for the base model on the Hub, so that a file can be loaded offline, and is the place to say what the
    weights cannot: an SD 2 file trained for epsilon looks like one trained for v-prediction, which is assumed.
    """
    directory = path.with_suffix("")
    return directory if (directory / INDEX_NAME).is_file() else None
