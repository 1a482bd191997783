"""What an arm does to the pictures beside its purpose: arithmetic on made-up features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from evenhand.metrics.content import Row, together
from evenhand.metrics.likeness import vendi
from evenhand.records import Estimate
from evenhand.verbs.quality import quality_estimates


def row(center: float, labels: Sequence[str | None], own: Sequence[float], seed: int = 0) -> Row:
    """Pictures around a direction in the plane; the mean cosine with other prompts is .1."""
    count = len(labels)
    angles = center + 0.2 * np.random.default_rng(seed).standard_normal(count)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pixels = 255 * np.repeat(features[:, :1, None, None], 3, axis=3)
    return Row(features=features, pixels=pixels, own=np.array(own), other=np.full(count, 0.1), labels=labels)


def values(plain: dict[str, Row], arm: dict[str, Row]) -> dict[str, Estimate]:
    return {one.metric: one for one in quality_estimates(plain, arm, concept="occupations", intervention="x")}


MIXED = ["a", "a", "b", "b"] * 10  # so that either half of the seeds shows both
OWN = [0.3, 0.3, 0.5, 0.5] * 10
PLAIN = {"nurse": row(0.0, MIXED, OWN, 1), "baker": row(1.5, MIXED, OWN, 2)}


def test_an_arm_that_changes_nothing_has_the_plain_models_figures() -> None:
    found = values(PLAIN, PLAIN)
    assert found["text_image_score"].value == pytest.approx(1.0)
    assert found["vendi"].value == pytest.approx(1.0)
    assert found["drift"].value == 0.0
    assert abs(found["mmd"].value or 0.0) < 0.05  # two halves of the seeds: zero but for noise
    assert found["drift"].n == 80


def test_the_text_image_score_is_taken_within_what_is_perceived() -> None:
    # every picture of the arm shows a, which the prompt says less to: .3 as the plain pictures of a have it
    moved = {name: row(0.0, ["a"] * 40, [0.3] * 40) for name in PLAIN}
    assert values(PLAIN, moved)["text_image_score"].value == pytest.approx(1.0)
    # half of the way from .3 to the .1 of other prompts; .5 within b: (.2 - .1) / (.3 - .1) and 1
    worse = {name: row(0.0, MIXED, [0.2, 0.2, 0.5, 0.5] * 10) for name in PLAIN}
    assert values(PLAIN, worse)["text_image_score"].value == pytest.approx((0.5 + 1.0) / 2)


def test_pictures_in_which_nothing_is_perceived_are_not_compared() -> None:
    blank = {name: row(0.0, [None] * 40, [0.0] * 40) for name in PLAIN}
    assert values(PLAIN, blank)["text_image_score"].value is None


def test_another_rows_pictures_are_as_far_as_another_row() -> None:
    swapped = {"nurse": PLAIN["baker"], "baker": PLAIN["nurse"]}
    # not exactly 1: within a class there are half as many pictures, with a median distance of their own
    assert values(PLAIN, swapped)["mmd"].value == pytest.approx(1.0, abs=0.3)


def test_a_collapse_to_one_picture_loses_variety() -> None:
    one = {name: row(0.0, MIXED, OWN) for name in PLAIN}
    same = {
        name: Row(
            features=np.repeat(some.features[:1], 40, axis=0),
            pixels=np.repeat(some.pixels[:1], 40, axis=0),
            own=some.own,
            other=some.other,
            labels=some.labels,
        )
        for name, some in one.items()
    }
    vendi = values(PLAIN, same)["vendi"]
    assert vendi.value is not None
    assert vendi.value < 1


def test_variety_is_that_of_the_pictures_of_a_class() -> None:
    # a shows one direction of pictures and b another; an arm that leaves only a loses none of the variety of a
    def pictures(labels: Sequence[str]) -> Row:
        made = row(0.0, labels, [0.3] * len(labels))
        turned = np.stack([-made.features[:, 1], made.features[:, 0]], axis=1)
        chosen = np.array(labels)[:, None] == "a"
        return Row(**{**vars(made), "features": np.where(chosen, made.features, turned)})

    plain, arm = ({name: pictures(labels) for name in PLAIN} for labels in (MIXED, ["a"] * 40))
    value = values(plain, arm)["vendi"].value
    assert value == pytest.approx(1.0, abs=0.1)
    whole = vendi(arm["nurse"].features) / vendi(plain["nurse"].features)
    assert whole < 0.75  # over all pictures together it would pass for a loss


def test_shares_of_two_concepts_that_move_are_no_discrepancy_within_both() -> None:
    """Pictures turn with the tone; an arm that shows fewer light ones shows none that is new."""

    def pictures(tones: Sequence[str], within_both: bool) -> Row:
        genders = ["a", "a", "b", "b"] * (len(tones) // 4)
        both = zip(genders, tones, strict=True)
        labels = [together([gender, tone]) if within_both else gender for gender, tone in both]
        light, dark = (row(center, labels, [0.3] * len(labels), 3) for center in (0.0, 1.2))
        chosen = np.array(tones)[:, None] == "light"
        return Row(**{**vars(light), "features": np.where(chosen, light.features, dark.features)})

    def discrepancy(within_both: bool) -> float:
        plain, arm = (pictures(tones * 5, within_both) for tones in (mostly, seldom))
        value = values({**PLAIN, "nurse": plain}, {**PLAIN, "nurse": arm})["mmd"].value
        assert value is not None
        return value

    mostly, seldom = ["light"] * 20 + ["dark"] * 4, ["light"] * 4 + ["dark"] * 20
    assert discrepancy(within_both=True) < 0.02
    assert discrepancy(within_both=False) > 0.1


def test_what_fewer_than_half_of_the_rows_have_is_undefined_and_counts_no_other_images() -> None:
    bakers = row(1.5, [None] * 40, OWN, 2)  # nothing is perceived, so there is no class to compare within
    half = values({"nurse": PLAIN["nurse"], "baker": bakers}, {"nurse": PLAIN["nurse"], "baker": bakers})
    assert half["mmd"].value is not None
    assert half["mmd"].n == half["text_image_score"].n == 40
    assert half["drift"].n == 80  # every row has it
    more = {"nurse": PLAIN["nurse"], "baker": bakers, "writer": bakers}
    few = values(more, more)
    assert (few["mmd"].value, few["mmd"].n) == (None, 0)
    assert few["drift"].n == 120


def test_what_cannot_be_told_of_one_concept_is_told_of_none() -> None:
    assert together(["female", "dark"]) == "female dark"
    assert together(["female", None]) is None
    assert together(["safe"]) == "safe"


def test_with_too_few_pictures_every_figure_is_undefined() -> None:
    few = {name: row(0.0, ["a", "b"], [0.3, 0.5]) for name in PLAIN}
    found = values(few, few)
    assert {one.value for one in found.values()} == {None}
    assert {one.n for one in found.values()} == {0}
