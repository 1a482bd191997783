"""Krippendorff's alpha against published examples, and abstentions by what the others perceive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.metrics.agreement import abstentions_by_class, alpha_interval, krippendorff_alpha

# K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): examples B and C, units as columns.
TWO_BINARY = ["0100000010", "1110010000"]
FOUR_NOMINAL = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def units(rows: list[str]) -> list[tuple[str | None, ...]]:
    return [tuple(None if one == "." else one for one in column) for column in zip(*rows, strict=True)]


def test_two_judges_of_the_published_example() -> None:
    assert krippendorff_alpha(units(TWO_BINARY)) == pytest.approx(0.095, abs=5e-4)


def test_four_judges_with_missing_values_of_the_published_example() -> None:
    assert krippendorff_alpha(units(FOUR_NOMINAL)) == pytest.approx(0.743, abs=5e-4)


def test_two_judges_by_hand() -> None:
    # 4 images, labels aa ab bb bb: 3 a and 5 b among 8 labels. Observed 2 unequal ordered pairs of 8; expected
    # 2 x 3 x 5 / 7 of 8; alpha = 1 - 2 / (30 / 7) = 1 - 14 / 30
    assert krippendorff_alpha([("a", "a"), ("a", "b"), ("b", "b"), ("b", "b")]) == pytest.approx(1 - 14 / 30)


@given(st.lists(st.sampled_from("ab"), min_size=2, max_size=20).filter(lambda some: len(set(some)) == 2))
def test_those_who_always_agree_have_one(labels: list[str]) -> None:
    votes = [(one, one, None) for one in labels]
    assert krippendorff_alpha(votes) == pytest.approx(1)
    assert alpha_interval(votes) == (pytest.approx(1), (pytest.approx(1), pytest.approx(1)))


@given(st.lists(st.tuples(*[st.sampled_from(["a", "b", "c", None])] * 3), max_size=30), st.randoms())
def test_order_and_names_do_not_matter_and_the_interval_holds_the_value(
    votes: list[tuple[str | None, ...]], rng: object
) -> None:
    shuffled = list(votes)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    renamed = [tuple({"a": "x", "b": "y", "c": "z"}.get(label or "") for label in reversed(row)) for row in shuffled]
    alpha = krippendorff_alpha(votes)
    assert krippendorff_alpha(renamed) == (None if alpha is None else pytest.approx(alpha))
    found = alpha_interval(votes)
    if found is not None:
        value, (low, high) = found
        assert low <= value <= high <= 1 + 1e-12


@pytest.mark.parametrize("votes", [[], [("a", None)], [("a", "a"), ("a", "a")], [(None, None)]])
def test_where_nothing_can_be_compared_there_is_no_alpha(votes: list[tuple[str | None, ...]]) -> None:
    assert krippendorff_alpha(votes) is None
    assert alpha_interval(votes) is None


def test_abstentions_are_told_by_what_the_others_perceive() -> None:
    votes = [("light", "light"), (None, "dark"), (None, "dark"), ("dark", "dark"), ("light", None), (None, None)]
    found = {(one.judge, one.class_name): (one.k, one.n) for one in abstentions_by_class(votes, ["light", "dark"])}
    # of three images that judge 1 perceives as dark judge 0 abstains on two, of one light image on none
    assert found[0, "dark"] == (2, 3)
    assert found[0, "light"] == (0, 1)
    assert found[1, "light"] == (1, 2)
    assert found[1, "dark"] == (0, 1)
