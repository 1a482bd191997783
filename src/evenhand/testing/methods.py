"""`check_method`: whether a method, one's own or somebody else's, is what its row of the table says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.errors import InputError
from evenhand.host.sites import Attachable
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import Method, Setting
from evenhand.testing.laws import check_intervention
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.testing.toy_fitting import toy_fitting


def check_method(
    method: Method,
    parameters: Mapping[str, str] | None = None,
    *,
    world: ToyWorld | None = None,
    prompt: str = "a nurse",
    rows: Sequence[str] = ("a nurse", "a mechanic"),
) -> None:
    """Check a method's row, what it fits, and the laws of every intervention that it builds, on the toy model.

    Args:
        method: the row.
        parameters: as in a SPEC, where the defaults do not fit the toy world.
        world: the toy world, None for the default one.
        prompt: a prompt of the toy world that the intervention changes.
        rows: prompts to fit on, for a method that is fitted.

    Raises:
        AssertionError: what does not hold, by name.

    Cost: milliseconds; seconds for a method that is fitted.
    """
    world = world or ToyWorld()
    _check_row(method)
    values = method.read(parameters or {})
    fitted = _fit(method, values, world, rows)
    setting = Setting(fitted=fitted)
    built = _built(method, setting, values)
    _hold(all(one.site == method.site for one in built), "it acts at the site of its row")
    for place in range(len(built)):
        check_intervention(lambda place=place: _built(method, setting, values)[place], prompt=prompt, world=world)
    off = _built(method, setting, {**values, "strength": 0.0})
    _hold(all(one.strength == 0 for one in off), "strength=0 turns all of it off")


def _check_row(method: Method) -> None:
    _hold(bool(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", method.name)), "its name can be typed in a SPEC")
    _hold(bool(method.summary and method.source), "it says what it does and where it comes from")
    names = [one.name for one in method.parameters]
    _hold(len(set(names)) == len(names) and "strength" not in names, "its parameters have names of their own")
    _hold(all(one.help for one in method.parameters), "its parameters are explained")
    try:
        method.read({"no such parameter": "1"})
    except InputError:
        return
    _hold(False, "it refuses a parameter that it does not have")


def _fit(method: Method, values: Mapping[str, Any], world: ToyWorld, rows: Sequence[str]) -> tuple[Fitted, ...]:
    """What the plans give, on hosts of their own; a plan of another method is carried out by that method."""
    from evenhand.methods.table import all_methods

    found = []
    for plan in method.plans(Setting(), values):
        owner = method if plan.method == method.name else all_methods()[plan.method]
        _hold(owner.fit is not None, "what it plans can be fitted")
        with toy_host(world) as host:
            found.append(_carried_out(owner, plan, host, world, rows))
        for name, tensor in found[-1].tensors.items():
            _hold(bool(tensor.isfinite().all()), f"what it fits is finite ({name})")
    return tuple(found)


def _carried_out(owner: Method, plan: FitPlan, host: Any, world: ToyWorld, rows: Sequence[str]) -> Fitted:
    if owner.fit is None:
        raise AssertionError("what it plans can be fitted: it does not hold")
    return owner.fit(toy_fitting(host, world, rows=rows), plan.values)


def _built(method: Method, setting: Setting, values: Mapping[str, Any]) -> tuple[Attachable, ...]:
    built = method.build(setting, values)
    return tuple(built) if isinstance(built, Sequence) else (built,)


def _hold(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"{what}: it does not hold")
