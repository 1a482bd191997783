"""Interventions in a pipeline: one object that carries them through its calls.

It uses what diffusers offers in public: the pipeline's own arguments, its `callback_on_step_end`, and the `forward` of
the denoiser and of modules inside it. The pipeline's own loop, guidance and scheduler run untouched, so everything
that works with the pipeline (LoRA, ControlNet, image to image, every scheduler) works here too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.errors import InputError
from evenhand.host.carrier import Carrier
from evenhand.host.families import Family, denoiser_of
from evenhand.host.rehearsal import Rehearsal
from evenhand.host.sites import Attachable, Call, Site
from evenhand.host.undo import Undo
from evenhand.records import Request


class Attachment:
    """A callable with the pipeline's own signature that applies interventions in order.

    Attributes:
        requests: what the images of the next call were asked for, where they are made from requests.
        last: what was told to the interventions in the latest call, with their evidence; None before the first.
    """

    def __init__(self, pipe: Any, family: Family, interventions: Sequence[Attachable]) -> None:
        self._pipe, self._family = pipe, family
        self._interventions = tuple(interventions)
        self._signature = inspect.signature(type(pipe).__call__)
        self.last: Call | None = None
        self.requests: tuple[Request, ...] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arguments = dict(self._signature.bind(self._pipe, *args, **kwargs).arguments)
        arguments.pop("self")
        arguments |= arguments.pop("kwargs", {})
        call = self._describe(arguments)
        if self.requests is not None and len(self.requests) == call.images:
            call.requests = self.requests
        effects = [(one, one.begin(call)) for one in self._interventions if one.strength != 0]
        active = [(one, effect) for one, effect in effects if effect is not None]
        self.last = call
        if not active:
            return self._pipe(**arguments)
        with Undo() as undo:
            by_site: dict[Site, list[Any]] = {}
            for one, effect in active:
                by_site.setdefault(one.site, []).append(effect)
            self._install(by_site, call, arguments, undo)
            output = self._pipe(**arguments)
        call.evidence = {one.name: evidence for one, effect in active if (evidence := effect.evidence())}
        return output

    def _describe(self, arguments: dict[str, Any]) -> Call:
        """What can be known before the pipeline runs; the rest is filled in at its first step."""
        copies = arguments.get("num_images_per_prompt") or 1
        prompt = arguments.get("prompt")
        if prompt is None:
            embeddings = arguments.get("prompt_embeds")
            if embeddings is None:
                raise InputError("neither a prompt nor prompt_embeds is given; give one of them")
            return Call(prompts=None, images=len(embeddings) * copies)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        return Call(prompts=tuple(one for one in prompts for _ in range(copies)), images=len(prompts) * copies)

    def _install(self, effects: Mapping[Site, list[Any]], call: Call, arguments: dict[str, Any], undo: Undo) -> None:
        for effect in effects.get("weight", ()):
            effect.install(denoiser_of(self._pipe, self._family), undo)
        if "prompt" in effects:
            _change_prompts(effects["prompt"], call, arguments)
        carry = functools.partial(
            Carrier,
            pipe=self._pipe,
            family=self._family,
            longest=arguments.get("max_sequence_length"),
            separate=_true_guidance(arguments, self._signature),
        )
        if "selection" in effects:
            rehearse = Rehearsal(self._pipe, arguments, call, prepare=self._pipe.prepare_latents, carry=carry)
            _select_noise(self._pipe, effects, rehearse, arguments, undo)
        if "initial noise" in effects:
            _change_noise(self._pipe, effects["initial noise"], undo)
        if not {"activation", "prediction", "latent", "probe"} & effects.keys():
            if "text embedding" in effects:
                _change_embeddings(self._pipe, effects["text embedding"], call, undo)
            return
        carrier = carry(call, effects)
        carrier.install(undo)
        if "latent" in effects:
            _change_latents(effects["latent"], carrier, arguments)
        if "text embedding" in effects:  # after the carrier, which encodes the interventions' own texts as they are
            _change_embeddings(self._pipe, effects["text embedding"], call, undo)


def _change_prompts(effects: Sequence[Any], call: Call, arguments: dict[str, Any]) -> None:
    """Every image gets a prompt of its own, so that copies of one prompt may differ."""
    if call.prompts is None:
        raise InputError("an intervention changes the prompt, but only embeddings are given; give prompt=")
    if any(arguments.get(name) is not None for name in ("prompt_2", "prompt_3")):
        raise InputError("an intervention changes the prompt, but prompt_2 or prompt_3 is given; leave it out")
    given = arguments.get("negative_prompt")
    copies = arguments.pop("num_images_per_prompt", None) or 1
    negatives: Sequence[str] = (
        [given or ""] * call.images
        if given is None or isinstance(given, str)
        else [one for one in given for _ in range(copies)]
    )
    prompts: Sequence[str] = call.prompts
    for effect in effects:
        prompts, negatives = list(effect.prompts(prompts)), list(effect.negative_prompts(negatives))
    arguments["prompt"] = prompts
    if any(negatives):
        arguments["negative_prompt"] = negatives


def _change_embeddings(pipe: Any, effects: Sequence[Any], call: Call, undo: Undo) -> None:
    """What the pipeline's own call embeds; the first of what it gets is the prompt's, in every family."""
    encode = pipe.encode_prompt

    @functools.wraps(encode)
    def encoded(*args: Any, **kwargs: Any) -> Any:
        first, *rest = encode(*args, **kwargs)
        if first.ndim != 3 or len(first) != call.images:
            raise InputError(
                f"an intervention changes the embedded prompts, but {type(pipe).__name__} gives them as "
                f"{tuple(first.shape)} for {call.images} images"
            )
        for effect in effects:
            first = effect.embed(first)
        return first, *rest

    undo.replace(pipe, "encode_prompt", encoded)


def _change_noise(pipe: Any, effects: Sequence[Any], undo: Undo) -> None:
    """The effects see noise of unit variance; the pipeline starts from theirs."""

    def changed(noise: torch.Tensor, scale: float) -> torch.Tensor:
        for effect in effects:
            noise = effect.draw(noise)
        return noise * scale

    _replace_start(pipe, changed, undo)


def _select_noise(
    pipe: Any, effects: Mapping[Site, Sequence[Any]], rehearse: Rehearsal, arguments: Mapping[str, Any], undo: Undo
) -> None:
    """The effect finishes the images itself; the pipeline's own loop is interrupted before its first step."""
    if len(effects) > 1 or len(effects["selection"]) > 1:
        raise InputError("an intervention that selects noises finishes the images itself: attach it alone")
    (effect,) = effects["selection"]
    own: Callable[..., Any] | None = arguments.get("callback_on_step_end")

    def chosen(noise: torch.Tensor, scale: float) -> torch.Tensor:
        latents = effect.choose(noise, rehearse)
        if own is not None:  # whoever follows the steps is shown the last one
            told = own(pipe, pipe.num_timesteps - 1, pipe.scheduler.timesteps[-1], {"latents": latents}) or {}
            latents = told.get("latents", latents)
        undo.replace(pipe, "_interrupt", True)
        return latents

    _replace_start(pipe, chosen, undo)


