"""Runs of a pipeline inside one of its own calls: other noises are tried before the images are made.

A run goes through the pipeline's own loop, for some of the images of the call, a share of the steps far; the pipeline
is stopped by its own `interrupt`. Scheduler and noise preparation of the call that waits are left as they were. A
reading of the denoiser's predictions may go along.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.errors import InputError, ModelError
from evenhand.host.carrier import Carrier
from evenhand.host.sites import Call, PredictionEffect, Site
from evenhand.host.undo import Undo

_OWN = ("num_images_per_prompt", "callback_on_step_end", "callback_on_step_end_tensor_inputs", "callback_steps")
_OTHER_INPUTS = ("prompt_2", "prompt_3", "prompt_embeds", "image", "ip_adapter_image", "ip_adapter_image_embeds")


class Rehearsal:
    """Tries noises for the images of one call.

    Args:
        pipe: the pipeline.
        arguments: of the call.
        call: what was asked for.
        prepare: the pipeline's own `prepare_latents`.
        carry: makes a `Carrier` for a call and its effects.

    Raises:
        InputError: images of this call are made from more than a prompt and a negative prompt.
        ModelError: the pipeline cannot be interrupted.
    """

    def __init__(
        self,
        pipe: Any,
        arguments: Mapping[str, Any],
        call: Call,
        *,
        prepare: Callable[..., Any],
        carry: Callable[[Call, Mapping[Site, Sequence[Any]]], Carrier],
    ) -> None:
        given = [name for name in _OTHER_INPUTS if arguments.get(name) is not None]
        if call.prompts is None or given:
            raise InputError(
                f"trying other noises needs prompts alone, and {given[0] if given else 'prompt_embeds'} is given; "
                "leave it out"
            )
        if "interrupt" not in dir(type(pipe)):
            raise ModelError(f"{type(pipe).__name__} cannot be interrupted, so other noises cannot be tried with it")
        self._pipe, self._prepare, self._carry = pipe, prepare, carry
        self._prompts = call.prompts
        self._negatives = _per_image(arguments.get("negative_prompt"), call.images)
        dropped = {*_OWN, "generator", "latents", "prompt", "negative_prompt"}
        self._arguments = {name: value for name, value in arguments.items() if name not in dropped}

    def prompts(self, rows: Sequence[int]) -> list[str]:
        """The prompts of some images."""
        return [self._prompts[row] for row in rows]

    def __call__(
        self, rows: Sequence[int], noise: torch.Tensor, share: float, reading: PredictionEffect | None = None
    ) -> torch.Tensor:
        """Latents of some images after a share of the steps.

        Args:
            rows: numbers of images of the call.
            noise: of unit variance, one for each.
            share: of the steps, 1 for all; one step or more is made.
            reading: sees what the denoiser predicts on the way; of as many images as there are rows.
        """
        arguments = {
            **self._arguments,
            "prompt": self.prompts(rows),
            "latents": noise,
            "generator": [torch.Generator("cpu").manual_seed(seed_of(one)) for one in noise],
            "callback_on_step_end": _stop_after(share),
            "output_type": "latent",
            "return_dict": False,
        }
        if self._negatives is not None:
            arguments["negative_prompt"] = [self._negatives[row] for row in rows]
        with Undo() as undo:
            undo.replace(self._pipe, "prepare_latents", self._prepare)
            undo.replace(self._pipe, "scheduler", copy.deepcopy(self._pipe.scheduler))
            undo.replace(self._pipe, "_progress_bar_config", {"disable": True})
            if reading is not None:
                inner = Call(prompts=tuple(arguments["prompt"]), images=len(rows))
                self._carry(inner, {"prediction": [reading]}).install(undo)
            (latents, *_) = self._pipe(**arguments)
            self._pipe._interrupt = False
        return latents


def seed_of(noise: torch.Tensor, number: int = 0) -> int:
    """A seed that one image's noise decides, and a number: 63 bits of SHA-256."""
    data = noise.detach().float().cpu().contiguous().numpy().tobytes() + number.to_bytes(8, "big")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def _stop_after(share: float) -> Callable[..., dict[str, Any]]:
    """A callback that interrupts the pipeline."""

    def callback(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if share < 1 and index + 1 >= max(1, round(share * pipe.num_timesteps)):
            pipe._interrupt = True
        return {}

    return callback


def _per_image(negative: str | Sequence[str] | None, images: int) -> list[str] | None:
    if negative is None or isinstance(negative, str):
        return None if negative is None else [negative] * images
    return [one for one in negative for _ in range(images // len(negative))]
