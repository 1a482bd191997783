"""Images as a differentiable function of the noise that they start from, for fitting: nothing of the model learns.

The pipeline's own loop runs, with its own scheduler and guidance; diffusers switches gradients off around it, and that
is left out here. Every call of the denoiser is computed again when it is differentiated (checkpointing, Chen et al.
2016, arXiv:1604.06174), so that memory does not grow with the steps.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from evenhand.errors import ModelError
from evenhand.host.host import Host
from evenhand.host.quiet import without_deprecations
from evenhand.host.runs import frozen
from evenhand.host.undo import Undo

Objective = Callable[[torch.Tensor], torch.Tensor]
"""From images (n, 3, height, width), values 0 to 1, to one number for each."""
Embed = Callable[[torch.Tensor], torch.Tensor]
"""From embedded prompts (n, tokens, width) to those that the denoiser is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slopes:
    """What an objective is at some noises, and its gradient there.

    Args:
        values: (n,).
        gradients: of the shape of the noises.
    """

    values: torch.Tensor
    gradients: torch.Tensor


def slopes(
    host: Host,
    prompts: Sequence[str],
    noises: torch.Tensor,
    objective: Objective,
    *,
    steps: int,
    guidance: float,
    embed: Embed | None = None,
) -> Slopes:
    """Differentiate an objective of the images by the noises, through the decoder and every step.

    Args:
        host: the model; what is attached to it takes no part.
        prompts: one for each noise.
        noises: of unit variance, in the pipeline's own layout of latents.
        objective: of the images.
        steps: of the schedule. A short one costs less; the gradient of its images is not that of the model's own.
        guidance: 1 computes no unconditional rows, which is half of the cost.
        embed: what acts on the embedded prompts; the unconditional one stays. None leaves them as they are.

    Raises:
        ModelError: the pipeline does not let gradients through.

    Cost: three denoiser rows for each that an image takes: forward, forward again, backward.
    """
    pipe = host.pipe
    loop: Callable[..., Any] | None = getattr(type(pipe).__call__, "__wrapped__", None)
    if loop is None:
        raise ModelError(f"{type(pipe).__name__} cannot be differentiated by its noise; use estimator=paired")
    rows = 0

    def counted(count: int) -> None:
        nonlocal rows
        rows += count

    encode, forward = pipe.encode_prompt, host.denoiser.forward
    learning = [part for part in (pipe.components.get("vae"),) if isinstance(part, torch.nn.Module)]
    parts = torch.nn.ModuleList([host.denoiser, *learning])
    with Undo() as undo, without_deprecations(), frozen(parts), torch.enable_grad():
        undo.replace(pipe, "_progress_bar_config", {"disable": True})
        undo.replace(pipe, "scheduler", copy.deepcopy(pipe.scheduler))
        undo.replace(pipe, "encode_prompt", torch.no_grad()(encode if embed is None else _embedded(encode, embed)))
        undo.replace(host.denoiser, "forward", _checkpointed(forward, counted))
        start = noises.detach().clone().requires_grad_(True)
        (images, *_) = loop(
            pipe,
            list(prompts),
            num_inference_steps=steps,
            guidance_scale=guidance,
            latents=start,
            output_type="pt",
            return_dict=False,
        )
        values = objective(images)
        (gradients,) = torch.autograd.grad(values.sum(), start)
    host.count_backward(rows)
    return Slopes(values=values.detach().float().cpu(), gradients=gradients.float().cpu())


def _embedded(encode: Callable[..., Any], embed: Embed) -> Callable[..., Any]:
    """Every pipeline gives the embedded prompts first, and then the unconditional ones, pooled ones and the like."""

    @functools.wraps(encode)
    def both(*args: Any, **kwargs: Any) -> Any:
        first, *rest = encode(*args, **kwargs)
        return embed(first), *rest

    return both


def _checkpointed(forward: Callable[..., Any], count: Callable[[int], None]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def again(*args: Any, **kwargs: Any) -> Any:
        rows = args[0] if args else next(kwargs[name] for name in ("sample", "hidden_states") if name in kwargs)
        count(len(rows))
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return again
