"""Limits on what an adapter may lose: the figures by hand, when a limit is broken, and when it is only chance."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from evenhand.errors import InputError
from evenhand.methods.population_looks import Limits
from evenhand.methods.population_preference import METHOD
from evenhand.methods.population_seen import Change, Seen, changes
from evenhand.metrics.content import Row

ROWS = ("nurse", "baker")


def pictures(center: float, own: float, seed: int) -> Row:
    """Eight pictures around a direction in the plane, that fit their prompt by `own` and other prompts by .1."""
    angles = center + 0.1 * np.random.default_rng(seed).standard_normal(8)
    return Row(
        features=np.stack([np.cos(angles), np.sin(angles)], axis=1),
        pixels=np.repeat(255 * np.cos(angles), 3).reshape(8, 1, 1, 3),
        own=np.full(8, own),
        other=np.full(8, 0.1),
        labels=["a", "a", "b", "b"] * 2,
    )


def seen(own: float = 0.5, turn: float = 0.0, obeyed: int = 4, seed: int = 0) -> Seen:
    return Seen(
        neutral={name: pictures(2.0 * k + turn, own, seed + k) for k, name in enumerate(ROWS)},
        recognised={name: [True] * 8 for name in ROWS},
        specific={name: [True] * obeyed + [False] * (4 - obeyed) for name in ROWS},
        others={name: pictures(1.0 + k + turn, own, 7 + k) for k, name in enumerate(("house", "street"))},
    )


def test_the_plain_model_has_changed_in_nothing_but_chance() -> None:
    found = changes(seen(), seen(seed=20))
    assert found["text_drop"].value == pytest.approx(0.0)
    assert found["specific_drop"].value == found["drift"].value == 0.0
    assert abs(found["mmd"].value) < 0.3
    assert Limits(recognised_drop=0.03, text_drop=0.03, mmd=0.3, specific_drop=0.02, drift=0.1).broken(0, found) == ()


def test_what_was_lost_is_named() -> None:
    # text: (.3 - .1) / (.5 - .1) is a half; obeyed 3 of 4 in both rows; pictures are turned by 1.5
    found = changes(seen(), seen(own=0.3, turn=1.5, obeyed=3, seed=20))
    assert found["text_drop"].value == pytest.approx(0.5)
    assert found["specific_drop"].value == pytest.approx(0.25)
    assert found["mmd"].value > 0.5
    assert found["drift"].value > 1.0
    limits = Limits(recognised_drop=0.03, text_drop=0.03, mmd=0.1, specific_drop=0.02, drift=0.1)
    assert limits.broken(0.05, found) == ("recognised_drop", "text_drop", "mmd", "specific_drop", "drift")


def test_zero_turns_a_limit_off() -> None:
    found = changes(seen(), seen(own=0.3, turn=1.5, obeyed=3))
    off = Limits(recognised_drop=0, text_drop=0, mmd=0, specific_drop=0, drift=0)
    assert off.broken(1.0, found) == ()
    with pytest.raises(InputError, match="mmd=-1, expected a number of 0 or more"):
        Limits.of({**METHOD.read({}), "mmd": -1.0})


def test_a_limit_is_not_broken_by_chance() -> None:
    # the rows differ so much that the mean of .1 is no proof: t of one degree of freedom has a lower limit below 0
    doubtful, sure = Change.over([0.0, 0.2]), Change.over([0.1, 0.1])
    assert doubtful is not None
    assert sure is not None
    assert doubtful.value == sure.value == pytest.approx(0.1)
    # one-sided 95 %: .1 - 6.314 x .1414 / sqrt(2)
    assert doubtful.least == pytest.approx(0.1 - 6.3138 * 0.2 / 2**0.5 / 2**0.5, abs=1e-3)
    assert not doubtful.breaks(0.05)
    assert sure.breaks(0.05)
    assert not sure.breaks(0.2)


def test_what_cannot_be_told_is_no_figure() -> None:
    plain = seen()
    blind = dataclasses.replace(
        plain,
        neutral={
            name: dataclasses.replace(row, features=np.zeros(0), own=np.zeros(0), other=np.zeros(0))
            for name, row in plain.neutral.items()
        },
        others={name: dataclasses.replace(row, features=np.zeros(0)) for name, row in plain.others.items()},
        specific={},
    )
    found = changes(blind, blind)
    assert {*found} == {"drift"}  # of pixels alone
    assert found["drift"].value == 0.0


def test_it_is_kept_on_the_disk(tmp_path: Path) -> None:
    one = seen()
    one.save(tmp_path / "seen.safetensors")
    found = Seen.load(tmp_path / "seen.safetensors")
    assert found.specific == one.specific
    assert found.recognised == one.recognised
    assert found.neutral["nurse"].labels == one.neutral["nurse"].labels
    other = seen(own=0.4, seed=3)
    assert changes(found, other) == changes(one, other)
