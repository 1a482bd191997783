"""Which numbers a model runs in, and the thin cast that keeps the latents exact.

In a half type only the denoiser and the VAE run in it. Text encoders, latents, guidance and the scheduler stay in
float32, so that the rounding of one step is not carried into the next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import DiffusionPipeline

from evenhand.errors import InputError
from evenhand.host.families import Family, denoiser_of

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def resolve_device(name: str) -> torch.device:
    """The device of "auto" (the first GPU where there is one), "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: not a device name, or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    expected = "expected auto, cpu, cuda or cuda:K"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is not known; {expected}") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not supported; {expected}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {name!r} is not there, PyTorch sees {torch.cuda.device_count()} GPUs; use --device cpu"
        )
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number type of "auto", "float32", "bfloat16" or "float16" on a device.

    `auto` is bfloat16 where the processor multiplies it in hardware (on a CPU: it reports amx_bf16 or avx512_bf16),
    float16 on an older GPU, else float32.

    Raises:
        InputError: an unknown name, or float16 on a CPU.
    """
    if name == "auto":
        return _auto(device)
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not known; expected auto, {', '.join(DTYPES)}")
    if name == "float16" and device.type == "cpu":
        raise InputError("dtype float16 is given, but a CPU computes in float32 or bfloat16; use --dtype auto")
    return DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """The name as on the command line, e.g. "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def cpu_multiplies_bfloat16() -> bool:
    """True where the CPU has bfloat16 matrix instructions; without them bfloat16 is emulated and slower."""
    features = torch.cpu.get_capabilities()
    return bool(features.get("amx_bf16", False) or features.get("avx512_bf16", False))


def cpu_has_amx() -> bool:
    """True where the CPU multiplies tiles of bfloat16."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def autocast(device: torch.device) -> torch.autocast:
    """Computing in the type that `auto` stands for on a device over float32 weights; off where that is float32.

    Emulated, bfloat16 is some twenty times slower than float32.
    """
    half = _auto(device)
    on = half != torch.float32
    return torch.autocast(device.type, half if on else torch.bfloat16, enabled=on)


def load_dtypes(family: Family | None, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Component name -> number type, in the form that `from_pretrained(dtype=...)` takes."""
    if family is None or not family.float32_text:
        return {"default": dtype}
    vae = torch.float32 if dtype == torch.float16 and not family.float16_vae else dtype
    return {family.denoiser: dtype, "vae": vae, "default": torch.float32}


def install_casts(pipe: DiffusionPipeline, family: Family) -> None:
    """Let a pipeline whose denoiser and VAE are in a half type take and give float32.

    The wrappers stay for the life of the pipeline: without them its parts would not fit together. A pipeline of one
    type is left alone.
    """
    denoiser = denoiser_of(pipe, family)
    text = pipe.components.get("text_encoder")
    if text is None or text.dtype == next(denoiser.parameters()).dtype:
        return
    denoiser.forward = _casting(denoiser.forward, denoiser)
    vae = pipe.components["vae"]
    vae.decode = _casting(vae.decode, vae)
    vae.encode = _casting(vae.encode, vae, back=False)


def map_output(output: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same model output, tuple or record, with `function` applied to its tensor."""
    if isinstance(output, tuple):
        return (function(output[0]), *output[1:])
    output.sample = function(output.sample)
    return output


def _auto(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32


def _casting(function: Callable[..., Any], module: torch.nn.Module, *, back: bool = True) -> Callable[..., Any]:
    """`function` with its inputs cast to the module's type, and its tensor back to float32."""

    @functools.wraps(function)
    def cast(*args: Any, **kwargs: Any) -> Any:
        # read at every call, since a user may move the module to another type
        dtype = next(module.parameters()).dtype
        output = function(*(_cast("", value, dtype) for value in args), **_cast("", kwargs, dtype))
        return map_output(output, torch.Tensor.float) if back else output

    return cast


def _cast(name: str, value: Any, dtype: torch.dtype) -> Any:
    """Cast features, not coordinates: timesteps (0-d or 1-d) and ids of positions would lose digits."""
    if isinstance(value, dict):
        return {key: _cast(key, item, dtype) for key, item in value.items()}
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1 and not name.endswith("_ids"):
        return value.to(dtype)
    return value
