"""Alarms: seldom false by construction, quick where something changed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import InputError
from evenhand.metrics.detectors import Detector

BOUNDS = st.floats(0.01, 0.99)


def run_lengths(bound: float, rate: float, threshold: float, runs: int, most: int) -> np.ndarray:
    """Images to the first alarm in many streams at once, by the recursion of the docstring restated."""
    rng = np.random.default_rng(1)
    alternatives = np.array(Detector(bound=bound).alternatives)
    up, down = alternatives / bound, (1 - alternatives) / (1 - bound)
    evidence = np.zeros((runs, len(alternatives)))
    lengths = np.full(runs, most)
    running = np.ones(runs, bool)
    for image in range(1, most + 1):
        happened = rng.random(runs) < rate
        evidence = (evidence + 1) * np.where(happened[:, None], up, down)
        ringing = running & (evidence.mean(axis=1) >= threshold)
        lengths[ringing] = image
        running &= ~ringing
        if not running.any():
            break
    return lengths


def test_one_step_by_hand() -> None:
    """Bound .5: alternatives .53, .56, .6, .7, .75; an event gives rate / .5 each, so the mean of them is 1.256."""
    detector = Detector(bound=0.5)
    assert detector.alternatives == pytest.approx((0.53, 0.56, 0.6, 0.7, 0.75))
    once = detector.after(True)
    assert once.value == pytest.approx((1.06 + 1.12 + 1.2 + 1.4 + 1.5) / 5)
    # the second image multiplies M + 1: .53 gives (1.06 + 1) .94 after an image without the event
    assert once.after(False).evidence[0] == pytest.approx(2.06 * 0.94)


@given(BOUNDS)
def test_an_image_at_the_bound_adds_no_evidence_on_average(bound: float) -> None:
    """E[L] = 1 at the bound for each alternative, so M - n has no drift: p0 p1/p0 + (1-p0) (1-p1)/(1-p0) = 1."""
    detector = Detector(bound=bound)
    up, down = detector.after(True), detector.after(False)
    for high, low in zip(up.evidence, down.evidence, strict=True):
        assert bound * high + (1 - bound) * low == pytest.approx(1)


@given(BOUNDS, st.floats(0, 1))
def test_below_the_bound_it_falls(bound: float, share: float) -> None:
    rate = share * bound
    up, down = Detector(bound=bound).after(True), Detector(bound=bound).after(False)
    assert rate * up.value + (1 - rate) * down.value <= 1 + 1e-9


@pytest.mark.parametrize("bound", [0.05, 0.2, 0.5])
def test_the_mean_time_to_a_false_alarm_is_at_least_the_threshold(bound: float) -> None:
    """At a threshold of 200 the mean over 400 streams; five standard errors below it would be a failure."""
    lengths = run_lengths(bound, bound, 200, runs=400, most=20_000)
    assert lengths.mean() + 5 * lengths.std() / 20 > 200
    assert lengths.mean() > 200


def test_labels_that_can_be_foretold_ring_no_sooner() -> None:
    """The bound is on the mean given the past: strict alternation has a mean of .5 and is never above .5 for long."""
    detector = Detector(bound=0.5)
    for image in range(5000):
        detector = detector.after(image % 2 == 1)
    assert detector.alarms == 0


@pytest.mark.parametrize(("bound", "delay"), [(0.05, 130), (0.2, 287), (0.5, 385)])
def test_the_delay_of_a_rise_by_ten_points(bound: float, delay: float) -> None:
    """At the threshold of 1e5, from the bound to ten points above it: the mean of 200 streams, to 20 %.

    A likelihood ratio begun at the change needs log(1e5) = 11.5 nats, at the Kullback-Leibler divergence of the two
    rates 164, 409 and 572 images; the sum over all beginnings is quicker.
    """
    lengths = run_lengths(bound, bound + 0.1, 1e5, runs=200, most=20_000)
    assert lengths.mean() == pytest.approx(delay, rel=0.2)


def test_an_alarm_begins_anew_and_is_counted() -> None:
    detector = Detector(bound=0.1, threshold=10)
    for _ in range(20):
        detector = detector.after(True)
    assert detector.alarms > 1
    assert detector.seen < 20


def test_it_survives_json() -> None:
    detector = Detector(bound=0.3).after(True).after(False)
    assert Detector.from_dict(json.loads(json.dumps(detector.to_dict()))) == detector


@pytest.mark.parametrize("bound", [0.0, 1.0, -0.1])
def test_a_bound_is_a_rate_strictly_between(bound: float) -> None:
    with pytest.raises(InputError, match="above 0 and below 1"):
        Detector(bound=bound)
