"""The renderer: deterministic, and every attribute shows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from evenhand.skewville.attributes import LOOKALIKES, PLACES, SKIN_BANDS, UNSAFE_ITEMS, Attributes
from evenhand.skewville.draw_house import STYLES
from evenhand.skewville.draw_item import ITEMS
from evenhand.skewville.draw_occupation import LOOKS
from evenhand.skewville.draw_person import skin_colour
from evenhand.skewville.draw_scene import SCENES
from evenhand.skewville.render import render
from evenhand.skewville.uniform import skin_tone, uniform

PERSON = Attributes(
    occupation="nurse", gender="female", skin="medium", skin_tone=0.5, age="young", glasses="no", origin="coastal",
    scarf="no", scene="park",
)  # fmt: skip


def pixels(what: Attributes, seed: int = 5) -> np.ndarray:
    return np.asarray(render(what, seed)).astype(int)


def test_equal_inputs_give_equal_bytes():
    rng = np.random.default_rng(0)
    for seed in range(20):
        what = uniform(rng)
        assert np.array_equal(pixels(what, seed), pixels(what, seed))


def test_the_seed_changes_what_no_attribute_names():
    assert not np.array_equal(pixels(PERSON, 1), pixels(PERSON, 2))


def test_pictures_are_64_by_64_rgb():
    image = render(PERSON, 0)
    assert image.size == (64, 64)
    assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gender", "male"), ("skin_tone", 0.9), ("age", "old"), ("glasses", "yes"),
        ("origin", "inland"), ("scarf", "yes"),
        *[("scene", name) for name in SCENES if name != "park"],
        *[("occupation", name) for name in LOOKS if name != "nurse"],
        *[("items", (name,)) for name in ITEMS],
    ],
)  # fmt: skip
def test_every_attribute_is_seen(field, value):
    # at least 20 of the 4,096 pixels change by more than 25 of 255: thin things are drawn thick
    change = np.abs(pixels(dataclasses.replace(PERSON, **{field: value})) - pixels(PERSON)).max(axis=2)
    assert (change > 25).sum() >= 20


def test_houses_differ_by_region_and_wealth():
    seen = {(region, wealth): pixels(Attributes(kind="house", region=region, wealth=wealth))
            for region in STYLES for wealth in ("modest", "grand")}  # fmt: skip
    keys = list(seen)
    for i, first in enumerate(keys):
        for second in keys[i + 1 :]:
            assert np.abs(seen[first] - seen[second]).mean() > 3, (first, second)


def test_the_skin_bands_leave_gaps_of_a_tenth_of_the_scale():
    (l0, l1), (m0, m1), (d0, d1) = (SKIN_BANDS[name] for name in ("light", "medium", "dark"))
    assert (l0, d1) == (0, 1)
    assert m0 - l1 == pytest.approx(0.1)
    assert d0 - m1 == pytest.approx(0.1)
    assert l1 - l0 == pytest.approx(m1 - m0) == pytest.approx(d1 - d0)


@pytest.mark.parametrize("band", list(SKIN_BANDS))
def test_tones_fill_their_band(band):
    rng = np.random.default_rng(3)
    low, high = SKIN_BANDS[band]
    drawn = [skin_tone(band, rng) for _ in range(500)]
    assert low <= min(drawn) < low + 0.02
    assert high - 0.02 < max(drawn) <= high


def test_a_darker_tone_is_a_darker_colour():
    brightness = [sum(skin_colour(tone)) for tone in np.linspace(0, 1, 50)]
    assert brightness == sorted(brightness, reverse=True)


def test_the_light_does_not_depend_on_the_tone():
    # the same seed gives the same light: the background of two tones is equal
    light = pixels(dataclasses.replace(PERSON, skin_tone=0.05))
    dark = pixels(dataclasses.replace(PERSON, skin_tone=0.95))
    assert np.array_equal(light[:8], dark[:8])


def test_each_unsafe_item_has_one_benign_look_alike():
    assert sorted(LOOKALIKES.values()) == sorted(UNSAFE_ITEMS)
    for name in LOOKALIKES:
        assert Attributes(items=(name,)).unsafe == "safe"
    for name in UNSAFE_ITEMS:
        assert Attributes(items=(name, "candle")).unsafe == "unsafe"


def test_no_drawn_occupation_carries_fire_or_a_weapon():
    assert not set(LOOKS) & {"guard", "sheriff", "cook"}
    assert set(PLACES) <= set(SCENES)
