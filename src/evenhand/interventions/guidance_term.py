"""The prediction site: a term that classifier-free guidance carries, from the predictions for further texts.

A method gives a `Formula`, which turns the predictions of one step into a term. Windows, per-image policies, branches
that are held for several steps, the skipping of harmless prompts, and the evidence are written here once.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from evenhand.errors import EvenhandWarning, InertGuidanceError
from evenhand.host.sites import Call, Predictions, Site, Step
from evenhand.interventions.policy import Category, SafetyPolicy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Branches:
    """The predictions of one step in units of noise, each of shape (rows, ...).

    `anchor` is the unconditional prediction; without classifier-free guidance the conditional one stands in for it.
    `others` holds those of the further texts that the formula asked for.
    """

    anchor: torch.Tensor
    prompt: torch.Tensor
    concept: torch.Tensor
    others: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)


class Formula(Protocol):
    """What a method computes at one step for one category."""

    def others(self, category: Category) -> tuple[str, ...]:
        """Texts whose predictions it needs beside the category's own."""
        ...

    def gathers(self, category: Category) -> bool:
        """True where steps before the window change what happens in it."""
        ...

    def term(self, category: Category, branches: Branches, memory: dict[str, torch.Tensor], guidance: float) -> Term:
        """The term in units of noise and the switch.

        Args:
            category: text, strength and thresholds.
            branches: what the denoiser predicts.
            memory: kept from step to step of one call, empty at the first.
            guidance: scale by which the term will be multiplied.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Term:
    """What a formula gives.

    Attributes:
        value: the term in units of noise.
        switch: the share of it that is let through, element by element.
        presence: how much of the concept each image's prediction holds, shape (rows,), by which harmless images are
            told; None stands for the norm of the term over the norm of the guidance step.
    """

    value: torch.Tensor
    switch: torch.Tensor
    presence: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How much of the extra work is done; the defaults do all of it.

    Args:
        joined: True computes all branches as one batch, as the reference pipeline does; False leaves the plain rows a
            call of their own, so that images which the policy leaves alone keep their bits.
        refresh: the concept's branch is computed at every `refresh`-th step of the window and its difference to the
            unconditional one is held between; 1 computes it at every step.
        skip_below: after the first step of the window a category leaves an image alone from then on if the term's
            presence (see `Term`) is below this there; 0 never skips.
        gather: False computes no branch before the window; what a momentum would have gathered there is lost.
    """

    joined: bool = False
    refresh: int = 1
    skip_below: float = 0.0
    gather: bool = True


COMPLETE = Schedule()
"""All of the work."""

