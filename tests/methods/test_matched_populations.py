"""Images of a class's text are weighted so that every other attribute has the shares of other images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenhand.host.noise_level import NoiseLevel
from evenhand.host.sites import Step
from evenhand.methods.matched_populations import matched_weights, matching_weights, worth
from evenhand.methods.trajectories import MeanActivation

LEVEL = NoiseLevel(alpha=0.6, sigma=0.8, prediction="epsilon")
SKEWED = [("female", "dark")] * 20 + [("female", "light")] * 8 + [("male", "dark")] * 4 + [("male", "light")] * 8
EVEN = [("female", "dark"), ("male", "dark"), ("female", "light"), ("male", "light")]


def shares(labels: list[tuple[str, ...]], weights: np.ndarray, column: int) -> dict[str, float]:
    found = dict.fromkeys({row[column] for row in labels}, 0.0)
    for row, weight in zip(labels, weights, strict=True):
        found[row[column]] += weight / weights.sum()
    return found


def test_one_attribute_is_weighted_by_the_quotient_of_its_shares() -> None:
    weights = matching_weights([("a",)] * 3 + [("b",)], [("a",), ("b",)])
    assert weights == pytest.approx([2 / 3] * 3 + [2])  # .5/.75 and .5/.25


def test_every_attribute_has_the_shares_of_the_reference() -> None:
    weights = matching_weights(SKEWED, EVEN)
    assert weights.sum() == pytest.approx(len(SKEWED))
    for column in (0, 1):
        assert list(shares(SKEWED, weights, column).values()) == pytest.approx([0.5, 0.5], abs=1e-6)


def test_images_that_have_the_shares_keep_equal_weights() -> None:
    assert matching_weights(EVEN * 5, EVEN) == pytest.approx(np.ones(20))
    assert matching_weights(EVEN, []) == pytest.approx(np.ones(4))
    assert matching_weights([], EVEN).size == 0


def test_what_the_judge_abstains_from_or_never_saw_says_nothing() -> None:
    labels = [("a",), ("a",), ("b",), (None,)]
    weights = matching_weights(labels, [("a",), ("b",), ("c",), (None,)])  # c cannot be shown by any weight
    assert weights[:2].sum() == pytest.approx(weights[2])
    assert weights[3] == pytest.approx(1.0)


def test_weights_are_worth_two_images_in_five_or_more() -> None:
    weights = matching_weights([("a",)] * 39 + [("b",)], [("b",)] * 30 + [("a",)])
    assert 0.4 * 40 <= worth(weights) <= 0.5 * 40
    assert weights[-1] > 5  # and go as far towards the reference as that allows


def test_what_the_classes_are_about_is_not_weighted() -> None:
    old, young = ([(age, gender) for gender in ("female",) * 30 + ("male",) * 10] for age in ("old", "young"))
    young[0] = ("old", "female")  # read wrongly: must not stand for all old people
    found = matched_weights({"old": old, "young": young}, [("old", "female"), ("young", "male")] * 40)
    assert found["young"][0] == pytest.approx(found["young"][1])
    assert shares(young, found["young"], 1) == pytest.approx({"female": 0.5, "male": 0.5})


def test_what_chance_could_have_made_is_not_weighted() -> None:
    reference = [("female",), ("male",)] * 40
    few, many = [("female",)] * 22 + [("male",)] * 18, [("female",)] * 30 + [("male",)] * 10
    found = matched_weights({"few": few, "many": many}, reference)
    assert found["few"] == pytest.approx(np.ones(40))
    assert found["many"][:30].sum() == pytest.approx(20)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=4, max_size=40),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1, max_size=40),
)
def test_weights_are_positive_finite_and_sum_to_the_images(labels: list, reference: list) -> None:
    weights = matching_weights(labels, reference)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(len(labels))
    assert worth(weights) >= 0.4 * len(labels) - 1e-9


def seen(each: bool) -> tuple[MeanActivation, torch.Tensor]:
    outputs = torch.randn(2, 5, 3, 2, 2, generator=torch.Generator().manual_seed(1))  # two steps, five images
    recorder = MeanActivation("mid_block", spatial=True, each=each)
    for batch in (slice(0, 4), slice(4, 5)):
        for index in range(2):
            step = Step(index=index, total=2, timestep=900.0, after=800.0, level=LEVEL, guidance=1.0)
            recorder.shift(step, outputs[index, batch])
    return recorder, outputs


def test_equal_weights_give_the_same_means() -> None:
    recorder, outputs = seen(each=True)
    plain, _ = seen(each=False)
    recorder.weigh(torch.ones(5))
    assert torch.equal(recorder.by_step(), plain.by_step())  # to the bit, not rounded to half precision
    assert torch.allclose(recorder.by_step(), outputs.mean(dim=1), atol=1e-3)
    assert torch.allclose(recorder.by_step(0), outputs[:, [0, 2, 4]].mean(dim=1), atol=1e-3)


def test_weighted_means_are_those_of_images_that_were_seen_so_often() -> None:
    recorder, outputs = seen(each=True)
    recorder.weigh(torch.tensor([2.0, 1.0, 1.0, 0.0, 1.0]))
    assert torch.allclose(recorder.by_step(), outputs[:, [0, 0, 1, 2, 4]].mean(dim=1), atol=1e-3)
    assert torch.allclose(recorder.by_step(1), outputs[:, 1], atol=1e-3)


def test_single_images_are_kept_on_request_only() -> None:
    recorder, _ = seen(each=False)
    assert not recorder.weighable
    with pytest.raises(RuntimeError, match="each=True"):
        recorder.weigh(torch.ones(5))
