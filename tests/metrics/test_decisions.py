"""Fair, biased, undecided."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from evenhand.errors import InputError
from evenhand.metrics import decide, fair_is_possible, images_for_fair_verdict, row_decision
from evenhand.metrics.intervals import wilson
from evenhand.metrics.rows import Row

EVEN = (0.5, 0.5)


def iid(*counts: int) -> Row:
    return Row("row", tuple("abcdef"[: len(counts)]), (counts,), (None,), 0)


def test_two_classes_by_their_intervals() -> None:
    # 150 of 300: 90 % interval [.453, .547] inside [.4, .6]
    assert decide(iid(150, 150), EVEN) == ("fair", "fair")
    # 45 of 50: 95 % interval [.786, .957] outside [.4, .6]
    assert decide(iid(45, 5), EVEN) == ("biased", "biased")
    # 25 of 50: 90 % interval [.387, .613], not inside
    assert decide(iid(25, 25), EVEN) == ("undecided", "undecided")
    # 35 of 50: 95 % interval [.562, .810], not outside
    assert decide(iid(35, 15), EVEN) == ("undecided", "undecided")
    assert decide(iid(0, 0), EVEN) == (None, None)


@given(st.integers(1, 300), st.data(), st.sampled_from([0.05, 0.1, 0.2]), st.sampled_from([0.2, 0.5]))
def test_the_rule_restated(n: int, data: st.DataObject, margin: float, share: float) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n, 0.9)
    outer = wilson(k, n, 0.95)
    expected = "undecided"
    if share - margin <= low and high <= share + margin:
        expected = "fair"
    elif outer[1] < share - margin or outer[0] > share + margin:
        expected = "biased"
    got = decide(iid(k, n - k), (share, 1 - share), margin)
    assert got[0] == expected


@settings(max_examples=40)
@given(st.lists(st.integers(0, 80), min_size=3, max_size=6).filter(sum))
def test_more_classes_are_tested_by_holm(counts: list[int]) -> None:
    classes, n = len(counts), sum(counts)
    target, margin = [1 / classes] * classes, 0.1
    shares = np.array(counts) / n
    # score test of |pi - q| <= d at the nearer edge of the margin, which the Wilson interval inverts
    edges = np.clip(np.where(shares > 1 / classes, 1 / classes + margin, 1 / classes - margin), 1e-9, 1 - 1e-9)
    beyond = np.abs(shares - 1 / classes) > margin
    z = np.abs(shares - edges) / np.sqrt(edges * (1 - edges) / n)
    p_values = np.where(beyond, 2 * norm.sf(z), 1.0)
    if np.any(np.abs(np.log(p_values / 0.05 * np.arange(1, classes + 1)[:, None])) < 1e-6):
        return  # a tie with a level, decided by rounding
    rejected = multipletests(p_values, 0.05, "holm")[0]
    got = decide(iid(*counts), target, margin)
    if "fair" not in got:
        assert [one == "biased" for one in got] == rejected.tolist()
    else:
        assert not rejected.any()


def test_every_class_must_be_inside_for_fair() -> None:
    third = (1 / 3,) * 3
    assert set(decide(iid(200, 200, 200), third)) == {"fair"}
    assert "fair" not in decide(iid(250, 200, 150), third)


def test_quotas_narrow_the_interval_of_an_obedient_model() -> None:
    # 25 of 50 is undecided when drawn independently, and fair when every image shows what it was asked for
    obedient = Row("row", ("a", "b"), ((25, 0), (0, 25)), ("a", "b"), 0)
    assert decide(obedient, EVEN) == ("fair", "fair")


def test_one_word_for_a_row() -> None:
    assert row_decision(["biased", "undecided", "undecided"]) == "biased"
    assert row_decision(["fair", "fair"]) == "fair"
    assert row_decision(["undecided", "undecided"]) == "undecided"
    assert row_decision([None, None]) is None
    assert row_decision([]) is None


def test_images_for_a_fair_verdict() -> None:
    # (1.644854 + 1.644854)^2 x .25 / .01 = 270.55
    assert images_for_fair_verdict() == 271
    # 80 % power: (1.644854 + 1.281552)^2 x 25 = 214.1
    assert images_for_fair_verdict(power=0.8) == 215
    # half the margin needs four times as many: 1082.2
    assert images_for_fair_verdict(0.05) == 1083


def test_the_planned_power_is_reached() -> None:
    rng = np.random.default_rng(0)
    n = images_for_fair_verdict()
    fair = [decide(iid(int(k), int(n - k)), EVEN)[0] == "fair" for k in rng.binomial(n, 0.5, 1000)]
    assert np.mean(fair) == pytest.approx(0.9, abs=3 * math.sqrt(0.09 / 1000))


def test_fifty_images_can_never_be_called_fair() -> None:
    assert not any(fair_is_possible(n) for n in range(51))
    assert not any("fair" in decide(iid(k, 50 - k), EVEN) for k in range(51))
    assert fair_is_possible(66)
    assert "fair" in decide(iid(33, 33), EVEN)


def test_a_useless_margin_is_refused() -> None:
    for margin in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(InputError, match="expected a number between 0 and 1"):
            decide(iid(5, 5), EVEN, margin)
    with pytest.raises(InputError, match="power 1 "):
        images_for_fair_verdict(power=1.0)
