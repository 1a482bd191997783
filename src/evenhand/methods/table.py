"""The methods by name. A new one adds its file and its row here; everything else derives from the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evenhand.concepts.reading import did_you_mean
from evenhand.errors import InputError
from evenhand.host.sites import Attachable
from evenhand.methods import concept_vector, negative_prompt, prompt_mix, safe_guidance, sega, text_enhancing
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import Method, Setting
from evenhand.methods.spec import Spec

METHODS: Mapping[str, Method] = {
    one.name: one
    for one in (
        safe_guidance.METHOD,
        concept_vector.METHOD,
        text_enhancing.METHOD,
        sega.METHOD,
        negative_prompt.METHOD,
        prompt_mix.METHOD,
    )
}


def method_of(spec: Spec) -> tuple[Method, dict[str, Any]]:
    """The method of a SPEC, and its parameters.

    Raises:
        InputError: an unknown method, or a parameter that it does not have.
    """
    method = METHODS.get(spec.method)
    if method is None:
        raise InputError(
            f"--with {spec.text}: there is no method {spec.method!r}; expected {', '.join(METHODS)}"
            f"{did_you_mean(spec.method, METHODS)}"
        )
    return method, method.read(spec.parameters)


def saved_interventions(spec: Spec, setting: Setting, saved: Fitted) -> tuple[Attachable, ...]:
    """The interventions of a saved one.

    Args:
        spec: what was typed; its parameters decide how it is used.
        setting: targets and the seed.
        saved: what was stored.

    Raises:
        InputError: the card names an unknown method, or a parameter is one that decides what is fitted.
    """
    given = dataclasses.replace(spec, method=saved.card.method)
    method, values = method_of(given)
    fixed = [name for name in spec.parameters if any(one.name == name and one.fits for one in method.parameters)]
    if fixed:
        raise InputError(f"--with {spec.text}: {fixed[0]} was decided when it was fitted; fit it anew to change that")
    plan = method.recall(saved) if method.recall is not None else {}
    built = method.build(dataclasses.replace(setting, fitted=(saved,)), {**values, **plan})
    return tuple(built) if isinstance(built, Sequence) else (built,)


def interventions(
    spec: Spec, setting: Setting, obtain: Callable[[FitPlan], Fitted] | None = None
) -> tuple[Attachable, ...]:
    """The interventions of a SPEC.

    Args:
        spec: as read.
        setting: targets, the model's words, the seed.
        obtain: gives what a plan asks for, from a store or by fitting; None where nothing is fitted.

    Raises:
        InputError: an unknown method, parameters that it cannot use, or a plan without `obtain`.
    """
    method, values = method_of(spec)
    plans = method.plans(setting, values)
    if plans and obtain is None:
        raise InputError(f"--with {spec.text}: {method.name} must be fitted on a model first")
    fitted = tuple(obtain(plan) for plan in plans) if obtain is not None else ()
    built = method.build(dataclasses.replace(setting, fitted=fitted), values)
    return tuple(built) if isinstance(built, Sequence) else (built,)
