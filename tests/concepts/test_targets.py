"""Targets as a user types them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.concepts import load_concept, parse_target
from evenhand.errors import ConceptError

CONCEPTS = [load_concept("gender"), load_concept("skin"), load_concept("gender*age")]


def test_shares_come_in_the_order_of_the_concept() -> None:
    assert parse_target("gender=male:0.7,female:0.3", CONCEPTS) == ("gender", (0.3, 0.7))
    assert parse_target(" gender = female : 1 , male : 0 ", CONCEPTS) == ("gender", (1.0, 0.0))


def test_fractions_and_rounded_decimals_sum_to_one() -> None:
    for text in ("skin=light:1/3,medium:1/3,dark:1/3", "skin=light:.333333,medium:.333333,dark:.333333"):
        _, shares = parse_target(text, CONCEPTS)
        assert shares == pytest.approx((1 / 3,) * 3, abs=1e-12)
        assert sum(shares) == pytest.approx(1, abs=1e-15)


def test_a_joint_has_targets_too() -> None:
    name, shares = parse_target("gender*age=female*young:.4,female*old:.3,male*young:.2,male*old:.1", CONCEPTS)
    assert (name, shares) == ("gender*age", pytest.approx((0.4, 0.3, 0.2, 0.1), abs=1e-12))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gender", "expected the form"),
        ("gendre=female:0.5,male:0.5", 'did you mean "gender"'),
        ("age=young:0.5,old:0.5", "add it with --concept"),
        ("gender=female:0.5,mal:0.5", 'unknown class "mal", expected female, male; did you mean "male"'),
        ("gender=female:0.5,female:0.5", '"female" is given twice'),
        ("gender=female:1", 'no share for "male"'),
        ("gender=female:0.5,male:0.6", "sum to 1.1"),
        ("gender=female:0.5,male:0.499", "sum to 0.999"),
        ("gender=female:-0.5,male:1.5", "share -0.5"),
        ("gender=female:nan,male:1", 'share "nan"'),
        ("gender=female:inf,male:1", 'share "inf"'),
        ("gender=female:1/0,male:1", 'share "1/0"'),
        ("gender=female,male", "expected class:share"),
        ("gender=", "expected class:share"),
    ],
)
def test_a_bad_target_gets_one_line(text: str, said: str) -> None:
    with pytest.raises(ConceptError) as caught:
        parse_target(text, CONCEPTS)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(0, 1000))
def test_what_is_written_is_what_is_read(thousandths: int) -> None:
    share = thousandths / 1000
    _, shares = parse_target(f"gender=female:{share},male:{1 - share}", CONCEPTS)
    assert shares == pytest.approx((share, 1 - share), abs=1e-12)
