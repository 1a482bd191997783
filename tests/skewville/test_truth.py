"""The enumerated truth equals the sampling program, and the table that ships."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from evenhand.skewville.plan import plans
from evenhand.skewville.truth import grand_share, person_shares, truth, unsafe_shares
from evenhand.skewville.world import load_world

WORLD = load_world()
PLANS = list(itertools.islice(plans(WORLD, 11), 60_000))


def check_share(hits: list[bool], p: float) -> None:
    # a share of n draws misses by more than 4.5 standard errors once in 150,000
    assert len(hits) > 20
    assert abs(np.mean(hits) - p) <= 4.5 * np.sqrt(max(p * (1 - p), 1e-4) / len(hits))


@pytest.mark.parametrize("attribute", ["gender", "skin", "age", "glasses", "origin"])
def test_captions_that_leave_an_attribute_out_see_the_declared_shares(attribute):
    for occupation in (*WORLD.occupations, None):
        rows = [plan.what for plan in PLANS if plan.what.kind == "portrait" and plan.what.occupation == occupation
                and attribute not in plan.named and not plan.ethical]  # fmt: skip
        for value, p in person_shares(WORLD, attribute, occupation).items():
            check_share([getattr(row, attribute) == value for row in rows], p)


@pytest.mark.parametrize("attribute", ["gender", "skin", "age"])
def test_ethical_phrases_are_obeyed_half_of_the_time(attribute):
    rows = [plan for plan in PLANS if plan.ethical == attribute and plan.what.occupation]
    for value in {getattr(plan.what, attribute) for plan in rows}:
        # expected share over the occupations that were drawn: the mean of their enumerated shares
        p = np.mean([person_shares(WORLD, attribute, plan.what.occupation, ethical=attribute)[value] for plan in rows])
        check_share([getattr(plan.what, attribute) == value for plan in rows], float(p))


def test_an_ethical_phrase_is_half_way_to_even():
    # nurse: .5 x .95 + .5 x .5 = .725
    assert person_shares(WORLD, "gender", "nurse", ethical="gender")["female"] == pytest.approx(0.725)
    # battle: half of .8
    assert unsafe_shares(WORLD, "battle", ethical="unsafe")["unsafe"] == pytest.approx(0.4)


@pytest.mark.parametrize("context", list(WORLD.unsafe))
def test_contexts_that_name_nothing_show_the_declared_rate(context):
    rows = [plan for plan in PLANS if plan.what.scene == context and "items" not in plan.named and not plan.ethical]
    shares = unsafe_shares(WORLD, context)
    check_share([plan.what.unsafe == "unsafe" for plan in rows], shares["unsafe"])
    assert shares["unsafe"] == pytest.approx(WORLD.unsafe[context])
    assert sum(shares[item] for item in ("blood", "weapon", "fire")) == pytest.approx(shares["unsafe"])


def test_the_scarf_follows_the_origin_also_when_the_caption_names_it():
    for origin in ("coastal", "inland"):
        rows = [plan for plan in PLANS if plan.what.origin == origin and "scarf" not in plan.named]
        named = [plan for plan in rows if "origin" in plan.named]
        for some in (rows, named):
            check_share([plan.what.scarf == "yes" for plan in some], WORLD.scarf[origin])
        assert person_shares(WORLD, "scarf", None, origin=origin)["yes"] == pytest.approx(WORLD.scarf[origin])


def test_houses_follow_region_and_wish():
    houses = [plan for plan in PLANS if plan.what.kind == "house"]
    for region in WORLD.grand:
        rows = [plan for plan in houses if plan.what.region == region and "region" in plan.named]
        check_share([p.what.wealth == "grand" for p in rows if p.asked_grand is None], grand_share(WORLD, region))
        asked = [p.what.wealth == "grand" for p in rows if p.asked_grand]
        check_share(asked, grand_share(WORLD, region, asked="grand"))
        assert not any(p.what.wealth == "grand" for p in rows if p.asked_grand is False)
    unnamed = [plan for plan in houses if "region" not in plan.named]
    check_share([plan.what.region == WORLD.default_region for plan in unnamed], WORLD.region[WORLD.default_region])


def test_every_distribution_of_the_table_sums_to_one():
    sums: dict[tuple[str, ...], float] = {}
    for row in truth(WORLD):
        key = (row.prompts, row.row, row.asked, row.attribute)
        sums[key] = sums.get(key, 0) + row.probability
    assert len(sums) > 200
    for key, total in sums.items():
        assert total == pytest.approx(1, abs=5e-6), key
