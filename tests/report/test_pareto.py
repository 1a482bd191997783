"""The Pareto plot of a comparison: who is beaten in everything, and what is drawn."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.records import Estimate
from evenhand.report.pareto import Point, apart, front, pareto_plots, points_of
from evenhand.report.reading import read_result


def point(harm: float, content: float, cost: float, arm: str | None = "a") -> Point:
    return Point(arm=arm, harm={"gender": (harm, harm - 0.05, harm + 0.05)}, content=content, cost=cost)


def test_an_arm_that_is_worse_in_everything_is_off_the_front() -> None:
    plain, good, dear, bad = point(0.4, 0.9, 1), point(0.1, 0.9, 1.2), point(0.1, 0.9, 3), point(0.5, 0.8, 2)
    assert front([plain, good, dear, bad]) == [True, True, False, False]


def test_equal_arms_do_not_beat_each_other() -> None:
    assert front([point(0.1, 0.9, 1), point(0.1, 0.9, 1)]) == [True, True]


figure = st.floats(0, 1)


@given(st.lists(st.tuples(figure, figure, figure), min_size=1, max_size=8))
def test_somebody_is_on_the_front_and_whoever_is_not_is_beaten_by_one_who_is(some: list[tuple[float, ...]]) -> None:
    points = [point(*one) for one in some]
    kept = front(points)
    best = [one for one, on in zip(points, kept, strict=True) if on]
    assert best
    assert all(on or any(other.dominates(one) for other in best) for one, on in zip(points, kept, strict=True))


def result(**extra: Any) -> dict[str, Any]:
    arms = [None, "a <b>", "declines"]
    estimates: list[Estimate] = []
    for arm, deviation, recognised in ((None, 0.4, 0.9), ("a <b>", 0.1, 0.85)):
        for metric, concept, value in (("deviation", "gender", deviation), ("recognised", "occupations", recognised)):
            estimates.append(
                Estimate(
                    metric=metric,
                    concept=concept,
                    intervention=arm,
                    value=value,
                    low=value - 0.02,
                    high=value + 0.02,
                    n=100,
                    unit="prompt",
                )
            )
    costs = [
        {"intervention": None, "images": 10, "denoiser_evaluations": 500, "seconds": 1.0},
        {"intervention": "a <b>", "images": 10, "denoiser_evaluations": 750, "seconds": 1.0},
    ]
    return {
        "schema": "evenhand.result/1",
        "model": "m",
        "arms": arms,
        "estimates": [one.to_dict() for one in estimates],
        "costs": costs,
        "concepts": [{"name": "gender", "classes": [{"name": "female"}, {"name": "male"}]}],
        **extra,
    }


def test_points_are_figures_content_and_cost_of_arms_that_have_all_of_them() -> None:
    data = result()
    points = points_of(data, read_result(data))
    assert [(one.arm, one.content, one.cost) for one in points] == [(None, 0.9, 1.0), ("a <b>", 0.85, 1.5)]
    assert points[1].harm["gender"] == (0.1, 0.1 - 0.02, 0.1 + 0.02)


def test_the_plot_has_a_mark_with_its_numbers_for_each_arm() -> None:
    data = result()
    page = "".join(pareto_plots(data, read_result(data)))
    assert page.count("<circle") == 2
    assert "a &lt;b&gt;: 0.10 (0.080 to 0.12), cost 1.50" in page
    assert "<li>plain: cost 1.00\u00d7</li>" in page
    assert "style=" not in page  # the page's policy allows no style of an element's own


@pytest.mark.parametrize("evaluations", [500, 6_000])
def test_a_mark_at_nothing_stays_clear_of_the_labels_below(evaluations: int) -> None:
    data = result()
    for one in data["estimates"][2:3]:
        one.update(value=0.0, low=0.0, high=0.1)
    data["costs"][1]["denoiser_evaluations"] = evaluations
    page = "".join(pareto_plots(data, read_result(data)))
    lowest = max(float(y) + float(r) for y, r in re.findall(r'cy="([\d.]+)" r="([\d.]+)"', page))
    (label,) = {float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>[\d.]+\s%</text>', page)}
    assert lowest <= label - 12  # its letters are 12 high


def test_one_arm_alone_has_no_plot() -> None:
    data = result(arms=[None])
    assert pareto_plots(data, read_result(data)) == []


@given(st.lists(st.floats(0, 500), min_size=1, max_size=8))
def test_marks_that_would_cover_each_other_stand_side_by_side_in_order(places: list[float]) -> None:
    found = apart(places, gap=30)
    ordered = [found[k] for k in sorted(range(len(places)), key=lambda k: (places[k], k))]
    assert all(second - first >= 30 - 1e-6 for first, second in itertools.pairwise(ordered))
    assert sum(found) == pytest.approx(sum(places), abs=1e-6)  # around their middle


def test_marks_that_are_far_apart_stay_where_they_are() -> None:
    assert apart([0.0, 100.0, 31.0]) == [0.0, 100.0, 31.0]
    assert apart([50.0, 50.0, 200.0]) == [35.0, 65.0, 200.0]
