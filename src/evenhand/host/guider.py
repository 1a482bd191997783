"""Interventions on the prediction as a guider, for the modular pipelines of diffusers (SDXL, SD3).

A modular pipeline asks its `guider` which inputs to run the denoiser on, and how to combine what it says. The guider
here adds a batch for each text that the intervention wants, and hands what the denoiser says to the same effect that
the hook of a standard pipeline uses: one implementation, two back-ends.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline
from diffusers.guiders.guider_utils import BaseGuidance, GuiderOutput

from evenhand.errors import InertGuidanceError, InputError, ModelError
from evenhand.host.conditioning import encode_text
from evenhand.host.families import detect_family, prediction_type
from evenhand.host.noise_level import noise_level, timestep_after
from evenhand.host.sites import Attachable, Call, Predictions, Step

_STANDARD: Mapping[str, Any] = {
    "StableDiffusionXLModularPipeline": StableDiffusionXLPipeline,
    "StableDiffusion3ModularPipeline": StableDiffusion3Pipeline,
}
"""The standard pipeline that encodes texts as the modular one does."""
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "encoder_hidden_states": ("prompt_embeds", "encoder_hidden_states"),
    "text_embeds": ("text_embeds",),
    "pooled_projections": ("text_embeds",),
}
"""Denoiser input -> the names under which a denoising loop hands it to its guider."""


class PredictionGuider(BaseGuidance):
    """Classifier-free guidance with one intervention on the prediction.

    Source: the interface of `diffusers.guiders` (experimental there).

    Args:
        intervention: of the prediction site, such as `safe_guidance(...)`.
        guidance_scale: of classifier-free guidance; 1 or less is refused by interventions that it would make inert.
        enabled: False leaves only the conditional prediction.

    Use: `guider.encode(pipe)`, then `pipe.update_components(guider=guider)`.

    Cost: one more denoiser row per image for each text that is wanted at a step.
    """

    _input_predictions: list[str] = ["pred_cond", "pred_uncond"]  # noqa: RUF012  (the base class asks for a list)

    def __init__(self, intervention: Attachable, guidance_scale: float = 7.5, enabled: bool = True) -> None:
        super().__init__(0.0, 1.0, enabled)
        self.guidance_scale = guidance_scale
        self._intervention = intervention
        self._texts: dict[str, Mapping[str, torch.Tensor]] = {}
        self._scheduler: Any = None
        self._prediction = ""
        self._effect: Any = None
        self._wanted: tuple[str, ...] = ()

    def encode(self, pipe: Any) -> PredictionGuider:
        """Encode the intervention's texts with the text encoders of a modular pipeline, and learn its schedule.

        Raises:
            ModelError: a modular pipeline of another family.
        """
        standard = _STANDARD.get(type(pipe).__name__)
        if standard is None:
            raise ModelError(f"{type(pipe).__name__} is not supported; expected {' or '.join(_STANDARD)}")
        names = inspect.signature(standard.__init__).parameters
        parts = {name: pipe.components.get(name) for name in names if name in standard._get_signature_types()}
        encoder = standard(**parts)
        family = detect_family(encoder)
        self._scheduler, self._prediction = pipe.scheduler, prediction_type(encoder)
        effect: Any = self._intervention.begin(Call(prompts=None, images=1))
        for text in effect.texts if effect is not None else ():
            inputs = encode_text(encoder, family, text).inputs
            last = {name.rpartition(".")[2]: tensor for name, tensor in inputs.items()}
            self._texts[text] = {field: last[name] for name in last for field in _FIELDS.get(name, ())}
        return self

    @property
    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """What the intervention did to each image of the latest call."""
        return () if self._effect is None else self._effect.evidence()

    def prepare_inputs(self, data: Any) -> list[Any]:
        """The batches of one step: conditional, unconditional, and one for each text that is wanted.

        `data` maps a field to its (conditional, unconditional) values; the base class annotates another type.
        """
        if self._scheduler is None:
            raise InputError("the guider does not know the pipeline yet; call encode(pipe) first")
        lone = [key for key in ("prompt_embeds", "encoder_hidden_states") if key in data and not _is_pair(data[key])]
        if lone and self._enabled:
            raise InertGuidanceError(
                f"{type(self).__name__} is inert: the pipeline gives {lone[0]} without an unconditional one, so there "
                'is no classifier-free guidance; pass negative_prompt=""'
            )
        pairs: dict[str, Any] = {
            key: value if isinstance(value, tuple) else (value, value) for key, value in data.items()
        }
        rows = len(next(value[0] for value in pairs.values() if isinstance(value[0], torch.Tensor)))
        if self._step == 0:
            self._effect = self._intervention.begin(Call(prompts=None, images=rows)) if self._enabled else None
        self._wanted = ()
        if self._effect is not None:
            self._wanted = tuple(text for text, mask in self._effect.wanted(self._state()).items() if any(mask))
        batches = [self._prepare_batch(pairs, 0, "pred_cond")]
        if self.num_conditions > 1:
            batches.append(self._prepare_batch(pairs, 1, "pred_uncond"))
        for place, text in enumerate(self._wanted):
            own: dict[str, Any] = {
                key: (tensor.expand(rows, *tensor.shape[1:]).to(pairs[key][0]),) * 2
                for key, tensor in self._texts[text].items()
                if key in pairs
            }
            batches.append(self._prepare_batch({**pairs, **own}, 0, f"pred_text_{place}"))
        return batches

    def forward(self, pred_cond: torch.Tensor, pred_uncond: torch.Tensor | None = None, **of_text: torch.Tensor) -> Any:
        """Guidance with the intervention's term: e_0 + g (e_p - term - e_0)."""
        if pred_uncond is None:
            return GuiderOutput(pred=pred_cond, pred_cond=pred_cond, pred_uncond=None)
        said = {text: of_text[f"pred_text_{place}"] for place, text in enumerate(self._wanted)}
        term = None
        if self._effect is not None:
            predictions = Predictions(conditional=pred_cond, unconditional=pred_uncond, of_text=said)
            term = self._effect.term(self._state(), predictions)
        changed = pred_cond if term is None else pred_cond - term
        pred = pred_uncond + self.guidance_scale * (changed - pred_uncond)
        return GuiderOutput(pred=pred, pred_cond=changed, pred_uncond=pred_uncond)

    @property
    def is_conditional(self) -> bool:
        """Whether the batch that is computed now is the prompt's."""
        return self._count_prepared == 1

    @property
    def num_conditions(self) -> int:
        """Batches of the present step."""
        return (2 if self._enabled else 1) + len(self._wanted)

    def _state(self) -> Step:
        time = float(self._timestep)
        return Step(
            index=int(self._step),
            total=int(self._num_inference_steps),
            timestep=time,
            after=timestep_after(self._scheduler, time),
            level=noise_level(self._scheduler, time, self._prediction),
            guidance=self.guidance_scale,
        )


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and value[1] is not None
