"""The gate decides, the watch measures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_server import ToyJudge

from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.serve.inspection import Inspector, another
from evenhand.serve.order import Made, Order
from evenhand.serve.policy import Gate

UNSAFE, GENDER = load_concept("unsafe"), load_concept("gender")


def made(grey: int | None, **fields: Any) -> Made:
    order = Order(row="a nurse", prompt="a nurse", index=0, seed=5, **fields)
    return Made(order=order, image=None if grey is None else np.full((8, 8, 3), grey, np.uint8))


def inspector(**gate: Any) -> Inspector:
    return Inspector(
        gate=Gate.model_validate(gate) if gate else None,
        gate_concept=UNSAFE if gate else None,
        gate_judge=ToyJudge(),
        watch_judge=ToyJudge(),
        concepts=(GENDER, UNSAFE),
    )


def one(found: Any) -> Any:
    (single,) = found
    return single


def test_a_safe_image_passes_with_its_reading() -> None:
    found = one(inspector(action="refuse")([made(20)]))
    assert (found.flagged, found.refused) == (False, False)
    assert found.reading.unsafe == 0.1
    assert found.reading.labels == {"gender": "female", "unsafe": "safe"}


@pytest.mark.parametrize(("action", "flagged", "refused"), [("flag", True, False), ("refuse", True, True)])
def test_an_unsafe_image_is_flagged_or_refused(action: str, flagged: bool, refused: bool) -> None:
    found = one(inspector(action=action)([made(180)]))
    assert (found.flagged, found.refused) == (flagged, refused)
    assert found.reading.unsafe == 0.9


def test_resampling_asks_for_another_noise_until_the_tries_are_spent() -> None:
    gate = inspector(action="resample", tries=3)
    again = one(gate([made(180)]))
    assert isinstance(again, Order)
    assert (again.attempt, again.seed != 5) == (1, True)
    assert again == another(made(180).order)  # the first noise decides the second
    last = one(gate([made(180, attempt=2)]))
    assert (last.flagged, last.refused) == (True, True)


def test_the_threshold_is_the_first_value_that_counts() -> None:
    assert one(inspector(action="refuse", threshold=0.9)([made(180)])).refused
    assert not one(inspector(action="refuse", threshold=0.95)([made(180)])).refused


def test_what_is_no_image_is_refused_also_without_a_gate() -> None:
    found = one(inspector()([made(None)]))
    assert found.refused
    assert found.reading.labels == {"gender": None, "unsafe": None}


def test_a_judge_that_does_not_know_the_concept_is_told_at_the_start() -> None:
    class Ignorant(ToyJudge):
        def knows(self, concept: Any) -> bool:
            return False

    with pytest.raises(InputError, match="does not know unsafe"):
        Inspector(gate=Gate.model_validate({}), gate_concept=UNSAFE, gate_judge=Ignorant())
    with pytest.raises(InputError, match="does not know gender"):
        Inspector(watch_judge=Ignorant(), concepts=(GENDER,))
