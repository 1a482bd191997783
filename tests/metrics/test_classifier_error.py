"""Rates corrected for the judge's error: the arithmetic, the edges, and how often the interval holds the truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.concepts.library import load_concept
from evenhand.metrics.classifier_error import JudgeError, corrected_rate, corrected_rates
from evenhand.metrics.corrected import corrected_estimates
from evenhand.metrics.intervals import wilson
from evenhand.metrics.many_classes import corrected_shares
from evenhand.metrics.summary import bias_estimates, safety_estimates
from evenhand.metrics.tally import Tally
from evenhand.records import Estimate


def error(se: float, sp: float, n: int = 200) -> JudgeError:
    return JudgeError(hits=round(se * n), positives=n, passes=round(sp * n), negatives=n)


def test_the_point_is_that_of_rogan_and_gladen() -> None:
    # 30 of 100 read as unsafe, Se .9, Sp .8: (.3 + .8 - 1) / (.9 + .8 - 1) = 1 / 7
    assert corrected_rate(30, 100, error(0.9, 0.8))[0] == pytest.approx(1 / 7)


def test_a_rate_that_errors_alone_explain_is_zero_and_not_less() -> None:
    value, (low, high) = corrected_rate(2, 100, error(0.9, 0.9))
    assert value == low == 0.0
    assert 0 < high < 0.15


def test_a_judge_without_error_and_a_large_calibration_leaves_wilsons_interval() -> None:
    value, (low, high) = corrected_rate(30, 100, error(1.0, 1.0, 10**7))
    assert value == pytest.approx(0.3)
    # the same centre, and a width that differs by the pseudo-counts only
    assert (low, high) == pytest.approx(wilson(30, 100), abs=0.01)


@given(k=st.integers(0, 50), se=st.floats(0.6, 1.0), sp=st.floats(0.6, 1.0))
def test_every_interval_lies_in_the_unit_interval_and_holds_its_point(k: int, se: float, sp: float) -> None:
    value, (low, high) = corrected_rate(k, 50, error(se, sp))
    assert 0 <= low <= value <= high <= 1


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Nine rates, three sensitivities and specificities, two sizes: at least .92 in each cell, .94 to .98 on the mean.

    With 2,000 audits a cell's share has a standard error of .005.
    """
    runs, pictures, held, uncorrected = 2000, 200, [], []
    rates, errors = (0.0, 0.005, 0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9), (0.8, 0.9, 0.97)
    for n, rate, se, sp in itertools.product((200, 1000), rates, errors, errors):
        rng = np.random.default_rng([n, *(round(1000 * one) for one in (rate, se, sp))])
        hits, passes = rng.binomial(pictures, se, runs), rng.binomial(pictures, sp, runs)
        read = rng.binomial(n, rate * se + (1 - rate) * (1 - sp), runs)
        _, low, high = corrected_rates(read, n, hits, pictures, passes, pictures)
        held.append(float(np.mean((low <= rate) & (rate <= high))))
        half = 1.96 * np.sqrt(read / n * (1 - read / n) / n)
        uncorrected.append(float(np.mean(abs(read / n - rate) <= half)))
    assert len(held) == 162
    assert min(held) >= 0.92
    assert 0.94 <= np.mean(held) <= 0.98
    # what the correction is for: the interval of what was read holds the truth in a fraction of the audits only
    assert np.mean(uncorrected) < 0.4


def test_many_counts_at_once_are_each_as_alone() -> None:
    rate, low, high = corrected_rates([0, 30, 99], 100, 90, 100, [80, 80, 95], 100)
    alone = [corrected_rate(k, 100, JudgeError(hits=90, positives=100, passes=p, negatives=100)) for k, p in
             ((0, 80), (30, 80), (99, 95))]  # fmt: skip
    assert [(float(a), (float(b), float(c))) for a, b, c in zip(rate, low, high, strict=True)] == alone


def test_a_judge_no_better_than_chance_leaves_everything_open() -> None:
    rate, low, high = corrected_rates(5, 10, 40, 100, 60, 100)
    assert np.isnan(rate)
    assert (float(low), float(high)) == (0.0, 1.0)


def test_it_reads_a_confusion_matrix_and_leaves_abstentions_out() -> None:
    one = JudgeError.of([[95, 3, 2], [4, 90, 6]], place=1)
    assert (one.hits, one.positives, one.passes, one.negatives) == (90, 94, 95, 98)
    blind = JudgeError.of([[95, 5, 0], [0, 0, 100]], place=1)
    assert (blind.sensitivity, blind.specificity) == (0.0, 0.95)


def test_a_judge_no_better_than_chance_corrects_nothing() -> None:
    with pytest.raises(ValueError, match="no better than chance"):
        corrected_rate(5, 10, error(0.4, 0.5))


PERFECT = [[10**6, 0, 0], [0, 10**6, 0]]
HALF_BLIND = [[100, 0, 0], [50, 50, 0]]
"""Of 100 unsafe pictures 50 are read so; no safe one is."""


def levels(*counts: tuple[int, int]) -> list[Estimate]:
    unsafe = load_concept("unsafe")
    tallies = [
        Tally(row=f"row{place}", classes=("safe", "unsafe"), counts=(n - k, k)) for place, (k, n) in enumerate(counts)
    ]
    return safety_estimates(unsafe, tallies)


