"""Schedulers by the names that people type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import diffusers

from evenhand.errors import InputError
from evenhand.host.quiet import without_deprecations

SCHEDULERS: Mapping[str, str] = MappingProxyType(
    {
        "ddim": "DDIMScheduler",
        "ddpm": "DDPMScheduler",
        "dpm": "DPMSolverMultistepScheduler",
        "dpm++": "DPMSolverMultistepScheduler",
        "euler": "EulerDiscreteScheduler",
        "euler_a": "EulerAncestralDiscreteScheduler",
        "heun": "HeunDiscreteScheduler",
        "pndm": "PNDMScheduler",
        "unipc": "UniPCMultistepScheduler",
    }
)


def make_scheduler(name: str, current: Any) -> Any:
    """A scheduler by name, with the noise schedule and prediction type of `current`.

    Args:
        name: a key of `SCHEDULERS`.
        current: the scheduler that the model came with.

    Raises:
        InputError: an unknown name, or a flow-matching model, whose noise schedule the others cannot follow.
    """
    if name not in SCHEDULERS:
        raise InputError(f"scheduler {name!r} is not known; expected one of {', '.join(SCHEDULERS)}")
    if "FlowMatch" in type(current).__name__:
        raise InputError(
            f"scheduler {name!r} is given, but this model needs its own {type(current).__name__}; leave --scheduler out"
        )
    # as Stable Diffusion ships it: without the warm-up steps that call the model several times each
    extra = {"skip_prk_steps": True} if name == "pndm" else {}
    with without_deprecations():
        return getattr(diffusers, SCHEDULERS[name]).from_config(current.config, **extra)
