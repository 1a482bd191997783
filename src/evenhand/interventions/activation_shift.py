"""The activation site: vectors that are added to the output of one module of the denoiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.errors import InputError, ModelError
from evenhand.host.carrier import channel_axis, module_at
from evenhand.host.sites import Call, Site, Step
from evenhand.interventions.window import ALWAYS, Window

WeightsOf = Callable[[Call], Sequence[Mapping[str, float]]]
"""For each image of a call, the weight of every vector that it gets; an empty mapping leaves it alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorBank:
    """Named vectors at one module.

    Args:
        module: path of the module inside the denoiser, such as "mid_block".
        vectors: name -> vector of shape (channels,), the same at every place and for any image size, or of the
            module's own output (channels, height, width), which is tied to one image size.

    Raises:
        InputError: no vector, or vectors of different shapes.
    """

    module: str
    vectors: Mapping[str, torch.Tensor]

    def __post_init__(self) -> None:
        shapes = {tuple(vector.shape) for vector in self.vectors.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) not in (1, 3):
            raise InputError(
                f"vectors at {self.module} have the shapes {sorted(shapes)}; expected one shape for all, "
                "(channels,) or (channels, height, width)"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of each vector."""
        return tuple(next(iter(self.vectors.values())).shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActivationShift:
    """An intervention that adds vectors to the conditional rows; every image of a batch may get another one.

    The unconditional rows of classifier-free guidance stay as they are, so guidance multiplies what the vectors do.

    Args:
        name: how reports call it.
        bank: the vectors and their module.
        weights: for each image of a call the weight of each vector.
        strength: factor on all weights; 1 as calibrated, 0 is off.
        window: the steps at which the vectors are added.
    """

    name: str
    bank: VectorBank
    weights: WeightsOf
    strength: float = 1.0
    window: Window = ALWAYS
    site: Site = "activation"

    def scaled(self, strength: float) -> ActivationShift:
        """The same shift at another strength."""
        return dataclasses.replace(self, strength=strength)

    def check(self, host: Any) -> None:
        """Refuse a model without the module.

        Raises:
            ModelError: the denoiser has no such module; the line names near ones.
        """
        module_at(host.denoiser, self.bank.module)

    def begin(self, call: Call) -> ActivationEffect | None:
        """The effect on one call; None where no image has a weight."""
        weights = tuple(self.weights(call))
        unknown = sorted({name for one in weights for name in one} - set(self.bank.vectors))
        if unknown:
            raise InputError(f"{self.name} has no vector {unknown[0]!r}; there is {', '.join(self.bank.vectors)}")
        return ActivationEffect(self, weights) if any(weights) else None


class ActivationEffect:
    """One call: a shift per image, made once."""

    def __init__(self, shift: ActivationShift, weights: Sequence[Mapping[str, float]]) -> None:
        self._shift, self._weights = shift, weights
        self.module = shift.bank.module
        nothing = torch.zeros_like(next(iter(shift.bank.vectors.values())))
        rows = [sum((weight * shift.bank.vectors[name] for name, weight in one.items()), nothing) for one in weights]
        self._rows = shift.strength * torch.stack(rows)  # (images, channels[, height, width])

    def shift(self, step: Step, output: torch.Tensor) -> torch.Tensor:
        """The output of the module plus each image's shift; an image without weights keeps its bits."""
        if step.index not in self._shift.window.steps(step.total):
            return output
        rows = self._fitted(output).to(device=output.device, dtype=output.dtype)
        chosen = torch.tensor([bool(one) for one in self._weights], device=output.device)
        return torch.where(chosen.view(-1, *[1] * (output.ndim - 1)), output + rows, output)

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """The weights of each image and the norm of its shift."""
        norms = self._rows.flatten(1).norm(dim=1).tolist()
        return [{"weights": dict(one), "norm": round(norm, 6)} for one, norm in zip(self._weights, norms, strict=True)]

    def _fitted(self, output: torch.Tensor) -> torch.Tensor:
        """The shifts in the layout of the module; see `channel_axis`."""
        channels = output.shape[channel_axis(output)]
        if self._rows.shape[1] != channels:
            raise ModelError(
                f"{self._shift.name}: the vectors have {self._rows.shape[1]} channels, {self.module} gives {channels}; "
                "they were fitted on another model or site"
            )
        if self._rows.ndim == 2:
            places = [1] * output.ndim
            places[0], places[channel_axis(output)] = self._rows.shape
            return self._rows.view(places)
        if self._rows.shape[1:] != output.shape[1:]:
            raise ModelError(
                f"{self._shift.name}: the vectors were fitted at {tuple(self._rows.shape[2:])} places, {self.module} "
                f"has {tuple(output.shape[2:])}; use the image size that they were fitted at, or channel-only vectors"
            )
        return self._rows
