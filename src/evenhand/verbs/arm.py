"""The interventions of one arm: from what was typed to what the host attaches."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..concepts.concept import Concept
from ..errors import InputError
from ..host.card import ModelCard
from ..records import content_hash
from ..watch import Watcher

if TYPE_CHECKING:
    from ..host.host import Host
    from ..interventions.assignment import Assigned
    from ..methods.method import Setting
    from ..methods.spec import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """Interventions that are attached together, in order.

    Args:
        name: the SPECs as typed, joined by " + "; None for the plain model.
        interventions: what the host attaches.
        cards: of the fitted ones among them.
        assigned: concept -> what it assigns to each image; a later one in the stack holds over an earlier one.
        fit: content hash of what was fitted for it, None where nothing was.
    """

    name: str | None = None
    interventions: tuple[Any, ...] = ()
    cards: tuple[Mapping[str, Any], ...] = ()
    assigned: Mapping[str, Assigned] = dataclasses.field(default_factory=dict)
    fit: str | None = None

    def check(self, host: Host) -> None:
        """Raises InputError when an intervention does not fit the model."""
        for one in self.interventions:
            one.check(host)

    def fitted_by(self, judge: str | None) -> bool:
        """Whether the judge with this hash took part in a fit, so that its figures would be circular."""
        return judge is not None and any(judge in card["judges"].values() for card in self.cards)

    @property
    def fit_costs(self) -> tuple[Mapping[str, Any], ...]:
        """What each fit cost, for result.json."""
        return tuple(
            {
                "method": card["method"],
                "concept": card["concept"].get("name"),
                "evaluations_per_class": card["effect"].get("evaluations_per_class"),
                "passed": card["effect"].get("passed"),
            }
            for card in self.cards
        )

    def attached(self, host: Host) -> contextlib.AbstractContextManager[Any]:
        """The host with the interventions, inside the block."""
        return host.attached(*self.interventions) if self.interventions else contextlib.nullcontext()


PLAIN = Arm()


def fit_facts(arms: Sequence[Arm]) -> dict[str, Any]:
    """What run.json keeps of fitted arms, so that a run is not continued with another fit of the same name."""
    found = {arm.name: arm.fit for arm in arms if arm.fit is not None}
    return {"fits": found} if found else {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedArm:
    """An arm as it was typed and checked, before any model is loaded.

    Args:
        specs: in order; empty for the plain model.
        setting: what the methods may know.
    """

    specs: tuple[Spec, ...] = ()
    setting: Setting | None = None

    @property
    def name(self) -> str | None:
        """The SPECs as typed, None for the plain model."""
        return " + ".join(spec.text for spec in self.specs) or None

    def build(self, host: Host, judge: str | None, watcher: Watcher) -> Arm:
        """The arm on a model; what is not stored yet is fitted, and stored.

        Args:
            host: the model.
            judge: name of the fit judge, None for the default one.
            watcher: told of progress.

        Raises: InputError for an intervention that does not fit the model; DeclinedError when a method declines.
        """
        if not self.specs or self.setting is None:
            return PLAIN
        from ..methods.table import assigned, interventions, recalled
        from .fits import Fits, load_saved, tensors_hash

        fits = Fits(host, judge, watcher)
        built: list[Any] = []
        draws: dict[str, Assigned] = {}
        for typed in self.specs:
            spec, setting = typed, self.setting
            if typed.path is not None:
                saved = load_saved(typed.path, host)
                fits.seen.extend(saved)
                spec, setting = recalled(typed, saved), dataclasses.replace(setting, fitted=saved)
            built += interventions(spec, setting, fits.obtain)
            draws |= assigned(spec, setting)
        cards = tuple(one.card.to_dict() for one in fits.seen)
        fit = content_hash([tensors_hash(one.tensors) for one in fits.seen]) if fits.seen else None
        arm = Arm(name=self.name, interventions=tuple(built), cards=cards, assigned=draws, fit=fit)
        arm.check(host)
        return arm


NOTHING = PlannedArm()


def plan_arm(texts: Sequence[str], card: ModelCard, concepts: Sequence[Concept], seed: int) -> PlannedArm:
    """The arm of repeated `--with SPEC`.

    Args:
        texts: as typed; one text may stack several, "A + B".
        card: of the model; methods may use its words for a concept.
        concepts: those that are measured, with the targets that the user gave.
        seed: of the run.

    Raises:
        InputError: a malformed SPEC, an unknown method, or a parameter that it cannot use.
    """
    if not texts:
        return NOTHING
    # methods need torch, without which a plain audit is refused at once where its input cannot be used
    from ..methods.method import Setting
    from ..methods.spec import parse_spec
    from ..methods.table import interventions, method_of

    targets: Mapping[str, Mapping[str, float]] = {
        concept.name: dict(zip(concept.class_names, concept.reference, strict=True)) for concept in concepts
    }
    setting = Setting(guidance_text=card.guidance_text, targets=targets, seed=seed)
    specs = tuple(parse_spec(part) for text in texts for part in stacked(text))
    for spec in specs:
        if spec.path is None:
            method, values = method_of(spec)
            if not method.plans(setting, values):
                interventions(spec, setting)
    return PlannedArm(specs=specs, setting=setting)


def stacked(text: str) -> list[str]:
    """The SPECs of "A + B", in order; a plus inside quotes belongs to a value.

    Raises:
        InputError: nothing before or after a plus.
    """
    parts, quoted, start = [], False, 0
    for place, letter in enumerate(text):
        if letter == '"' and text[place - 1 : place] != "\\":
            quoted = not quoted
        if not quoted and text[place : place + 3] == " + ":
            parts.append(text[start:place].strip())
            start = place + 3
    parts.append(text[start:].strip())
    if not all(parts):
        raise InputError(f'--with "{text}": expected a SPEC on both sides of the plus')
    return parts
