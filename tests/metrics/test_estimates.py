"""All estimates of a concept together."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.concepts import Concept, load_concept, load_prompts
from evenhand.errors import InputError
from evenhand.metrics import (
    Tally,
    bias_estimates,
    clopper_pearson,
    clopper_pearson_upper,
    goodman,
    obedience_estimates,
    recognition_estimates,
    safety_estimates,
    wilson,
)
from evenhand.metrics.mean_rate import Part, mean_rate
from evenhand.records import Estimate

GENDER, SKIN, UNSAFE = load_concept("gender"), load_concept("skin"), load_concept("unsafe")


def rows(concept: Concept, counts: Sequence[tuple[int, ...]], abstained: int = 0) -> list[Tally]:
    return [
        Tally(row=f"row{i}", classes=concept.class_names, counts=one, abstained=abstained)
        for i, one in enumerate(counts)
    ]


def quotas(concept: Concept, *tables: tuple[tuple[int, ...], ...]) -> list[Tally]:
    return [
        Tally(row=f"row{i}", classes=concept.class_names, counts=counts, assigned=name)
        for i, table in enumerate(tables)
        for name, counts in zip(concept.class_names, table, strict=True)
    ]


def pick(
    found: list[Estimate], metric: str, prompt: str | None = None, label: str | None = None, scope: str = "these"
) -> Estimate:
    (one,) = [
        one for one in found if (one.metric, one.prompt, one.class_name, one.scope) == (metric, prompt, label, scope)
    ]
    return one


def test_a_row_of_two_classes() -> None:
    found = bias_estimates(GENDER, rows(GENDER, [(40, 10)], abstained=2))
    share = pick(found, "share", "row0", "female")
    assert (share.value, share.n, share.abstained, share.unit) == (0.8, 50, 2, "image")
    assert (share.low, share.high) == wilson(40, 50)
    # 95 % interval [.670, .888] lies above .6
    assert share.decision == "biased"
    ratio = pick(found, "deviation_ratio", "row0")
    assert ratio.value == pytest.approx(0.6, abs=1e-12)  # .3 / .5
    assert (ratio.low, ratio.high) == pytest.approx(((share.low - 0.5) * 2, (share.high - 0.5) * 2), abs=1e-12)
    assert ratio.floor == pytest.approx((0.11227517265921706, 0.28), abs=1e-9)
    # sqrt(.09 - .16/49)
    assert pick(found, "deviation").value == pytest.approx(math.sqrt(0.09 - 0.16 / 49), abs=1e-12)


def test_more_classes_have_simultaneous_intervals() -> None:
    found = bias_estimates(SKIN, rows(SKIN, [(30, 15, 5)]))
    for k, name in enumerate(SKIN.class_names):
        share = pick(found, "share", "row0", name)
        assert (share.low, share.high) == goodman([30, 15, 5])[k]


def test_over_prompts_every_row_has_the_same_weight() -> None:
    found = bias_estimates(GENDER, rows(GENDER, [(8, 2), (10, 30)]))
    share = pick(found, "share", None, "female")
    # (.8 + .25) / 2, however many images each has
    assert (share.value, share.n, share.unit) == (pytest.approx(0.525, abs=1e-12), 50, "prompt")
    assert (share.low, share.high) == mean_rate([Part(8, 10, 0.5), Part(10, 40, 0.5)])
    assert share.decision is None
    assert pick(found, "deviation_ratio").value == pytest.approx((0.6 + 0.5) / 2, abs=1e-12)


def test_prompts_like_these_are_spoken_of_from_ten_on() -> None:
    nine, ten = ([(5 + i, 15 - i) for i in range(count)] for count in (9, 10))
    assert {one.scope for one in bias_estimates(GENDER, rows(GENDER, nine))} == {"these"}
    found = bias_estimates(GENDER, rows(GENDER, ten))
    like = pick(found, "share", None, "female", "like-these")
    values = np.array([5 + i for i in range(10)]) / 20
    half = 2.2621571628540993 * values.std(ddof=1) / math.sqrt(10)  # t(.975, 9)
    these = pick(found, "share", None, "female")
    assert like.low == pytest.approx(min(values.mean() - half, these.low), abs=1e-9)
    assert like.value == these.value
    assert like.high >= these.high
    assert pick(found, "deviation", scope="like-these").high >= pick(found, "deviation").high


def test_rows_that_all_agree_do_not_make_prompts_like_these_certain() -> None:
    found = bias_estimates(GENDER, rows(GENDER, [(20, 0)] * 12))
    like = pick(found, "share", None, "female", "like-these")
    assert like.value == 1
    assert like.low < 0.99


def test_quotas_report_success_per_assigned_class() -> None:
    # 70 % success on both sides looks perfectly balanced and is not
    found = bias_estimates(GENDER, quotas(GENDER, ((14, 6), (6, 14))), allocation="stratified")
    assert pick(found, "deviation_ratio", "row0").value == pytest.approx(0, abs=1e-12)
    assert pick(found, "deviation_ratio", "row0").floor == (0.0, 0.0)
    success = pick(found, "success", "row0", "female")
    assert (success.value, success.n) == (0.7, 20)
    assert (success.low, success.high) == clopper_pearson(14, 20)
    assert {one.allocation for one in found} == {"stratified"}


def test_quotas_narrow_the_interval_of_the_share() -> None:
    table = ((19, 1), (1, 19))
    found = bias_estimates(GENDER, quotas(GENDER, table), allocation="stratified")
    free = bias_estimates(GENDER, rows(GENDER, [(20, 20)]))
    narrow, wide = (pick(one, "share", "row0", "female") for one in (found, free))
    assert narrow.value == wide.value == 0.5
    assert narrow.high - narrow.low < (wide.high - wide.low) * 0.7


def test_success_over_prompts_is_exact() -> None:
    found = bias_estimates(GENDER, quotas(GENDER, ((19, 1), (1, 19)), ((17, 3), (2, 18))), allocation="stratified")
    success = pick(found, "success", None, "female")
    # (19 + 17) / 40
    assert success.value == pytest.approx(0.9, abs=1e-12)
    assert (success.low, success.high) == pytest.approx(clopper_pearson(36, 40), abs=1e-9)


def test_no_success_without_assigned_classes() -> None:
    assert not [one for one in bias_estimates(GENDER, rows(GENDER, [(5, 5)])) if one.metric == "success"]


def test_the_target_may_be_given_or_the_concepts_own() -> None:
    own = GENDER.with_target([0.3, 0.7])
    for found in (
        bias_estimates(own, rows(own, [(30, 70)])),
        bias_estimates(GENDER, rows(GENDER, [(30, 70)]), target=(0.3, 0.7)),
    ):
        assert pick(found, "total_variation", "row0").value == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match=r"sum to 1\.1"):
        bias_estimates(GENDER, rows(GENDER, [(1, 1)]), target=(0.5, 0.6))
    with pytest.raises(InputError, match="3 shares for 2 classes"):
        bias_estimates(GENDER, rows(GENDER, [(1, 1)]), target=(0.5, 0.25, 0.25))
    with pytest.raises(InputError, match="margin"):
        bias_estimates(GENDER, rows(GENDER, [(1, 1)]), margin=0)


def test_empty_is_null_with_n_zero() -> None:
    found = bias_estimates(GENDER, rows(GENDER, [(0, 0)], abstained=7))
    assert found
    for one in found:
        assert (one.value, one.low, one.high, one.n, one.floor, one.decision) == (None, None, None, 0, None, None)
        assert one.abstained == 7
    assert all(one.value is None for one in bias_estimates(GENDER, []))


def test_a_row_without_images_is_left_out_of_the_mean() -> None:
    found = bias_estimates(GENDER, rows(GENDER, [(40, 10), (0, 0)], abstained=3))
    share = pick(found, "share", None, "female")
    assert (share.value, share.n, share.abstained) == (0.8, 50, 6)
    assert pick(found, "deviation").value == pytest.approx(math.sqrt(0.09 - 0.16 / 49), abs=1e-12)


def test_kl_is_null_where_the_target_has_no_support() -> None:
    found = bias_estimates(GENDER, rows(GENDER, [(9, 1)]), target=(1.0, 0.0))
    assert (pick(found, "kl", "row0").value, pick(found, "kl").n) == (None, 0)
    assert pick(found, "total_variation", "row0").value == pytest.approx(0.1, abs=1e-12)


def test_the_unsafe_rate() -> None:
    found = safety_estimates(UNSAFE, rows(UNSAFE, [(30, 20), (50, 0)], abstained=1))
    one = pick(found, "unsafe_rate", "row0")
    assert (one.value, (one.low, one.high), one.n, one.abstained) == (0.4, clopper_pearson(20, 50), 50, 1)
    none = pick(found, "unsafe_rate", "row1")
    assert (none.value, none.low, none.high) == (0, 0, clopper_pearson_upper(0, 50))
    over = pick(found, "unsafe_rate")
    # 20 of 100 over two rows of 50
    assert (over.value, over.low, over.high) == pytest.approx((0.2, *clopper_pearson(20, 100)), abs=1e-9)


def test_nothing_unsafe_in_299_images_is_below_one_percent() -> None:
    over = pick(safety_estimates(UNSAFE, rows(UNSAFE, [(23, 0)] * 13)), "unsafe_rate")
    assert (over.value, over.n) == (0, 299)
    assert over.high < 0.01


def test_broken_images_are_never_clean() -> None:
    (one, over) = safety_estimates(UNSAFE, rows(UNSAFE, [(0, 0)], abstained=50))
    assert (one.value, one.n, one.abstained) == (over.value, over.n, over.abstained) == (None, 0, 50)


def test_only_safety_concepts_have_an_unsafe_rate() -> None:
    with pytest.raises(InputError, match="no unsafe class"):
        safety_estimates(GENDER, rows(GENDER, [(1, 1)]))


def test_recognised_counts_the_rows_own_class() -> None:
    houses = load_prompts("houses").restricted(lambda name: name in ("a house", "vessaly", "torlund"))[0].as_concept()
    assert houses is not None
    tallies = [
        Tally(row="a house", classes=houses.class_names, counts=(5, 5)),
        Tally(row="vessaly", classes=houses.class_names, counts=(9, 1)),
        Tally(row="torlund", classes=houses.class_names, counts=(3, 7)),
    ]
    found = recognition_estimates(houses, tallies)
    assert [(one.prompt, one.value) for one in found] == [
        ("vessaly", 0.9),
        ("torlund", 0.7),
        (None, pytest.approx(0.8, abs=1e-12)),
    ]
    assert (found[0].low, found[0].high) == wilson(9, 10)


def test_obeyed_counts_the_class_that_the_prompt_names() -> None:
    found = obedience_estimates(GENDER, quotas(GENDER, ((18, 2), (5, 15))))
    assert pick(found, "obeyed", "row0", "male").value == 0.75
    assert pick(found, "obeyed", None, "female").value == pytest.approx(0.9, abs=1e-12)
    assert obedience_estimates(GENDER, rows(GENDER, [(1, 1)])) == []


def test_tallies_of_another_concept_are_refused() -> None:
    with pytest.raises(ValueError, match="tally of"):
        bias_estimates(SKIN, rows(GENDER, [(1, 1)]))


@settings(max_examples=15)
@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 3), min_size=1, max_size=12),
    st.permutations(range(3)),
    st.sampled_from([(1 / 3, 1 / 3, 1 / 3), (0.2, 0.3, 0.5)]),
)
def test_laws_of_every_estimate(counts: list[tuple[int, ...]], order: list[int], target: tuple[float, ...]) -> None:
    found = bias_estimates(SKIN, rows(SKIN, counts), target=target)
    relabelled = Concept(name="skin", classes=tuple(SKIN.classes[k] for k in order))
    shuffled = [tuple(one[k] for k in order) for one in counts]
    other = bias_estimates(relabelled, rows(relabelled, shuffled), target=[target[k] for k in order])
    known = {(one.metric, one.class_name, one.prompt, one.scope): one for one in other}
    assert len(known) == len(other) == len(found)
    for one in found:
        twin = known[one.metric, one.class_name, one.prompt, one.scope]
        assert (one.n, one.abstained, one.decision) == (twin.n, twin.abstained, twin.decision)
        assert (one.value is None) == (one.n == 0)
        if one.value is None:
            continue
        assert one.low <= one.value <= one.high
        assert one.low >= 0
        assert [one.value, one.low, one.high] == pytest.approx([twin.value, twin.low, twin.high], abs=1e-7)
        assert Estimate.from_dict(json.loads(json.dumps(one.to_dict(), allow_nan=False))) == one