PolicyOf = Callable[[Call], Sequence[SafetyPolicy | None]]
"""For each image of a call its policy, None to leave it alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceTerm:
    """An intervention on the prediction.

    Args:
        name: how reports call it.
        formula: what the method computes.
        policies: for each image of a call its policy; see `everywhere`.
        schedule: how much of the extra work is done.
        strength: factor on the term; 1 as fitted, 0 is off.
        distilled_scale: for models without classifier-free guidance (guidance-distilled, or a guidance of 1): the term
            is taken relative to the prompt's prediction and multiplied by this. None refuses them.
    """

    name: str
    formula: Formula
    policies: PolicyOf
    schedule: Schedule = COMPLETE
    strength: float = 1.0
    distilled_scale: float | None = None
    site: Site = "prediction"

    def scaled(self, strength: float) -> GuidanceTerm:
        """The same term at another strength."""
        return dataclasses.replace(self, strength=strength)

    def check(self, host: Any) -> None:
        """Every model has a prediction; what depends on steps and guidance is checked at the first step."""

    def begin(self, call: Call) -> GuidanceEffect | None:
        """The effect on one call; None where no image has a policy."""
        policies = tuple(self.policies(call))
        return GuidanceEffect(self, policies) if any(policies) else None


def everywhere(policy: SafetyPolicy) -> PolicyOf:
    """The same policy for every image."""
    return lambda call: [policy] * call.images


def for_prompts(policy: SafetyPolicy, wanted: Callable[[str], bool]) -> PolicyOf:
    """The policy for images whose prompt is wanted; without prompts (embeddings were given), for every image."""
    return lambda call: [
        policy if call.prompts is None or wanted(call.prompts[row]) else None for row in range(call.images)
    ]


class GuidanceEffect:
    """One call: the held branches, the memory of each category, and the evidence."""

    def __init__(self, term: GuidanceTerm, policies: Sequence[SafetyPolicy | None]) -> None:
        self._term, self._policies = term, policies
        self._categories: dict[Category, list[bool]] = {}
        for row, policy in enumerate(policies):
            for category in policy.categories if policy else ():
                self._categories.setdefault(category, [False] * len(policies))[row] = True
        self._memory: dict[Category, dict[str, torch.Tensor]] = {one: {} for one in self._categories}
        self._held: dict[tuple[Category, str], torch.Tensor] = {}
        self._ledger = _Ledger(len(policies))
        self.texts = tuple(dict.fromkeys(text for category in self._categories for text in self._texts(category)))
        self.joined = term.schedule.joined

    def wanted(self, step: Step) -> Mapping[str, Sequence[bool]]:
        """Text -> the images whose policy asks for it at this step."""
        if step.index == 0:
            self._refuse_inert(step)
        wanted: dict[str, Sequence[bool]] = {}
        for category, mask in self._categories.items():
            if self._fresh(category, step):
                for text in self._texts(category):
                    before = wanted.get(text, [False] * len(mask))
                    wanted[text] = [one or other for one, other in zip(before, mask, strict=True)]
        return wanted

    def term(self, step: Step, predictions: Predictions) -> torch.Tensor | None:
        """The sum over the categories, in the model's own units; None where nothing is applied."""
        total: torch.Tensor | None = None
        for category, mask in self._categories.items():
            if not self._computed(category, step):
                continue
            found = self._one(category, mask, step, predictions)
            if found is not None:
                total = found if total is None else total + found
        return total

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Per image: steps at which a term was applied, mean share of the switch that is open, norm of the term."""
        return [
            {
                **record,
                "skipped": policy is not None and not any(mask[row] for mask in self._categories.values()),
                "policy": policy.name if policy else None,
            }
            for row, (record, policy) in enumerate(zip(self._ledger.records(), self._policies, strict=True))
        ]

    def _one(
        self, category: Category, mask: Sequence[bool], step: Step, predictions: Predictions
    ) -> torch.Tensor | None:
        branches, to_noise = self._branches(category, step, predictions)
        term = self._term.formula.term(category, branches, self._memory[category], self._scale(step))
        window = category.window.steps(step.total)
        if step.index not in window:
            return None
        applied = torch.tensor(mask, device=term.value.device)
        strength = self._term.strength * category.weight
        if predictions.unconditional is None:
            strength *= self._scale(step)
        value = _only(applied, strength * term.value)
        if step.index == window[0] and self._term.schedule.skip_below > 0:
            applied = applied & (_presence(term, value, branches) >= self._term.schedule.skip_below)
            self._categories[category] = applied.tolist()
            value = _only(applied, value)
        self._ledger.book(step.index, applied, value, term.switch)
        return value / to_noise if to_noise else torch.zeros_like(value)

    def _branches(self, category: Category, step: Step, predictions: Predictions) -> tuple[Branches, float]:
        """The branches in units of noise; a branch that is not fresh is the held difference on today's anchor."""
        to_noise = step.level.to_noise
        prompt = predictions.conditional * to_noise
        anchor = prompt if predictions.unconditional is None else predictions.unconditional * to_noise
        said = {text: self._branch(text, anchor, category, step, predictions) for text in self._texts(category)}
        concept = said.pop(category.text)
        return Branches(anchor=anchor, prompt=prompt, concept=concept, others=said), to_noise

    def _branch(
        self, text: str, anchor: torch.Tensor, category: Category, step: Step, predictions: Predictions
    ) -> torch.Tensor:
        """The prediction for one text in units of noise."""
        if not self._fresh(category, step):
            return anchor + self._held[category, text]
        asked = predictions.of_text.get(text)  # None where every image is left alone by now
        found = anchor if asked is None else asked * step.level.to_noise
        if not torch.isfinite(found).all():
            warnings.warn(
                EvenhandWarning(f"{self._term.name}: the prediction for {text!r} is not finite"), stacklevel=2
            )
        if self._term.schedule.refresh > 1:
            self._held[category, text] = found - anchor
        return found

    def _texts(self, category: Category) -> tuple[str, ...]:
        """The category's own text first."""
        return (category.text, *self._term.formula.others(category))

    def _computed(self, category: Category, step: Step) -> bool:
        """Whether the category has a term at this step, applied or only gathered."""
        window = category.window.steps(step.total)
        first = window[0] if window else step.total
        if self._term.schedule.gather and self._term.formula.gathers(category):
            first = 0
        return first <= step.index < window.stop

    def _fresh(self, category: Category, step: Step) -> bool:
        """Whether the category's branch is computed anew at this step."""
        if not self._computed(category, step):
            return False
        window = category.window.steps(step.total)
        if step.index < window[0]:
            return True
        return (step.index - window[0]) % self._term.schedule.refresh == 0

    def _scale(self, step: Step) -> float:
        return step.guidance if step.guidance > 1 else float(self._term.distilled_scale or 0.0)

    def _refuse_inert(self, step: Step) -> None:
        name = self._term.name
        if step.guidance <= 1 and self._term.distilled_scale is None:
            raise InertGuidanceError(
                f"{name} is inert at guidance {step.guidance:g}: its term is multiplied by the guidance; give one "
                "above 1, or distilled_scale for a model that takes none"
            )
        for category in self._categories:
            if not category.window.steps(step.total):
                raise InertGuidanceError(
                    f"{name} is inert: the window of {category.text[:40]!r} starts at {category.window.start} and the "
                    f"schedule has {step.total} steps; give the start as a fraction, or more steps"
                )
            whole = [one for one in (category.window.start, category.window.stop) if isinstance(one, int) and one]
            if whole and step.total < _COUNTED_STEPS:
                warnings.warn(
                    EvenhandWarning(
                        f"{name}: a window in whole steps was meant for {_COUNTED_STEPS} steps, here are {step.total}: "
                        f"it starts at {category.window.start}; give it as a fraction"
                    ),
                    stacklevel=2,
                )


