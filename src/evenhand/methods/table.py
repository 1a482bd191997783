"""The methods by name. A new one adds its file and its row here; everything else derives from the table.

A package of somebody else adds its methods as entry points of the group `evenhand.methods`: each is a `Method`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evenhand.concepts.reading import did_you_mean
from evenhand.errors import InputError
from evenhand.host.sites import Attachable
from evenhand.interventions.assignment import Assigned
from evenhand.methods import (
    concept_vector,
    embedding_projection,
    negative_prompt,
    noise_direction,
    noise_selection,
    population_preference,
    prompt_mix,
    safe_guidance,
    sega,
    stereotype_corrector,
    text_enhancing,
)
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import Method, Setting
from evenhand.methods.spec import Spec

METHODS: Mapping[str, Method] = {
    one.name: one
    for one in (
        safe_guidance.METHOD,
        concept_vector.METHOD,
        text_enhancing.METHOD,
        noise_direction.METHOD,
        noise_selection.METHOD,
        stereotype_corrector.METHOD,
        population_preference.METHOD,
        embedding_projection.METHOD,
        sega.METHOD,
        negative_prompt.METHOD,
        prompt_mix.METHOD,
    )
}


GROUP = "evenhand.methods"


@functools.cache
def all_methods() -> Mapping[str, Method]:
    """The methods of the table, and those of installed packages.

    Raises:
        InputError: an entry point that cannot be loaded, is no method, or takes a name that is taken.
    """
    found = dict(METHODS)
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            method = entry.load()
        except Exception as error:  # whatever a foreign module raises on import
            raise InputError(f"the entry point {entry.name} ({entry.value}) cannot be loaded: {error}") from error
        if not isinstance(method, Method) or method.name in found:
            raise InputError(
                f"the entry point {entry.name} ({entry.value}) is {method!r}; expected a Method with a name of its own"
            )
        found[method.name] = method
    return found


def method_of(spec: Spec) -> tuple[Method, dict[str, Any]]:
    """The method of a SPEC, and its parameters.

    Raises:
        InputError: an unknown method, or a parameter that it does not have.
    """
    known = all_methods()
    method = known.get(spec.method)
    if method is None:
        raise InputError(
            f"--with {spec.text}: there is no method {spec.method!r}; expected {', '.join(known)}"
            f"{did_you_mean(spec.method, known)}"
        )
    return method, method.read(spec.parameters)


def recalled(spec: Spec, saved: Sequence[Fitted]) -> Spec:
    """The SPEC of saved interventions: the method of their card, what it was fitted with, and how it is used.

    Args:
        spec: what was typed; its parameters decide how it is used.
        saved: what was stored, one for each factor of a joint.

    Raises:
        InputError: the card names an unknown method, or a parameter is one that decides what is fitted.
    """
    given = dataclasses.replace(spec, method=saved[0].card.method)
    method, _ = method_of(given)
    fixed = [name for name in spec.parameters if any(one.name == name and one.fits for one in method.parameters)]
    if fixed:
        raise InputError(f"--with {spec.text}: {fixed[0]} was decided when it was fitted; fit it anew to change that")
    own = {} if method.recall is None else method.recall(saved)
    return dataclasses.replace(given, parameters={**own, **spec.parameters})


def assigned(spec: Spec, setting: Setting) -> Mapping[str, Assigned]:
    """Concept -> the class that a SPEC assigns to each image; empty where it assigns none."""
    method, values = method_of(spec)
    return method.assigns(setting, values) if values["strength"] else {}


def interventions(
    spec: Spec, setting: Setting, obtain: Callable[[FitPlan], Fitted] | None = None
) -> tuple[Attachable, ...]:
    """The interventions of a SPEC.

    Args:
        spec: as read.
        setting: targets, the model's words, the seed; and what was fitted, for a saved one.
        obtain: gives what a plan asks for, from a store or by fitting; None where nothing is fitted.

    Raises:
        InputError: an unknown method, parameters that it cannot use, or a plan without `obtain`.
    """
    method, values = method_of(spec)
    fitted = setting.fitted
    plans = method.plans(setting, values)
    if plans and not fitted:
        if obtain is None:
            raise InputError(f"--with {spec.text}: {method.name} must be fitted on a model first")
        fitted = tuple(obtain(plan) for plan in plans)
    built = method.build(dataclasses.replace(setting, fitted=fitted), values)
    return tuple(built) if isinstance(built, Sequence) else (built,)
