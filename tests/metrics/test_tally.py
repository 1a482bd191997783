"""From verdicts to counts."""

from __future__ import annotations

import pytest

from evenhand.concepts import load_concept
from evenhand.errors import InputError
from evenhand.metrics import Tally, tally, worst_case
from evenhand.records import Verdict

GENDER = load_concept("gender")


def verdicts(*labels: str | None) -> list[Verdict]:
    return [Verdict(concept="gender", label=label) for label in labels]


def test_labels_are_counted_per_row_and_abstentions_apart() -> None:
    by_row = {"nurse": verdicts("female", "female", None, "male"), "doctor": verdicts("male")}
    assert tally(GENDER, by_row) == [
        Tally(row="nurse", classes=("female", "male"), counts=(2, 1), abstained=1),
        Tally(row="doctor", classes=("female", "male"), counts=(0, 1)),
    ]
    assert tally(GENDER, by_row)[0].n == 3


def test_assigned_classes_are_counted_apart() -> None:
    found = tally(
        GENDER, {"nurse": verdicts("female", "female", "male", None)}, {"nurse": ["female", "male", "male", "male"]}
    )
    assert [(one.assigned, one.counts, one.abstained) for one in found] == [
        ("female", (1, 0), 0),
        ("male", (1, 1), 1),
    ]


def test_a_row_without_images_is_there_and_empty() -> None:
    assert tally(GENDER, {"nurse": []}) == [Tally(row="nurse", classes=("female", "male"), counts=(0, 0))]


def test_a_tally_survives_json() -> None:
    one = Tally(row="nurse", classes=("female", "male"), counts=(2, 1), abstained=1, assigned="male")
    assert Tally.from_dict(one.to_dict()) == one


def test_what_is_not_of_the_concept_is_refused() -> None:
    with pytest.raises(InputError, match='label "tall" for gender, expected one of female, male'):
        tally(GENDER, {"nurse": verdicts("tall")})
    with pytest.raises(InputError, match='assigned class "tall"'):
        tally(GENDER, {"nurse": verdicts("male")}, {"nurse": ["tall"]})
    with pytest.raises(ValueError, match="verdict on gender, expected skin"):
        tally(load_concept("skin"), {"nurse": verdicts("male")})
    with pytest.raises(ValueError, match="zip"):
        tally(GENDER, {"nurse": verdicts("male")}, {"nurse": []})
    with pytest.raises(ValueError, match="counts"):
        Tally(row="nurse", classes=("female", "male"), counts=(2,))


def test_abstentions_bound_a_share_from_both_sides() -> None:
    # 30 of 50 with 5 abstained: 30/50 and 35/50
    assert worst_case(30, 50, 5) == (0.6, 0.7)
    assert worst_case(0, 0, 0) is None
    for k, n, a in ((3, 10, 8), (-1, 10, 0), (1, 10, -1)):
        with pytest.raises(ValueError, match="expected 0 <= k"):
            worst_case(k, n, a)
