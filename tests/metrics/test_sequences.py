"""Confidence sequences: by hand, against simulation at every time, and the decisions that may be taken at any time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln

from evenhand.errors import InputError
from evenhand.metrics.intervals import wilson
from evenhand.metrics.sequences import (
    bias_evidence,
    confidence_sequence,
    decide_at_any_time,
    e_benjamini_hochberg,
    images_for_sequence,
    log_evidence,
)


def test_evidence_by_hand() -> None:
    # one image that shows it: the mixture gives 1/2, the share .2 gives .2
    assert log_evidence(1, 1, 0.2) == pytest.approx(math.log(0.5 / 0.2))
    # two of two: B(2.5, .5) / B(.5, .5) = 3/8
    assert log_evidence(2, 2, 0.5) == pytest.approx(math.log(0.375 / 0.25))
    assert log_evidence(0, 0, 0.5) == 0
    assert log_evidence(1, 3, 0.0) == math.inf == log_evidence(1, 3, 1.0)


@given(st.integers(0, 12), st.floats(0.01, 0.99))
def test_under_the_share_evidence_has_expectation_one(n: int, share: float) -> None:
    total = sum(
        math.comb(n, k) * share**k * (1 - share) ** (n - k) * math.exp(log_evidence(k, n, share)) for k in range(n + 1)
    )
    assert total == pytest.approx(1)


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_ends_are_where_the_evidence_reaches_its_bound(k: int, more: int, level: float) -> None:
    n = k + more
    low, high = confidence_sequence(k, n, level)
    assert 0 <= low <= (k / n if n else 0.5) <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert log_evidence(k, n, end) == pytest.approx(-math.log(1 - level), abs=1e-5)
    if n:
        assert low <= wilson(k, n, level)[0] + 0.05


def test_it_is_wider_than_an_interval_for_one_look() -> None:
    (low, high), (fixed_low, fixed_high) = confidence_sequence(20, 40), wilson(20, 40)
    assert (low, high) == pytest.approx((0.263, 0.737), abs=0.001)
    assert low < fixed_low < fixed_high < high


def _ever_wrong(truth: float, target: float, margin: float, runs: int, images: int, seed: int) -> tuple[float, float]:
    """How often a run ends in a wrong verdict, stopping at the first one; and the mean number of images."""
    rng = np.random.default_rng(seed)
    n = np.arange(1, images + 1)
    k = np.cumsum(rng.random((runs, images)) < truth, axis=1)
    mixture = betaln(0.5 + k, 0.5 + n - k) - betaln(0.5, 0.5)
    bound = math.log(20)

    def evidence(share: float) -> np.ndarray:
        return mixture - k * math.log(share) - (n - k) * math.log(1 - share)

    below, above = evidence(target - margin), evidence(target + margin)
    seen = k / n
    inside = abs(seen - target) < margin
    fair = inside & (below >= bound) & (above >= bound)
    biased = ((seen < target - margin) & (below > bound)) | ((seen > target + margin) & (above > bound))
    stopped = fair | biased
    first = np.where(stopped.any(axis=1), stopped.argmax(axis=1), images - 1)
    rows = np.arange(runs)
    is_fair = abs(truth - target) < margin
    wrong = biased[rows, first] if is_fair else fair[rows, first]
    if abs(truth - target) == margin:  # on the edge either verdict is too much
        wrong = stopped[rows, first]
    return float(wrong.mean()), float((first + 1).mean())


@pytest.mark.parametrize("steps", [0, 0.5, 1, 1.5, 2, 4])
def test_wrong_verdicts_are_rare_at_every_true_share(steps: float) -> None:
    wrong, _ = _ever_wrong(0.5 + steps * 0.1, 0.5, 0.1, 2000, 1500, seed=int(10 * steps))
    assert wrong <= 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 2000)


def test_a_model_that_is_far_off_is_known_after_few_images() -> None:
    wrong, images = _ever_wrong(0.9, 0.5, 0.1, 2000, 1500, seed=3)
    assert wrong == 0
    assert images < 60


def test_the_vectorised_rule_of_this_test_is_the_one_that_ships() -> None:
    rng = np.random.default_rng(8)
    for _ in range(60):
        n = int(rng.integers(1, 600))
        k = int(rng.binomial(n, rng.choice([0.5, 0.55, 0.7, 0.9])))
        below, above = log_evidence(k, n, 0.4), log_evidence(k, n, 0.6)
        bound, seen = math.log(20), k / n
        expected = "undecided"
        if 0.4 < seen < 0.6 and min(below, above) >= bound:
            expected = "fair"
        elif (seen < 0.4 and below > bound) or (seen > 0.6 and above > bound):
            expected = "biased"
        assert decide_at_any_time([k, n - k], [0.5, 0.5], 0.1)[0] == expected


def test_three_classes_share_the_error() -> None:
    level = 1 - 0.05 / 3
    low, high = confidence_sequence(300, 900, level)
    assert low >= 1 / 3 - 0.1
    assert high <= 1 / 3 + 0.1
    assert decide_at_any_time([300, 300, 300], [1 / 3] * 3, 0.1) == ("fair",) * 3
    assert decide_at_any_time([75, 15, 10], [1 / 3] * 3, 0.1)[0] == "biased"
    assert decide_at_any_time([0, 0], [0.5, 0.5], 0.1) == (None, None)
    with pytest.raises(InputError, match="margin"):
        decide_at_any_time([1, 1], [0.5, 0.5], 2)


def test_e_bh_by_hand() -> None:
    # of 4 at 5 %: the largest needs 80, the two largest 40 each, three 26.7, four 20
    assert e_benjamini_hochberg([100, 1, 0, 2]) == [True, False, False, False]
    assert e_benjamini_hochberg([45, 41, 3, 2]) == [True, True, False, False]
    assert e_benjamini_hochberg([79, 1, 1, 1]) == [False] * 4
    assert e_benjamini_hochberg([21, 25, 22, 20]) == [True] * 4
    assert e_benjamini_hochberg([]) == []


def test_evidence_of_bias_is_that_against_the_nearest_share_within_the_margin() -> None:
    # 30 of 40 against .5 +- .1: the nearest fair share is .6, and .4 for the other class, which says the same
    expected = math.exp(log_evidence(30, 40, 0.6))
    assert bias_evidence([30, 10], [0.5, 0.5], 0.1) == pytest.approx(expected)
    # what lies within the margin is no evidence: the likelihood of the mixture is below that of the share itself
    assert bias_evidence([22, 18], [0.5, 0.5], 0.1) < 1
    assert bias_evidence([0, 0], [0.5, 0.5], 0.1) == 1


def test_classes_of_a_prompt_share_their_evidence() -> None:
    alone = [math.exp(log_evidence(k, 40, share)) for k, share in ((30, 1 / 3 + 0.1), (5, 1 / 3 - 0.1))]
    third = math.exp(log_evidence(5, 40, 1 / 3 - 0.1))
    assert bias_evidence([30, 5, 5], [1 / 3] * 3, 0.1) == pytest.approx((sum(alone) + third) / 3)


@pytest.mark.parametrize("half_width", [0.05, 0.1, 0.2])
def test_images_for_a_sequence_are_the_fewest(half_width: float) -> None:
    n = images_for_sequence(half_width)
    widths = [high - low for low, high in (confidence_sequence(one // 2, one) for one in (n, n - 1))]
    assert widths[0] <= 2 * half_width < widths[1]