def test_a_rate_stands_corrected_beside_the_one_that_was_read() -> None:
    # 10 of 100 were read as unsafe, and half of what is unsafe is seen: (.1 + 1 - 1) / (.5 + 1 - 1) = .2
    found = corrected_estimates(load_concept("unsafe"), levels((10, 100)), HALF_BLIND)
    assert [(one.metric, one.prompt) for one in found] == [
        ("corrected:unsafe_rate", "row0"),
        ("corrected:unsafe_rate", None),
    ]
    assert all(one.value == pytest.approx(0.2) for one in found)
    assert all((one.low or 0.0) < 0.2 < (one.high or 0.0) for one in found)


def test_a_judge_that_never_errs_leaves_rates_as_they_were_read() -> None:
    read = levels((0, 40), (10, 40))
    found = corrected_estimates(load_concept("unsafe"), read, PERFECT)
    assert [one.value for one in found] == pytest.approx([one.value for one in read if one.scope == "these"])


def test_a_judge_that_abstains_and_never_errs_leaves_the_rate_of_what_it_judged() -> None:
    # 1,000 pictures of which 800 are unsafe: it abstains on a fifth of each class and reads 640 of 800 as unsafe
    found = corrected_estimates(load_concept("unsafe"), levels((640, 800)), [[800, 0, 200], [0, 800, 200]])
    assert [one.value for one in found] == pytest.approx([0.8, 0.8])
    assert all((one.low or 0.0) < 0.8 < (one.high or 0.0) for one in found)
    assert corrected_estimates(load_concept("unsafe"), levels((640, 800)), [[800, 0, 200], [0, 0, 1000]]) == []


def test_rows_of_unequal_size_count_over_prompts_as_their_mean_varies() -> None:
    # rows of 20 and 80: 2^2 / (1/20 + 1/80) = 64 images; the mean of the rates .5 and .25 is .375
    over = corrected_estimates(load_concept("unsafe"), levels((10, 20), (20, 80)), PERFECT)[-1]
    value, (low, high) = corrected_rate(24, 64, JudgeError.of(PERFECT, 1))
    assert (over.value, over.low, over.high, over.n) == (pytest.approx(value), pytest.approx(low), high, 100)


SKIN = [[90, 8, 2, 10], [5, 90, 5, 0], [0, 10, 90, 0]]
"""Light, medium and dark; the judge abstains on ten light ones."""


def shares(*counts: tuple[int, int, int]) -> list[Estimate]:
    skin = load_concept("skin")
    tallies = [Tally(row=f"row{k}", classes=skin.class_names, counts=one) for k, one in enumerate(counts)]
    return bias_estimates(skin, tallies)


def test_three_classes_are_corrected_together() -> None:
    # shares .5, .3, .2 of what can be judged, through the matrix without its abstentions: [.465, .3, .235] x 1000
    read = np.array([0.5, 0.3, 0.2]) @ np.array([[90, 8, 2], [5, 90, 5], [0, 10, 90]]) / 100
    found = corrected_estimates(load_concept("skin"), shares(tuple(round(one) for one in 1000 * read)), SKIN)
    over = [one for one in found if one.prompt is None]
    assert [one.class_name for one in over] == ["light", "medium", "dark"]
    assert [one.value for one in over] == pytest.approx([0.5, 0.3, 0.2], abs=1e-3)
    assert {one.metric for one in found} == {"corrected:share"}
    assert all((one.low or 0.0) < truth < (one.high or 0.0) for one, truth in zip(over, (0.5, 0.3, 0.2), strict=True))


def test_a_judge_of_three_classes_that_never_errs_leaves_them_and_one_that_knows_nothing_says_nothing() -> None:
    read = shares((20, 60, 20), (0, 100, 0))
    perfect = [[500 * (row == column) for column in range(4)] for row in range(3)]
    found = corrected_estimates(load_concept("skin"), read, perfect)
    expected = [one.value for one in read if one.metric == "share" and one.scope == "these"]
    assert sorted(one.value or 0.0 for one in found) == pytest.approx(sorted(expected), abs=1e-6)
    assert all((one.low or 0.0) <= (one.value or 0.0) <= (one.high or 0.0) for one in found)
    assert corrected_estimates(load_concept("skin"), read, [[1, 0, 0, 0]] * 3) == []
    assert corrected_estimates(load_concept("skin"), read, [[5, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0]]) == []


@pytest.mark.parametrize("truth", [(0.4, 0.35, 0.25), (0.7, 0.2, 0.1), (0.005, 0.3, 0.695), (0.0, 0.5, 0.5)])
@pytest.mark.parametrize("right", [0.8, 0.95])
def test_the_intervals_of_three_classes_cover(truth: tuple[float, ...], right: float) -> None:
    rng = np.random.default_rng(round(1000 * truth[0]))
    judge = np.full((3, 3), (1 - right) / 2) + np.eye(3) * (right - (1 - right) / 2)
    held = np.zeros(3)
    for _ in range(120):
        matrix = [[*rng.multinomial(200, row).tolist(), 0] for row in judge]
        found = corrected_shares(rng.multinomial(300, truth @ judge).tolist(), matrix)
        assert found is not None
        held += [low <= share <= high for share, (_, (low, high)) in zip(truth, found, strict=True)]
    # a standard error of 120 draws is .02
    assert (held / 120 >= 0.9).all()
    assert held.sum() / 360 >= 0.93
