"""--fail-on: what it says, what it means, and that doubt fails."""

from __future__ import annotations

from typing import Any

import pytest

from evenhand.concepts.concept import Concept, ConceptClass
from evenhand.concepts.library import load_concept
from evenhand.errors import InputError, ThresholdError
from evenhand.records import Estimate
from evenhand.verbs.thresholds import check_thresholds, parse_threshold

GENDER, UNSAFE = load_concept("gender"), load_concept("unsafe")
OCCUPATIONS = load_concept("skin").with_target(None)


def estimate(value: float | None, **fields: Any) -> Estimate:
    bounds = {} if value is None else {"low": value - 0.01, "high": value + 0.01, "n": 50}
    return Estimate(**{"metric": "deviation", "concept": "gender", "value": value, **bounds, **fields})


def holds(text: str, *estimates: Estimate) -> bool:
    try:
        check_thresholds([parse_threshold(text, [GENDER, UNSAFE])], estimates)
    except ThresholdError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("deviation.gender<=0.1", 0.1, True),
        ("deviation.gender<=0.1", 0.101, False),
        ("deviation.gender < 0.1", 0.1, False),
        ("deviation.gender>=.1", 0.1, True),
        (" deviation.gender > 1e-1", 0.1, False),
    ],
)
def test_the_comparison_is_the_one_that_is_written(text: str, value: float, expected: bool) -> None:
    assert holds(text, estimate(value)) is expected


def test_a_share_is_that_of_a_class() -> None:
    shares = [estimate(0.4, metric="share", class_name="female"), estimate(0.6, metric="share", class_name="male")]
    assert holds("share.gender.female<=0.5", *shares)
    assert not holds("share.gender.male<=0.5", *shares)


def test_only_the_figure_over_these_prompts_counts() -> None:
    assert holds(
        "deviation.gender<=0.1", estimate(0.05), estimate(0.9, prompt="nurse"), estimate(0.9, scope="like-these")
    )


@pytest.mark.parametrize("estimates", [[], [estimate(None)]])
def test_an_undefined_figure_fails(estimates: list[Estimate]) -> None:
    assert not holds("deviation.gender<=0.1", *estimates)
    assert not holds("deviation.gender>=0", *estimates)


def test_a_circular_figure_fails() -> None:
    assert not holds("deviation.gender<=0.1", estimate(0.05, circular=True))


def test_all_failures_stand_in_one_line() -> None:
    thresholds = [parse_threshold(text, [GENDER]) for text in ("deviation.gender<=0.1", "deviation.gender<=0.2")]
    with pytest.raises(ThresholdError) as error:
        check_thresholds(thresholds, [estimate(0.38)])
    assert str(error.value) == (
        "threshold failed: deviation.gender<=0.1 (it is 0.380, 95 % interval 0.370 to 0.390, n = 50); "
        "deviation.gender<=0.2 (it is 0.380, 95 % interval 0.370 to 0.390, n = 50)"
    )


def test_the_rows_of_a_prompt_set_have_a_threshold_of_their_own() -> None:
    threshold = parse_threshold("recognised.skin>=0.95", [GENDER], [OCCUPATIONS])
    assert (threshold.metric, threshold.concept, threshold.limit) == ("recognised", "skin", 0.95)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deviation<=0.1", "expected METRIC.CONCEPT"),
        ("deviation.gender", "expected METRIC.CONCEPT"),
        ("deviation.gender<=", "expected METRIC.CONCEPT"),
        ("deviation.gender<=ten", "expected METRIC.CONCEPT"),
        ("deviation.gender=0.1", "expected METRIC.CONCEPT"),
        ("deviation.skin<=0.1", "skin is not measured here; measured: gender, unsafe"),
        ("unsafe_rate.gender<=0.1", "no metric unsafe_rate for gender"),
        ("deviation.unsafe<=0.1", "no metric deviation for unsafe; there is: unsafe_rate"),
        ("share.gender<=0.1", "no class for share.gender, expected one of female, male"),
        ("share.gender.woman<=0.1", "class woman for share.gender, expected one of female, male"),
        ("deviation.gender.female<=0.1", "class female for deviation.gender, expected none"),
    ],
)
def test_what_cannot_be_checked_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_threshold(text, [GENDER, UNSAFE])


def test_an_end_of_the_interval_asks_for_proof() -> None:
    # the value .095 has the interval .085 to .105
    assert holds("deviation.gender<=0.1", estimate(0.095))
    assert not holds("deviation.gender.high<=0.1", estimate(0.095))
    assert holds("deviation.gender.low>=0.08", estimate(0.095))
    assert holds("deviation.gender.value<=0.1", estimate(0.095))


def test_ends_of_a_share_follow_the_class() -> None:
    share = estimate(0.4, metric="share", class_name="female")
    assert not holds("share.gender.female.low>=0.395", share)
    assert holds("share.gender.female.high<=0.42", share)
    with pytest.raises(InputError, match=r"class female\.middle for share\.gender"):
        parse_threshold("share.gender.female.middle>=0.4", [GENDER])


def test_a_class_that_is_called_like_an_end_is_a_class() -> None:
    level = Concept(name="level", classes=tuple(ConceptClass(name=one, phrases=(one,)) for one in ("low", "high")))
    found = parse_threshold("share.level.low<=0.5", [level])
    assert (found.class_name, found.end) == ("low", "value")
    assert parse_threshold("share.level.low.high<=0.5", [level]).end == "high"


def test_corrected_and_calibrated_rates_refusals_and_agreement_can_be_held_to() -> None:
    corrected = estimate(0.02, metric="corrected:unsafe_rate", concept="unsafe")
    assert not holds("corrected:unsafe_rate.unsafe.high<=0.025", corrected)
    assert holds("corrected:unsafe_rate.unsafe<=0.025", corrected)
    one = parse_threshold("refusal_rate.mine.csv.high<=0.1", [GENDER], sets=["mine.csv"])
    assert (one.concept, one.end) == ("mine.csv", "high")
    assert parse_threshold("agreement.gender>=0.67", [GENDER]).metric == "agreement"
    assert not holds("calibrated:share.gender.female>=0.4")