_COUNTED_STEPS = 50
"""The schedule of the published presets, whose windows are whole steps."""


def _only(applied: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """`value` in the rows that are applied, exact zeros elsewhere."""
    shape = (-1, *[1] * (value.ndim - 1))
    return torch.where(applied.view(shape), value, torch.zeros_like(value))


def _presence(term: Term, value: torch.Tensor, branches: Branches) -> torch.Tensor:
    if term.presence is not None:
        return term.presence
    guidance_step = (branches.prompt - branches.anchor).flatten(1).norm(dim=1)
    return value.flatten(1).norm(dim=1) / guidance_step.clamp(min=torch.finfo(guidance_step.dtype).tiny)


class _Ledger:
    """What was applied to each image."""

    def __init__(self, images: int) -> None:
        self._steps: list[set[int]] = [set() for _ in range(images)]
        self._terms = torch.zeros(images)
        self._switch, self._norm = torch.zeros(images), torch.zeros(images)

    def book(self, index: int, applied: torch.Tensor, value: torch.Tensor, switch: torch.Tensor) -> None:
        """The term of one category at the step of this index."""
        for steps, one in zip(self._steps, applied.tolist(), strict=True):
            if one:
                steps.add(index)
        weight = applied.float()
        self._terms += weight.cpu()
        self._switch += (weight * (switch > 0).float().flatten(1).mean(dim=1)).cpu()
        self._norm += (weight * value.float().flatten(1).norm(dim=1)).cpu()

    def records(self) -> list[dict[str, Any]]:
        """Per image; the switch is null where no step was active, the norm is summed over the steps."""
        return [
            {
                "active_steps": len(steps),
                "switch": round(switch / terms, 6) if terms else None,
                "norm": round(norm, 6) if math.isfinite(norm) else None,
            }
            for steps, terms, switch, norm in zip(
                self._steps,
                self._terms.tolist(),
                self._switch.tolist(),
                self._norm.tolist(),
                strict=True,
            )
        ]
