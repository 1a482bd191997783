"""What a method is: a name, where it comes from, its parameters, what it fits, and how to build an intervention."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.concepts.reading import did_you_mean
from evenhand.errors import InputError
from evenhand.host.sites import Attachable, Site
from evenhand.interventions.assignment import Assigned
from evenhand.methods.fitting import FitPlan, Fitted, Fitting, Preview, Work
from evenhand.methods.ranges import COUNT_OR_NONE, FINITE, PART, Range

Kind = Literal["text", "number", "start", "choice"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a SPEC.

    Args:
        name: its key.
        help: one line for `evenhand list methods`.
        kind: "text"; "number"; "start", a whole number of steps or a share of them with a point in it; or "choice".
        default: None where the method finds it itself.
        choices: of kind "choice".
        range: of kind "number", the numbers that it takes.
        fits: whether it decides what is fitted; others only decide how it is used.
    """

    name: str
    help: str
    kind: Kind = "text"
    default: str | None = None
    choices: tuple[str, ...] = ()
    range: Range = FINITE
    fits: bool = False

    def read(self, text: str, method: str) -> Any:
        """The value of a typed text.

        Raises:
            InputError: not of this kind, or a number outside the range.
        """
        if self.kind == "choice" and text not in self.choices:
            raise InputError(f"{method}: {self.name}={text}, expected {', '.join(self.choices)}")
        if self.kind in ("text", "choice"):
            return text
        counted = self.kind == "start" and text.isdecimal()
        try:
            value = int(text) if counted else float(text)
        except ValueError:
            raise InputError(f"{method}: {self.name}={text}, expected {self._expected}") from None
        if value not in (self.range if self.kind == "number" else COUNT_OR_NONE if counted else PART):
            raise InputError(f"{method}: {self.name}={text}, expected {self._expected}")
        return value

    @property
    def _expected(self) -> str:
        if self.kind == "start":
            return "a whole number of steps, or a share of them with a point in it, 0.0 to 1.0"
        return str(self.range)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What a method may know when it builds an intervention.

    Args:
        guidance_text: concept -> the text by which the model's card says it; empty where it says none.
        targets: concept -> share per class, as far as the user gave them.
        seed: the run's seed.
        fitted: what the method's plans gave, in their order.
    """

    guidance_text: Mapping[str, str] = dataclasses.field(default_factory=dict)
    targets: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    seed: int = 0
    fitted: tuple[Fitted, ...] = ()

    def concept(self, name: str) -> Concept:
        """A concept of the library or of a file."""
        return load_concept(name)

    def target(self, concept: Concept) -> Mapping[str, float]:
        """The wanted share of each class of a concept."""
        given = self.targets.get(concept.name)
        return dict(zip(concept.class_names, concept.reference, strict=True)) if given is None else given


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table.

    Args:
        name: as in a SPEC.
        site: where its intervention acts.
        source: paper and identifier.
        summary: one line.
        parameters: what a SPEC may set; every method also has `strength`.
        build: from the setting and the read parameters to an intervention, or to several that are attached together.
        plans: what must be fitted first; the plans of one method may name another, so that they share what is stored.
        fit: carries out a plan of this method; None for a method that fits nothing itself.
        work: what carrying out a plan does, for `fit --dry-run`; None where it cannot be told beforehand.
        assigns: concept -> the class that each image is to show, where the method assigns any: then reports state the
            success per assigned class.
        recall: from what was saved (one for each plan) to the parameters, as typed, that it was fitted with; None for a
            method that fits nothing.
    """

    name: str
    site: Site
    source: str
    summary: str
    parameters: tuple[Parameter, ...]
    build: Callable[[Setting, Mapping[str, Any]], Attachable | Sequence[Attachable]]
    plans: Callable[[Setting, Mapping[str, Any]], Sequence[FitPlan]] = lambda setting, values: ()
    fit: Callable[[Fitting, Mapping[str, Any]], Fitted] | None = None
    work: Callable[[Preview, Mapping[str, Any]], Sequence[Work]] | None = None
    assigns: Callable[[Setting, Mapping[str, Any]], Mapping[str, Assigned]] = lambda setting, values: {}
    recall: Callable[[Sequence[Fitted]], Mapping[str, str]] | None = None

    def read(self, given: Mapping[str, str]) -> dict[str, Any]:
        """All parameters with their values, defaults included.

        Raises:
            InputError: an unknown key, or a value of the wrong kind.
        """
        known = {one.name: one for one in (*self.parameters, STRENGTH)}
        for key in given:
            if key not in known:
                raise InputError(
                    f"{self.name} has no parameter {key!r}; it has {', '.join(known)}{did_you_mean(key, known)}"
                )
        texts = {name: given.get(name, one.default) for name, one in known.items()}
        return {name: None if text is None else known[name].read(text, self.name) for name, text in texts.items()}


STRENGTH = Parameter(
    name="strength", help="factor on what it does; 1 as calibrated, 0 is off", kind="number", default="1"
)

ALLOCATION = Parameter(
    name="allocation",
    help="who gets which class",
    kind="choice",
    default="stratified",
    choices=("stratified", "iid"),
)
"""Of every method that assigns classes to images."""
