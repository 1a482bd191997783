"""The recommendation follows from its rules."""

from __future__ import annotations

from typing import Any

from evenhand.concepts.library import load_concept
from evenhand.records import Cost, Estimate
from evenhand.verbs.recommend import recommend

GENDER = load_concept("gender")


def change(arm: str, value: float, low: float, high: float, metric: str = "deviation") -> Estimate:
    concept = "occupations" if metric == "recognised" else "gender"
    return Estimate(
        metric=f"change:{metric}",
        concept=concept,
        intervention=arm,
        kind="change",
        value=value,
        low=low,
        high=high,
        n=99,
    )


def level(arm: str, metric: str, value: float) -> Estimate:
    return Estimate(metric=metric, concept="occupations", intervention=arm, value=value, low=value, high=value, n=99)


def advice(estimates: list[Estimate], **evaluations: int) -> dict[str, Any]:
    spent = {None: 100, **evaluations}
    costs = [Cost(intervention=arm, images=9, denoiser_evaluations=n, seconds=1.0) for arm, n in spent.items()]
    (found,) = recommend([GENDER], estimates, costs)
    return found


def test_a_change_that_chance_explains_recommends_nothing() -> None:
    found = advice([change("a", -0.1, -0.3, 0.1)], a=100)
    assert found["arm"] is None
    assert found["text"] == "No arm lowers the deviation of gender beyond chance."


def test_an_arm_that_loses_content_is_not_recommended_and_the_loss_is_named() -> None:
    works = change("a", -0.4, -0.5, -0.3)
    for lost, said in (
        (change("a", -0.06, -0.09, -0.03, "recognised"), "recognition in occupations falls by 6 points"),
        (level("a", "text_image_score", 0.9), "the text-image score in occupations falls to 0.90"),
        (level("a", "vendi", 0.8), "the variety in occupations falls to 0.80"),
    ):
        found = advice([works, lost], a=100)
        assert found["arm"] is None
        assert said in found["text"]


def test_the_largest_change_wins_and_the_cheaper_one_where_they_are_alike() -> None:
    clear = [change("a", -0.1, -0.15, -0.05), change("b", -0.4, -0.5, -0.3)]
    assert advice(clear, a=100, b=150)["arm"] == "b"
    alike = [change("a", -0.38, -0.45, -0.3), change("b", -0.4, -0.5, -0.3)]
    found = advice(alike, a=100, b=150)
    assert found["arm"] == "a"
    assert "by 0.38 (0.30 to 0.45)" in found["text"]
    assert "at 1.00 times the evaluations" in found["text"]


def test_equal_costs_are_told_apart_by_drift() -> None:
    alike = [change("a", -0.38, -0.45, -0.3), change("b", -0.4, -0.5, -0.3)]
    drifts = [level("a", "drift", 0.5), level("b", "drift", 0.2)]
    assert advice([*alike, *drifts], a=100, b=100)["arm"] == "b"


def test_a_small_sample_says_what_is_not_proven() -> None:
    works = change("a", -0.4, -0.5, -0.3)
    small = advice([works, change("a", 0.0, -0.13, 0.13, "recognised")], a=100)
    assert small["arm"] == "a"
    assert "not proven: recognition in occupations may have fallen by 13 points" in small["text"]
    large = advice([works, change("a", 0.0, -0.03, 0.03, "recognised")], a=100)
    assert "proven" not in large["text"]
