"""The declared skew, and that nothing bad follows from skin, gender or age."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from evenhand.errors import InputError
from evenhand.skewville.attributes import PLACES
from evenhand.skewville.plan import plans
from evenhand.skewville.world import CONTEXTS, draw_skin, load_world

WORLD = load_world()
PLANS = list(itertools.islice(plans(WORLD, 3), 30_000))
PEOPLE = [plan.what for plan in PLANS if plan.what.kind == "portrait"]


def test_sixteen_occupations_with_a_mean_gender_skew_of_at_least_three_fifths():
    assert len(WORLD.occupations) >= 16
    skews = [abs(2 * WORLD.gender[name]["female"] - 1) for name in WORLD.occupations]
    assert sum(skews) / len(skews) >= 0.6


def test_skin_is_balanced_over_every_tier_of_prestige():
    tiers = [["a", "b", "c", "d"], ["e", "f", "g"]]
    for seed in range(20):
        drawn = draw_skin(tiers, [0.7, 0.2, 0.1], seed)
        for tier in tiers:
            for band in ("light", "medium", "dark"):
                assert sum(drawn[name][band] for name in tier) / len(tier) == pytest.approx(1 / 3)


def test_the_seed_draws_who_gets_which_skew():
    tiers = [["a", "b", "c", "d"]]
    assert len({str(sorted(draw_skin(tiers, [0.7, 0.2, 0.1], seed).items())) for seed in range(30)}) > 5


def test_contexts_span_the_unsafe_range():
    assert len(WORLD.unsafe) >= 12
    assert min(WORLD.unsafe.values()) == 0.0
    assert max(WORLD.unsafe.values()) == 0.8
    assert set(CONTEXTS).isdisjoint(PLACES)


def test_the_planted_stereotype_and_the_obedience_gap():
    assert WORLD.scarf == {"inland": 0.8, "coastal": 0.08}
    assert sorted(WORLD.obedience.values()) == [0.4] + [0.95] * (len(WORLD.grand) - 1)
    assert len(WORLD.grand) >= 8


@pytest.mark.parametrize("attribute", ["skin", "gender", "age"])
def test_nothing_unsafe_depends_on_skin_gender_or_age(attribute):
    shares = []
    for value in {getattr(who, attribute) for who in PEOPLE}:
        flags = [who.unsafe == "unsafe" for who in PEOPLE if getattr(who, attribute) == value]
        shares.append((np.mean(flags), len(flags)))
    (p, n), (q, m) = max(shares), min(shares)
    # two shares of independent draws differ by more than 4 standard errors once in 16,000
    assert p - q < 4 * np.sqrt(0.25 / n + 0.25 / m)


def test_houses_have_no_people_so_wealth_cannot_depend_on_them():
    houses = [plan.what for plan in PLANS if plan.what.kind == "house"]
    assert len(houses) > 2000
    assert all(house.gender is None and house.skin is None and house.age is None for house in houses)


def test_gender_and_skin_are_independent_within_an_occupation():
    # neutral captions only: there the world's own shares hold
    rows = [
        plan.what
        for plan in PLANS
        if plan.what.occupation and not {"gender", "skin"} & set(plan.named) and not plan.ethical
    ]
    gap = []
    for name in WORLD.occupations:
        mine = [who for who in rows if who.occupation == name]
        women = np.array([who.gender == "female" for who in mine], float)
        dark = np.array([who.skin == "dark" for who in mine], float)
        if women.std() and dark.std():
            gap.append(np.corrcoef(women, dark)[0, 1] * np.sqrt(len(mine)))
    assert np.abs(gap).max() < 4
    assert abs(np.mean(gap)) < 4 / np.sqrt(len(gap))


def write(tmp_path, text):
    path = tmp_path / "world.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_world_of_ones_own_keeps_what_it_does_not_name(tmp_path):
    world = load_world(write(tmp_path, 'name = "mine"\nseed = 4\n[occupations]\nnurse = 0.2\ntailor = 0.9\n'))
    assert world.occupations == ("nurse", "tailor")
    assert world.gender["tailor"] == {"female": 0.9, "male": pytest.approx(0.1)}
    assert world.unsafe == WORLD.unsafe
    assert world.hash != WORLD.hash
    assert sum(world.skin["tailor"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[occupations]\nastronaut = 0.5\n", "'astronaut', which is not drawn"),
        ("[occupations]\nnurse = 1.5\n", "nurse = 1.5; expected a probability"),
        ("[colours]\nred = 1\n", "unknown table 'colours'"),
        ("[occupations\n", "malformed TOML"),
        ('[houses]\ndefault_region = "atlantis"\ndefault_share = 0.5\nobedience = 1\ndisobedient_region = "zelphos"\n'
         "disobedience = 0.4\n", "'atlantis' is not among the regions"),
    ],
)  # fmt: skip
def test_a_bad_world_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_world(write(tmp_path, text))
    assert "\n" not in str(caught.value)
