"""Requests in, samples out: any number of images, in batches of one shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from evenhand.errors import InputError
from evenhand.host.attachment import Attachment
from evenhand.host.dtype import map_output
from evenhand.host.families import family_of_class
from evenhand.host.host import Host
from evenhand.host.layout import channels_last
from evenhand.host.memory import default_batch_size
from evenhand.host.quiet import without_deprecations
from evenhand.host.schedulers import make_scheduler
from evenhand.host.undo import Undo
from evenhand.records import Request, Sample, Settings

# every pipeline of the table asks for it
_SIZE_MULTIPLE = 8


def sample(
    host: Host,
    requests: Sequence[Request],
    settings: Settings,
    *,
    batch_size: int | None = None,
    keep_latents: bool = False,
    on_image: Callable[[int], None] | None = None,
    pad: bool | None = None,
) -> Iterator[Sample]:
    """Make one image per request, in order.

    Every image starts from `torch.Generator("cpu").manual_seed(request.seed)`, as plain diffusers would, and draws all
    of its noise there. At one batch shape an image is bit-equal whatever its neighbours are; across shapes float32
    agrees to 1e-3.

    Args:
        host: the model.
        requests: what to make; prompt, seed and negative prompt may differ within a batch.
        settings: steps, guidance (1 or less means no classifier-free guidance), scheduler and size for all of them.
        batch_size: images per batch; None means by family and memory.
        keep_latents: also give the final latents, float32, in the pipeline's own layout.
        on_image: called with the number of images made so far, for a progress bar.
        pad: True fills the last batch up to `batch_size` rows by repeating its last request, so that every batch has
            one shape; False does not; None does so when there is more than one batch. A run that is continued after
            an interruption passes True if its first start had more than one batch.

    Yields:
        A sample per request; its image is None where the model gave a value that is not a finite number.

    Raises:
        InputError: settings or a request that this model cannot follow; before anything is computed.
    """
    requests = tuple(requests)
    _check(host, requests, settings)
    size = default_batch_size(host, settings) if batch_size is None else batch_size
    if size < 1:
        raise InputError(f"batch size is {size}, expected 1 or more")
    full = len(requests) > size if pad is None else pad
    return _samples(host, requests, settings, size, full, keep_latents, on_image)


def _samples(
    host: Host,
    requests: tuple[Request, ...],
    settings: Settings,
    size: int,
    full: bool,
    keep_latents: bool,
    on_image: Callable[[int], None] | None,
) -> Iterator[Sample]:
    done = 0
    for start in range(0, len(requests), size):
        batch = requests[start : start + size]
        rows = batch + batch[-1:] * (size - len(batch) if full else 0)
        images, valid, latents = _make(host, rows, settings, keep_latents)
        evidence = _evidence(host, len(rows))
        for index, request in enumerate(batch):
            done += 1
            if on_image is not None:
                on_image(done)
            yield Sample(
                request=request,
                image=images[index] if valid[index] else None,
                latents=None if latents is None else latents[index],
                evidence=evidence[index],
            )


def _make(
    host: Host, rows: tuple[Request, ...], settings: Settings, keep_latents: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """One call of the pipeline: uint8 images (n, height, width, 3), which of them are valid (n,), final latents."""
    last: dict[str, torch.Tensor] = {}

    def keep(pipe: Any, step: int, timestep: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        last.update(tensors)
        return {}

    parts = [part for part in (host.denoiser, host.pipe.components.get("vae")) if part is not None]
    with Undo() as undo, without_deprecations(), channels_last(*parts):
        _prepare(host, settings, undo)
        arguments = {**_common(host, settings), **_prompts(host, rows, settings)}
        if keep_latents:
            arguments["callback_on_step_end"] = keep
        if isinstance(host.call, Attachment):
            undo.replace(host.call, "requests", rows)
        (images, *_) = host.call(
            generator=[torch.Generator("cpu").manual_seed(row.seed) for row in rows], return_dict=False, **arguments
        )
    valid = ~images.isnan().flatten(1).any(1)
    pixels = (images.float().nan_to_num(0.0) * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    latents = last["latents"].float().cpu().numpy() if keep_latents else None
    return pixels.cpu().numpy(), valid.cpu().numpy(), latents


def _evidence(host: Host, rows: int) -> list[dict[str, Any]]:
    """Per image, what each intervention says it did."""
    told = host.call.last.evidence if isinstance(host.call, Attachment) and host.call.last is not None else {}
    return [{name: records[row] for name, records in told.items()} for row in range(rows)]


def _prepare(host: Host, settings: Settings, undo: Undo) -> None:
    """What holds during one call: quiet, the wanted scheduler, no blackened image, and infinity seen as invalid."""
    pipe = host.pipe
    undo.replace(pipe, "_progress_bar_config", {"disable": True})
    if settings.scheduler is not None:
        scheduler = make_scheduler(settings.scheduler, pipe.components["scheduler"])
        undo.replace(pipe, "scheduler", scheduler)
    if pipe.components.get("safety_checker") is not None:
        undo.replace(pipe, "safety_checker", None)
    vae = pipe.components.get("vae")
    if vae is not None:
        decode = vae.decode
        # the image processor clamps to [0, 1], which would turn infinity into white
        undo.replace(vae, "decode", lambda *args, **kwargs: map_output(decode(*args, **kwargs), _infinite_to_nan))


def _infinite_to_nan(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.masked_fill(tensor.isinf(), math.nan)


def _common(host: Host, settings: Settings) -> dict[str, Any]:
    """The arguments that all rows share, as far as the pipeline takes them."""
    arguments = {
        "num_inference_steps": settings.steps,
        "guidance_scale": settings.guidance,
        "width": settings.width,
        "height": settings.height,
        "output_type": "pt",
    }
    return {name: value for name, value in arguments.items() if value is not None and name in host.accepts}


def _prompts(host: Host, rows: tuple[Request, ...], settings: Settings) -> dict[str, Any]:
    """Prompts and negative prompts of one batch; a row without a negative prompt gets what it would get alone."""
    prompts = [row.prompt for row in rows]
    negatives = [row.negative_prompt or "" for row in rows]
    given = [row.negative_prompt is not None for row in rows]
    if settings.guidance <= 1 or not any(given):
        return {"prompt": prompts}
    if all(given) or not getattr(host.pipe.config, "force_zeros_for_empty_prompt", False):
        return {"prompt": prompts, "negative_prompt": negatives}
    # SDXL gives zeros to a prompt without a negative one, but embeds an empty text: a mixed batch needs both
    with torch.no_grad():
        positive, negative, pooled, negative_pooled = host.pipe.encode_prompt(
            prompt=prompts, negative_prompt=negatives, do_classifier_free_guidance=True
        )
    absent = torch.tensor([not one for one in given], device=negative.device)
    return {
        "prompt_embeds": positive,
        "negative_prompt_embeds": negative.masked_fill(absent[:, None, None], 0),
        "pooled_prompt_embeds": pooled,
        "negative_pooled_prompt_embeds": negative_pooled.masked_fill(absent[:, None], 0),
    }


def _check(host: Host, requests: tuple[Request, ...], settings: Settings) -> None:
    kind = type(host.pipe).__name__
    if "image" in host.accepts and family_of_class(kind) is not None:
        raise InputError(f"{kind} makes images from images; load the model's text-to-image pipeline instead")
    if settings.steps < 1:
        raise InputError(f"steps is {settings.steps}, expected 1 or more")
    if not math.isfinite(settings.guidance):
        raise InputError(f"guidance is {settings.guidance}, expected a number; 1 means none")
    for name, value in (("width", settings.width), ("height", settings.height)):
        if value is not None and (value < _SIZE_MULTIPLE or value % _SIZE_MULTIPLE):
            raise InputError(f"{name} is {value}, expected a multiple of {_SIZE_MULTIPLE}")
    if settings.scheduler is not None:
        make_scheduler(settings.scheduler, host.pipe.components["scheduler"])
    if "negative_prompt" not in host.accepts and any(row.negative_prompt is not None for row in requests):
        raise InputError(f"a negative prompt is given, but {kind} takes none")
