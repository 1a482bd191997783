"""Selection of the initial noise: what the model would make anyway, chosen so that the shares are the target's.

A share costs at least KL(target || natural share) nats, whoever pays them: .14 where a class has a quarter of the
images, .51 at a tenth, 1.08 at .03. Selection pays exactly that and nothing within a class: its images are the
model's own. It takes time instead, so it declines where a class hardly ever appears.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evenhand.concepts.concept import Concept
from evenhand.errors import DeclinedError, EvenhandWarning, InputError
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.assignment import Assigned
from evenhand.interventions.noise_selection import NoiseSelection, Wanted
from evenhand.methods.class_texts import concept_of
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import ALLOCATION, Method, Parameter, Setting
from evenhand.methods.prompt_mix import words_of
from evenhand.methods.ranges import COUNT, Range
from evenhand.methods.selection_cost import together
from evenhand.methods.selection_fit import fit_noise_selection, work_of_selection
from evenhand.methods.selection_joint import LEAST, NAME, SHOWN, common_share, table_of
from evenhand.methods.shown_classes import (
    CLASS,
    CONCEPT,
    FILTER,
    PHRASES,
    assigned_classes,
    classes_of,
    left_alone,
    parts_of,
    plans_of,
    recall_concepts,
)
from evenhand.methods.vector_trials import row_and_prompt, row_for

LEAST_SHARE = 0.02
"""An upper limit of the natural share below this declines: at .01 a reading that is right in 95 % of the noises picks
true ones in 16 % of the cases, and an image takes a hundred looks."""


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    return plans_of(NAME, METHOD.parameters, setting, values)


def _build(setting: Setting, values: Mapping[str, Any]) -> Attachable:
    concept = concept_of(values, setting.concept)
    tables = [one.card.calibration for one in setting.fitted]
    if not all({"look", "check"} <= one.keys() for one in tables):
        raise InputError(f"{NAME}: what was saved is of an older kind, with judges of latents; fit it again")
    cards = [one.card for one in setting.fitted]
    look, check = common_share(cards, LEAST), common_share(cards, SHOWN)
    return NoiseSelection(
        name=NAME,
        factors=tuple(_words(Concept.from_dict(one.card.concept)) for one in setting.fitted),
        classes={name: tuple(parts_of(concept, name)) for name in concept.class_names},
        look=look,
        verify=check,
        wanted=_wanted(setting, concept, values, _declined(setting, concept, values), (look, check)),
        tries=int(values["tries"]),
        strength=values["strength"],
    )


def _words(concept: Concept) -> dict[str, str]:
    return {name: words_of(concept, name) for name in concept.class_names}


def _declined(setting: Setting, concept: Concept, values: Mapping[str, Any]) -> frozenset[str]:
    """Rows in which a class that is wanted hardly ever appears by itself.

    Raises:
        DeclinedError: all rows are.
    """
    shown = setting.target(concept) if values["class"] is None else {values["class"]: 1.0}
    wanted = [
        {parts_of(concept, name)[place] for name, share in shown.items() if share > 0}
        for place in range(len(setting.fitted))
    ]
    found: dict[str, str] = {}
    rows: set[str] = set()
    for one, names in zip(setting.fitted, wanted, strict=True):
        for name in names:
            uppers = one.card.calibration.get(f"upper {name}", {})
            rows |= uppers.keys()
            for row, upper in uppers.items():
                if upper < LEAST_SHARE:
                    found[row] = f"{name} has a natural share of at most {upper:.3f}"
    if rows and found.keys() >= rows - {""}:
        row, why = next(iter(found.items()))
        raise DeclinedError(
            f"{NAME} declines: in {row or 'all prompts'} {why} (at least {LEAST_SHARE} is needed); use concept-vector"
        )
    if found:
        reasons = "; ".join(f"{row}: {why}" for row, why in found.items() if row)
        warnings.warn(EvenhandWarning(f"{NAME} leaves some prompts alone: {reasons}; use concept-vector"), stacklevel=2)
    return frozenset(found)


def _wanted(
    setting: Setting, concept: Concept, values: Mapping[str, Any], declined: frozenset[str], shares: tuple[float, float]
) -> Callable[[Call], list[Wanted | None]]:
    show = classes_of(NAME, setting, concept, values)
    rows = {row for one in setting.fitted for some in one.card.calibration.values() for row in some}

    def wanted(call: Call) -> list[Wanted | None]:
        found: list[Wanted | None] = []
        for place, name in enumerate(show(call)):
            row = row_for(rows, *row_and_prompt(call, place))
            if row in declined or left_alone(values, call, place, [concept]):
                found.append(None)
                continue
            least, shown = (
                _odds(setting.fitted, concept, name, row, which, share)
                for which, share in zip((LEAST, SHOWN), shares, strict=True)
            )
            found.append(Wanted(name=name, least=least, shown=shown))
        return found

    return wanted


def _odds(fitted: Sequence[Fitted], concept: Concept, name: str, row: str, which: str, share: float) -> float:
    """Log-odds from which on a noise is finished, or shows its class; of a joint from those of its factors."""
    tables = [table_of(one.card, which, part, share) for one, part in zip(fitted, parts_of(concept, name), strict=True)]
    return together([table.get(row, table[""]) for table in tables])


def _assigns(setting: Setting, values: Mapping[str, Any]) -> dict[str, Assigned]:
    return assigned_classes(setting, concept_of(values, setting.concept), values)


METHOD = Method(
    name=NAME,
    site="selection",
    source="rejection sampling with an early look; noises are selected in Qi et al. 2024, arXiv:2407.14041",
    summary="tries noises for a few steps and finishes one that shows the wanted class; images are the model's own",
    parameters=(
        CONCEPT,
        *PHRASES,
        CLASS,
        ALLOCATION,
        Parameter(name="tries", help="noises that an image may try", kind="number", default="128", range=COUNT),
        FILTER,
        Parameter(
            name="share",
            help="of the steps, after which is looked; else the cheapest of six",
            kind="number",
            range=Range(above=0, below=1),
            fits=True,
        ),
        Parameter(
            name="images", help="per prompt, to calibrate on", kind="number", default="150", range=COUNT, fits=True
        ),
    ),
    build=_build,
    plans=_plans,
    fit=fit_noise_selection,
    work=work_of_selection,
    assigns=_assigns,
    recall=lambda saved: recall_concepts(NAME, saved),
)
