"""A joint of noise selection: all of its fits look after one share of the steps, by bars that were measured there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from test_noise_selection import ROWS, WORLD, fitted

from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.host.sites import Call
from evenhand.interventions.storage import Card
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.selection_cost import together
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import interventions
from evenhand.records import Request
from evenhand.testing.toy import toy_host


@pytest.fixture(scope="module")
def gender() -> Fitted:
    with toy_host(WORLD) as one:
        return fitted(one)


def joint(*fits: Fitted) -> Any:
    (one,) = interventions(parse_spec("noise-selection:concept=gender*age,filter=off"), Setting(fitted=fits))
    return one


def of_age(card: Card, **own: float) -> Fitted:
    """The same fit as one of age, with another look or check for its own."""
    names = {"female": "young", "male": "old"}

    def renamed(key: str) -> str:
        return " ".join(names.get(word, word) for word in key.split())

    calibration = dict(card.calibration)
    for one, share in own.items():
        which, before = {"look": "least", "check": "shown"}[one], calibration[one][""]
        for name in names:
            calibration[f"{which} {name} at {before:g}"] = calibration[f"{which} {name}"]
            calibration[f"{which} {name}"] = calibration.pop(f"{which} {name} at {share:g}")
        calibration[one] = {"": share}
    calibration = {renamed(key): table for key, table in calibration.items()}
    return Fitted({}, dataclasses.replace(card, concept=load_concept("age").to_dict(), calibration=calibration))


def old(one: Fitted) -> Fitted:
    """As it was stored when a card had its own look and check alone."""
    calibration = {key: table for key, table in one.card.calibration.items() if " at " not in key}
    return Fitted({}, dataclasses.replace(one.card, calibration=calibration))


def other_than(own: float, tried: Mapping[str, float]) -> float:
    return next(float(share) for share in tried if float(share) != own)


def test_a_joint_looks_after_one_share_by_the_bars_that_were_measured_there(gender: Fitted) -> None:
    card = gender.card
    look, check = card.calibration["look"][""], card.calibration["check"][""]
    age = of_age(card, look=other_than(look, card.effect["expected_cost"]), check=0.72 if check != 0.72 else 0.56)
    # both know every look and check, and cost least (are right most often) at those that were the one's own
    one = joint(gender, age)
    assert (one.look, one.verify) == (look, check)
    (wanted,) = one.wanted(
        Call(prompts=(ROWS[0],), images=1, requests=(Request(row=ROWS[0], prompt="", index=0, seed=0),))
    )
    woman, young = wanted.name.split("*")
    bars = card.calibration[f"least {woman}"], age.card.calibration[f"least {young} at {look:g}"]
    assert wanted.least == pytest.approx(together([bar[ROWS[0]] for bar in bars]))
    # one that knows its own alone decides for both
    one = joint(gender, old(age))
    assert (one.look, one.verify) == (age.card.calibration["look"][""], age.card.calibration["check"][""])


def test_a_joint_of_bars_from_different_looks_is_refused(gender: Fitted) -> None:
    card = gender.card
    look = card.calibration["look"][""]
    other = other_than(look, card.effect["expected_cost"])
    with pytest.raises(InputError, match=rf"gender {look:g}, age {other:g}.*share= sets one for both") as refused:
        joint(old(gender), old(of_age(card, look=other)))
    assert "\n" not in str(refused.value)
    check = 0.72 if card.calibration["check"][""] != 0.72 else 0.56
    with pytest.raises(InputError, match=rf"gender .*, age {check:g}\), and a joint checks once; fit them again"):
        joint(old(gender), old(of_age(card, check=check)))