def _replace_start(pipe: Any, start: Callable[[torch.Tensor, float], torch.Tensor], undo: Undo) -> None:
    """What the loop starts from, made of the pipeline's own noise at unit variance and of its first sigma."""
    prepare = pipe.prepare_latents

    @functools.wraps(prepare)
    def prepared(*args: Any, **kwargs: Any) -> Any:
        latents = prepare(*args, **kwargs)
        scale = float(getattr(pipe.scheduler, "init_noise_sigma", 1.0))
        first, rest = (latents[0], latents[1:]) if isinstance(latents, tuple) else (latents, None)
        found = start(first / scale, scale)
        return found if rest is None else (found, *rest)

    undo.replace(pipe, "prepare_latents", prepared)


def _change_latents(effects: Sequence[Any], carrier: Carrier, arguments: dict[str, Any]) -> None:
    own: Callable[..., Any] | None = arguments.get("callback_on_step_end")
    wanted = arguments.get("callback_on_step_end_tensor_inputs") or ["latents"]

    def callback(pipe: Any, index: int, timestep: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        asked = {name: tensors[name] for name in wanted}
        changed = dict(own(pipe, index, timestep, asked) or {}) if own is not None else {}
        latents = changed.get("latents", tensors["latents"])
        for effect in effects:
            latents = effect.update(carrier.step, latents)
        return {**changed, "latents": latents}

    arguments["callback_on_step_end"] = callback
    arguments["callback_on_step_end_tensor_inputs"] = list(dict.fromkeys([*wanted, "latents"]))


def _true_guidance(arguments: dict[str, Any], signature: inspect.Signature) -> float:
    """Guidance of pipelines that call the denoiser once per branch (Flux with `true_cfg_scale`); 1 means none."""
    if "true_cfg_scale" not in signature.parameters:
        return 1.0
    scale = arguments.get("true_cfg_scale", signature.parameters["true_cfg_scale"].default)
    given = any(arguments.get(name) is not None for name in ("negative_prompt", "negative_prompt_embeds"))
    return float(scale) if given and scale > 1 else 1.0
