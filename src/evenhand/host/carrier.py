"""The denoiser during one call of the pipeline: it knows step and rows, and lets the effects act.

Pipelines that batch the branches of classifier-free guidance give the rows [unconditional; conditional]. There a term
is subtracted from the conditional half, and the pipeline's own guidance does the rest:

    e_0 + g (e_p - term - e_0)

Pipelines that call the denoiser once per branch (Flux with true guidance) give the conditional rows first. There the
same result comes from the unconditional call, which returns e_0 + g / (g - 1) * term.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.errors import ModelError
from evenhand.host.conditioning import encode_text, joined, rows_of, with_texts
from evenhand.host.dtype import map_output
from evenhand.host.families import Family, denoiser_of, prediction_type
from evenhand.host.noise_level import noise_level, timestep_after
from evenhand.host.probe import Probe
from evenhand.host.sites import ActivationEffect, Call, PredictionEffect, Predictions, ProbeEffect, Site, Step
from evenhand.host.undo import Undo

_CHUNK, _CHUNK_CPU = 64, 8
"""Rows of a denoiser call that is made for further texts alone: at one size a row does not depend on the others. On a
CPU small ones are as fast, and less is padded."""


class Carrier:
    """Wraps the denoiser for one call of the pipeline.

    Attributes:
        step: the step that the denoiser was last called at.
    """

    step: Step

    def __init__(
        self,
        call: Call,
        effects: Mapping[Site, Sequence[Any]],
        *,
        pipe: Any,
        family: Family,
        longest: int | None,
        separate: float,
    ) -> None:
        self._call = call
        self._activations: Sequence[ActivationEffect] = effects.get("activation", ())
        self._predictions: Sequence[PredictionEffect] = effects.get("prediction", ())
        self._probes: Sequence[ProbeEffect] = effects.get("probe", ())
        self._pipe, self._family, self._separate = pipe, family, separate
        self._denoiser = denoiser_of(pipe, family)
        self._signature = inspect.signature(type(self._denoiser).forward)
        self._index = -1
        self._conditional: slice | None = None  # rows of the denoiser call that is running
        self._awaits_unconditional = False  # between the two calls of a pipeline that makes one per branch
        self._held: Predictions | None = None  # what the first of them said
        self._encoded = functools.cache(lambda text: encode_text(pipe, family, text, longest))
        for effect in self._predictions:
            for text in effect.texts:
                self._encoded(text)

    def install(self, undo: Undo) -> None:
        """Take the place of the denoiser's `forward`, and of those of the modules that activations name."""
        undo.replace(self._denoiser, "forward", self._carrying(self._denoiser.forward))
        for effect in self._activations:
            module = module_at(self._denoiser, effect.module)
            undo.replace(module, "forward", self._shifting(module.forward, effect))

    def _carrying(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def carried(*args: Any, **kwargs: Any) -> Any:
            inputs = dict(self._signature.bind(self._denoiser, *args, **kwargs).arguments)
            inputs.pop("self")
            inputs |= inputs.pop("kwargs", {})
            if inputs.get("skip_layers") is not None:  # an extra call of skip-layer guidance
                return forward(**inputs)
            return self._one_call(forward, inputs)

        return carried

    def _one_call(self, forward: Callable[..., Any], inputs: dict[str, Any]) -> Any:
        rows, images = len(inputs["sample" if "sample" in inputs else "hidden_states"]), self._call.images
        guided = self._family.batched_guidance and rows == 2 * images
        if rows != images and not guided:
            raise ModelError(
                f"the denoiser of {type(self._pipe).__name__} is called with {rows} rows for {images} images; "
                "interventions need one row per image, or two with classifier-free guidance"
            )
        if self._awaits_unconditional:
            return self._finish_apart(forward, inputs)
        self._begin_step(inputs["timestep"], guided)
        if self._probes:
            conditional = rows_of(inputs, rows, torch.arange(rows - images, rows))
            for effect in self._probes:
                effect.visit(self.step, Probe(self._denoiser, forward, conditional, self._encoded))
        self._conditional = slice(rows - images, rows)
        output, of_text = self._with_texts(forward, inputs, rows)
        self._awaits_unconditional = self._separate > 1
        if not self._predictions:
            return output
        tensor = _tensor(output)
        said = Predictions(
            conditional=tensor[rows - images :], unconditional=tensor[:images] if guided else None, of_text=of_text
        )
        if self._awaits_unconditional:
            self._held = said
            return output
        term = self._term(said)
        if term is None:
            return output
        changed = said.conditional - term
        return map_output(output, lambda whole: torch.cat([whole[:images], changed]) if guided else changed)

    def _finish_apart(self, forward: Callable[..., Any], inputs: dict[str, Any]) -> Any:
        """The unconditional call of a pipeline that makes one call per branch."""
        held, self._held, self._conditional = self._held, None, None
        self._awaits_unconditional = False
        output = forward(**inputs)
        if held is None:
            return output
        said = Predictions(conditional=held.conditional, unconditional=_tensor(output), of_text=held.of_text)
        term, factor = self._term(said), self._separate / (self._separate - 1)
        return output if term is None else map_output(output, lambda whole: whole + factor * term)

    def _begin_step(self, timestep: Any, guided: bool) -> None:
        self._index += 1
        if self._index == 0:
            self._call.steps = int(self._pipe.num_timesteps)
            self._call.guidance = float(self._pipe.guidance_scale) if guided else self._separate
        time = float(timestep.flatten()[0] if isinstance(timestep, torch.Tensor) else timestep)
        time *= self._family.timesteps_per_unit
        self.step = Step(
            index=self._index,
            total=self._call.steps,
            timestep=time,
            after=timestep_after(self._pipe.scheduler, time),
            level=noise_level(self._pipe.scheduler, time, prediction_type(self._pipe)),
            guidance=self._call.guidance,
        )

    def _with_texts(
        self, forward: Callable[..., Any], inputs: dict[str, Any], rows: int
    ) -> tuple[Any, dict[str, torch.Tensor]]:
        """The denoiser's output for its own rows, and what it says for the texts that are wanted at this step."""
        wanted, images = self._wanted(), self._call.images
        if wanted and any(effect.joined for effect in self._predictions):
            pairs = [(text, row) for text in wanted for row in range(images)]
            output = forward(**joined(inputs, self._rows_for(inputs, rows, pairs), rows))
            parts = _tensor(output)[rows:].split(images)
            return map_output(output, lambda whole: whole[:rows]), dict(zip(wanted, parts, strict=True))
        output = forward(**inputs)
        of_text = {text: torch.zeros_like(_tensor(output)[:images]) for text in wanted}
        self._conditional = None
        pairs = [(text, row) for text, mask in wanted.items() for row in range(images) if mask[row]]
        size = min(images, _CHUNK_CPU if _tensor(output).device.type == "cpu" else _CHUNK)
        for start in range(0, len(pairs), size):
            chunk = pairs[start : start + size]
            padded = chunk + chunk[-1:] * (size - len(chunk))
            said = _tensor(forward(**self._rows_for(inputs, rows, padded)))
            for position, (text, row) in enumerate(chunk):
                of_text[text][row] = said[position]
        return output, of_text

    def _wanted(self) -> dict[str, list[bool]]:
        """Text -> for which images it is wanted at this step by any effect."""
        wanted: dict[str, list[bool]] = {}
        for effect in self._predictions:
            for text, mask in effect.wanted(self.step).items():
                if any(mask):
                    before = wanted.get(text, [False] * self._call.images)
                    wanted[text] = [one or other for one, other in zip(before, mask, strict=True)]
        return wanted

    def _rows_for(self, inputs: Mapping[str, Any], rows: int, pairs: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """Inputs with one row per (text, image): the image's conditional row, under the text."""
        chosen = torch.tensor([rows - self._call.images + row for _, row in pairs])
        return with_texts(rows_of(inputs, rows, chosen), [self._encoded(text) for text, _ in pairs])

    def _term(self, said: Predictions) -> torch.Tensor | None:
        terms = [term for effect in self._predictions if (term := effect.term(self.step, said)) is not None]
        return torch.stack(terms).sum(dim=0) if len(terms) > 1 else terms[0] if terms else None

    def _shifting(self, forward: Callable[..., Any], effect: ActivationEffect) -> Callable[..., Any]:
        @functools.wraps(forward)
        def shifted(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            rows = self._conditional
            if rows is None:
                return output
            if not isinstance(output, tuple):
                return _replaced(output, rows, effect.shift(self.step, output[rows]))
            # a block of a transformer gives (text, image), one of a U-Net (image, skips)
            place = 1 if len(output) > 1 and isinstance(output[1], torch.Tensor) else 0
            changed = _replaced(output[place], rows, effect.shift(self.step, output[place][rows]))
            return (*output[:place], changed, *output[place + 1 :])

        return shifted


def module_at(denoiser: torch.nn.Module, path: str) -> torch.nn.Module:
    """The module of a dotted path inside the denoiser.

    Raises:
        ModelError: there is none; the line names near ones.
    """
    names = [name for name, _ in denoiser.named_modules() if name]
    if path not in names:
        near = difflib.get_close_matches(path, names, n=3) or [name for name in names if "." not in name]
        raise ModelError(f"{type(denoiser).__name__} has no module {path!r}; there is {', '.join(near)}")
    return denoiser.get_submodule(path)


def channel_axis(output: torch.Tensor) -> int:
    """Where a module's output has its channels.

    (rows, channels, height, width) in a U-Net's blocks, (rows, tokens, channels) in transformers and attention,
    (rows, channels) in embeddings.
    """
    return 1 if output.ndim == 4 else output.ndim - 1


def _replaced(output: torch.Tensor, rows: slice, changed: torch.Tensor) -> torch.Tensor:
    """`output` with some of its rows replaced; the tensor that the module gave stays as it is."""
    whole = output.clone()
    whole[rows] = changed.to(whole.dtype)
    return whole


def _tensor(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output.sample
