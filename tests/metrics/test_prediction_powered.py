"""Rates from readings of all images and labels of some: the arithmetic, the gain, and how often it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.metrics.intervals import wilson
from evenhand.metrics.prediction_powered import FEWEST_LABELS, Labelled, prediction_powered


def data(read: np.ndarray, truth: np.ndarray, place: np.ndarray, chance: float | np.ndarray, rows: int = 1) -> Labelled:
    """Readings and truths of 0 and 1; every image shows one of two classes."""
    return Labelled(
        read=np.stack([read, np.ones(len(read))], axis=1),
        group=np.repeat(np.arange(rows), len(read) // rows),
        place=place,
        seen=np.stack([truth[place], np.ones(len(place))], axis=1),
        chance=np.broadcast_to(chance, place.shape),
    )


def held(rate: float, se: float, sp: float, rows: int, each: int, labels: int, runs: int) -> tuple[float, float]:
    """How often the interval holds the mean rate of rows that differ, and its mean width."""
    rng = np.random.default_rng([round(1000 * one) for one in (rate, se, sp)] + [rows, each, labels])
    rates = rate + min(rate, 1 - rate) * 0.8 * (np.linspace(-1, 1, rows) if rows > 1 else np.zeros(1))
    found, width = 0, 0.0
    for _ in range(runs):
        truth = rng.random(rows * each) < np.repeat(rates, each)
        read = np.where(truth, rng.random(len(truth)) < se, rng.random(len(truth)) > sp)
        take = labels // rows
        place = np.concatenate([row * each + rng.permutation(each)[:take] for row in range(rows)])
        result = prediction_powered(data(read, truth, np.sort(place), take / each, rows))
        assert result is not None
        value, (low, high) = result
        assert 0 <= low <= value <= high <= 1
        found, width = found + (low <= rate <= high), width + high - low
    return found / runs, width / runs


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Over rates, judges down to one of no use, one prompt and sixteen: .92 in each cell, .94 or more on the mean.

    Near 0 it covers nearly always: the disagreements that are added keep it from pretending to know.
    """
    cells = [
        held(rate, se, sp, rows, each, labels, 100)[0]
        for rate in (0.0, 0.02, 0.3, 0.9)
        for se, sp in ((0.97, 0.97), (0.8, 0.9), (0.5, 0.5))
        for rows, each, labels in ((1, 400, 60), (16, 50, 96))
    ]
    assert min(cells) >= 0.92
    assert 0.94 <= np.mean(cells) <= 0.99


def test_a_good_judge_makes_the_answer_sharper_than_the_labels_alone_and_a_useless_one_hardly_worse() -> None:
    low, high = wilson(30, 100)
    good, useless = (held(0.3, rate, rate, 1, 2000, 100, 40)[1] for rate in (0.97, 0.5))
    assert good < 0.6 * (high - low)
    assert useless < 1.1 * (high - low)


def test_an_unbiased_answer_whatever_the_judge_says() -> None:
    rng = np.random.default_rng(1)
    values = []
    for _ in range(200):
        truth = rng.random(400) < 0.3
        read = rng.random(400) < 0.8  # nothing to do with the truth
        result = prediction_powered(data(read, truth, rng.permutation(400)[:100], 0.25))
        assert result is not None
        values.append(result[0])
    # standard error of the mean of 200 answers of a standard deviation of about .05: .0035
    assert np.mean(values) == pytest.approx(0.3, abs=0.01)


def test_unequal_chances_are_weighed() -> None:
    """Images that the judge reads as the class are labelled more often; the answer is not drawn towards them."""
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(200):
        truth = rng.random(600) < 0.2
        read = np.where(truth, rng.random(600) < 0.9, rng.random(600) < 0.2)
        chance = np.where(read, 0.5, 0.1)
        place = np.flatnonzero(rng.random(600) < chance)
        result = prediction_powered(data(read, truth, place, chance[place]))
        assert result is not None
        inside.append((result[0], result[1][0] <= 0.2 <= result[1][1]))
    assert np.mean([one for one, _ in inside]) == pytest.approx(0.2, abs=0.01)
    assert np.mean([one for _, one in inside]) >= 0.92


def test_with_all_images_labelled_the_judge_does_not_matter() -> None:
    truth = np.arange(100) < 30
    place = np.arange(100)
    results = [prediction_powered(data(read, truth, place, 1.0)) for read in (truth, ~truth)]
    assert [round(one[0], 12) for one in results if one] == [0.3, 0.3]


def test_images_that_show_no_class_are_no_part_of_the_rate() -> None:
    # 40 images: 10 of the class, 10 of the other, 20 that show none, all labelled and read as they are
    shows = np.array([(1, 1)] * 10 + [(0, 1)] * 10 + [(0, 0)] * 20)
    all_of_them = np.arange(40)
    result = prediction_powered(
        Labelled(read=shows, group=np.zeros(40, int), place=all_of_them, seen=shows, chance=np.ones(40))
    )
    assert result is not None
    assert result[0] == pytest.approx(0.5)


def test_rows_weigh_the_same_whatever_their_size() -> None:
    # 20 images at rate 1 and 80 at rate 0
    truth = np.arange(100) < 20
    group = np.where(truth, 0, 1)
    place = np.concatenate([np.arange(10), np.arange(20, 60)])
    chance = np.array([0.5] * 50)
    one = data(truth, truth, place, chance)
    result = prediction_powered(Labelled(read=one.read, group=group, place=place, seen=one.seen, chance=chance))
    assert result is not None
    assert result[0] == pytest.approx(0.5)


def test_a_row_is_taken_out_with_its_labels() -> None:
    truth = np.arange(60) % 3 == 0
    both = data(truth, truth, np.arange(0, 60, 2), 0.5, rows=2)
    second = both.row(1)
    assert len(second.read) == 30
    assert second.place.tolist() == list(range(0, 30, 2))
    assert np.array_equal(second.seen[:, 0], truth[30:][second.place])


def test_few_labels_calibrate_nothing() -> None:
    truth = np.arange(50) % 2 == 0
    few = np.arange(FEWEST_LABELS - 1)
    assert prediction_powered(data(truth, truth, few, 0.1)) is None
