"""What is stored of directions of the initial noise: one concept's, or those of a joint, which one fit holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.concept import Concept
from evenhand.interventions.storage import Card
from evenhand.methods.fitting import Fitted
from evenhand.methods.probit import Handle

_FACTORS = "factors"
"""In the card of a joint: what its factors' cards would say of themselves;"""
_TOGETHER = "together"
"""and in the card of one that was told apart: the names of all."""


def joined(concept: Concept, factors: Sequence[Fitted]) -> Fitted:
    """One fit of a joint, from what was fitted of each of its factors; `factors_of` tells them apart again.

    Args:
        concept: the joint.
        factors: in its order, with cards that differ in nothing but what is said of a concept.
    """
    tensors = {f"{_name(one)}/{key}": tensor for one in factors for key, tensor in one.tensors.items()}
    own = {_name(one): {"concept": dict(one.card.concept), "order": one.card.estimator["order"]} for one in factors}
    card = dataclasses.replace(
        factors[0].card,
        estimator={**{key: value for key, value in factors[0].card.estimator.items() if key != "order"}, _FACTORS: own},
        prompts={_name(one): dict(one.card.prompts) for one in factors},
        concept=concept.to_dict(),
        calibration={f"{_name(one)}/{key}": values for one in factors for key, values in one.card.calibration.items()},
        effect={_name(one): dict(one.card.effect) for one in factors},
    )
    return Fitted(tensors, card)


def factors_of(fitted: Fitted) -> list[Fitted]:
    """The directions of each concept that a fit holds: itself, or the factors of its joint."""
    factors: Mapping[str, Mapping[str, Any]] = fitted.card.estimator.get(_FACTORS, {})
    return [_factor(fitted, name, own) for name, own in factors.items()] or [fitted]


def concepts_together(fitted: Fitted) -> list[str]:
    """The concepts that a factor was calibrated with; none where it was fitted alone."""
    return list(fitted.card.estimator.get(_TOGETHER, ()))


def handle_of(fitted: Fitted) -> tuple[Handle, tuple[str, ...]]:
    """The handle of one concept's directions that was stored, and the classes in its order."""
    stored = fitted.card.calibration
    order = tuple(fitted.card.estimator["order"])
    cuts = {row: tuple(stored[f"cut {place}"][row] for place in range(1, len(order))) for row in stored["cut 1"]}
    slopes = {row: one for row, one in stored["slope"].items() if row}
    return Handle(slope=stored["slope"][""], error=stored["error"][""], cuts=cuts, slopes=slopes), order


def calibration_of(handle: Handle) -> dict[str, dict[str, float]]:
    """A handle as a card holds it."""
    cuts = len(next(iter(handle.cuts.values())))
    error = handle.error if handle.error < float("inf") else 1e6
    return {
        "slope": {"": round(handle.slope, 6), **{row: round(one, 6) for row, one in handle.slopes.items()}},
        "error": {"": round(float(error), 6)},
        **{
            f"cut {place + 1}": {row: round(some[place], 6) for row, some in handle.cuts.items()}
            for place in range(cuts)
        },
    }


def _factor(fitted: Fitted, name: str, own: Mapping[str, Any]) -> Fitted:
    estimator = {key: value for key, value in fitted.card.estimator.items() if key != _FACTORS}
    card: Card = dataclasses.replace(
        fitted.card,
        estimator={**estimator, "order": own["order"], _TOGETHER: list(fitted.card.estimator[_FACTORS])},
        prompts=fitted.card.prompts[name],
        concept=own["concept"],
        calibration=_of(fitted.card.calibration, name),
        effect=fitted.card.effect.get(name, {}),
    )
    tensors: Mapping[str, torch.Tensor] = _of(fitted.tensors, name)
    return Fitted(tensors, card)


def _of(some: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What is stored under a concept's name."""
    return {key.removeprefix(f"{name}/"): value for key, value in some.items() if key.startswith(f"{name}/")}


def _name(fitted: Fitted) -> str:
    return str(fitted.card.concept["name"])
