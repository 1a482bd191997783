"""Questions to the denoiser during a call of the pipeline, for fitting: nothing that the pipeline makes is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from evenhand.host.conditioning import Conditioning, with_texts
from evenhand.host.undo import Undo


class Probe:
    """The denoiser at one step, with the conditional inputs of that step.

    Attributes:
        sample: the latents that the denoiser was given, one row per image.
        images: their number.
        inputs: all that the denoiser is given for the conditional rows, by name.
    """

    def __init__(
        self,
        denoiser: torch.nn.Module,
        forward: Callable[..., Any],
        inputs: Mapping[str, Any],
        encode: Callable[[str], Conditioning],
    ) -> None:
        self._denoiser, self._forward, self._inputs, self._encode = denoiser, forward, inputs, encode
        self._name = "sample" if "sample" in inputs else "hidden_states"
        self.inputs = inputs
        self.sample: torch.Tensor = inputs[self._name]
        self.images = len(self.sample)

    def predict(
        self,
        text: str | None = None,
        *,
        sample: torch.Tensor | None = None,
        timestep: float | torch.Tensor | None = None,
        shift: tuple[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """What the denoiser predicts, one row per image.

        Args:
            text: instead of the images' own prompts; None keeps them.
            sample: other latents.
            timestep: another timestep, in the denoiser's own units; one number or one per image.
            shift: (module, vector): the vector is added to the output of the module. With gradients enabled only what
                follows the module is differentiated.

        Cost: one denoiser row per image; a backward of it counts once more (see `Host.count_backward`).
        """
        inputs = dict(self._inputs)
        if sample is not None:
            inputs[self._name] = sample
        if timestep is not None:
            given = torch.as_tensor(timestep, device=self.sample.device)
            inputs["timestep"] = given.expand(self.images) if given.ndim == 0 else given
        if text is not None:
            inputs = with_texts(inputs, [self._encode(text)] * self.images)
        with Undo() as undo:
            if shift is not None:
                module = self._denoiser.get_submodule(shift[0])
                undo.replace(module, "forward", _adding(module.forward, shift[1]))
            output = self._forward(**inputs)
        return output[0] if isinstance(output, tuple) else output.sample

    def output_of(self, module: str) -> torch.Tensor:
        """What a module gives at this step for the images' own prompts, one row per image.

        Cost: one denoiser row per image.
        """
        seen: list[torch.Tensor] = []
        with Undo() as undo:
            part = self._denoiser.get_submodule(module)
            undo.replace(part, "forward", _keeping(part.forward, seen))
            self.predict()
        return seen[0]


def _keeping(forward: Callable[..., Any], seen: list[torch.Tensor]) -> Callable[..., Any]:
    def kept(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        seen.append(output[_place(output)] if isinstance(output, tuple) else output)
        return output

    return kept


def _place(output: tuple[Any, ...]) -> int:
    """Where the image is: a block of a transformer gives (text, image), one of a U-Net (image, skips)."""
    return 1 if isinstance(output[1], torch.Tensor) else 0


def _adding(forward: Callable[..., Any], vector: torch.Tensor) -> Callable[..., Any]:
    def shifted(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        if not isinstance(output, tuple):
            return output + _fitted(vector, output)
        place = _place(output)
        return (*output[:place], output[place] + _fitted(vector, output[place]), *output[place + 1 :])

    return shifted


def _fitted(vector: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """A vector (channels,) or (channels, height, width) in the layout of a module's output."""
    vector = vector.to(output.dtype)
    return vector[:, None, None] if vector.ndim == 1 and output.ndim == 4 else vector
