"""Directions of the initial noise beside embedding projections, their own and that of another factor."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from noise_toy import ROWS, SETTINGS, WEIGHT, WORDS, WORLD, fitted, share

from evenhand.errors import InputError
from evenhand.host.sampler import sample
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.interventions.text_map import TextMap
from evenhand.methods.embedding_projection import MOMENTS, fit_projection
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS, interventions
from evenhand.records import Request
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.testing.toy_fitting import toy_fitting, toy_label


@pytest.fixture(scope="module")
def gender() -> Fitted:
    with toy_host(WORLD) as one:
        return fitted(one)


def test_with_an_embedding_projection_the_same_share_costs_fewer_nats(gender: Fitted, tmp_path: Path) -> None:
    named = {f"{word} {row}": shares for row in ROWS for word, shares in WORDS.items()}
    world = dataclasses.replace(WORLD, prompts={**WORLD.prompts, **named})
    target = {"gender": {"female": 0.5, "male": 0.5}}
    with toy_host(world) as host:
        both = fitted(host, f"noise-direction:projection={WEIGHT}")
        under = both.card.effect["natural"][ROWS[0]]["female"]
        assert 0.55 < under < gender.card.effect["natural"][ROWS[0]]["female"] - 0.1
        # the ascents know of it too: from nearer there is less to climb
        reached, without = (one.card.effect["ascents"][ROWS[0]] for one in (both, gender))
        assert abs(reached["length"]) < abs(without["length"])
        save_intervention(tmp_path / "both", both.tensors, both.card)
        nats, shares = [], []
        for one in (gender, Fitted(*load_intervention(tmp_path / "both", host))):
            attached = interventions(parse_spec("noise-direction"), Setting(fitted=(one,), targets=target))
            requests = [Request(row=ROWS[0], prompt=ROWS[0], index=k, seed=10_000 + k) for k in range(300)]
            before = host.evaluations
            with host.attached(*attached):
                made = list(sample(host, requests, SETTINGS, batch_size=50, keep_latents=True))
            assert host.evaluations - before == 300 * SETTINGS.steps
            nats.append(np.mean([image.evidence["noise-direction"]["nats"] for image in made]))
            shares.append(share([toy_label(image, world) for image in made]))
    assert shares == pytest.approx([0.5, 0.5], abs=0.08)
    assert nats[1] <= 0.7 * nats[0]


def test_a_prompt_that_names_the_class_keeps_its_bits_with_a_projection_too() -> None:
    named = {f"{word} {row}": shares for row in ROWS for word, shares in WORDS.items()}
    with toy_host(dataclasses.replace(WORLD, prompts={**WORLD.prompts, **named})) as host:
        both = fitted(host, f"noise-direction:projection={WEIGHT}")
        attached = interventions(parse_spec("noise-direction"), Setting(fitted=(both,)))
        for prompt, same in (("a female nurse", True), (ROWS[0], False)):
            requests = [Request(row=prompt, prompt=prompt, index=k, seed=k) for k in range(3)]
            with host.attached(*attached):
                moved = [one.latents for one in sample(host, requests, SETTINGS, keep_latents=True)]
            plain = [one.latents for one in sample(host, requests, SETTINGS, keep_latents=True)]
            assert np.array_equal(np.stack(moved), np.stack(plain)) is same


TONES = {"light": (0.7, 0.3), "medium": (0.5, 0.5), "dark": (0.3, 0.7)}
"""What the words of a tone do to the shares of the toy's two genders."""


def with_tones() -> ToyWorld:
    named = {f"{word} {row}": shares for row in ROWS for word, shares in WORDS.items()}
    skin = Setting().concept("skin")
    texts = {one.phrases[0]: TONES[one.name] for one in skin.classes}
    texts |= {f"{one.words[0]} {row}": TONES[one.name] for row in ROWS for one in skin.classes}
    return dataclasses.replace(WORLD, prompts={**WORLD.prompts, **named, **texts})


def as_tones(gender: Fitted, moments: torch.Tensor) -> Fitted:
    """The same direction, said to be one of tones that was fitted beside gender."""
    card = gender.card
    order = {"order": list(TONES), "beside": "gender"}
    moved = {row: cut + 1 for row, cut in card.calibration["cut 1"].items()}
    skin = dataclasses.replace(
        card,
        concept=Setting().concept("skin").to_dict(),
        estimator={**card.estimator, **order},
        calibration={**card.calibration, "cut 2": moved},
    )
    tensors = {name: one.flip(-1) for name, one in gender.tensors.items() if name != MOMENTS}
    return Fitted({**tensors, MOMENTS: moments}, skin)


def test_factors_of_a_joint_are_fitted_with_the_projections_of_all_of_them() -> None:
    method = METHODS["noise-direction"]
    alone = method.plans(Setting(), method.read({"concept": "gender*skin"}))
    assert [(plan.values["concept"], plan.values.get("beside")) for plan in alone] == [("gender", None), ("skin", None)]
    values = method.read({"concept": "gender*skin", "projection": str(WEIGHT), "protect": "age"})
    plans = {plan.values["concept"]: plan for plan in method.plans(Setting(), values)}
    assert {name: plan.values.get("beside") for name, plan in plans.items()} == {
        "gender": "skin",
        "skin": "gender",
        "age": None,  # is protected and does not act
    }
    world = with_tones()
    with toy_host(world) as host:
        assert method.fit is not None
        fitting = toy_fitting(host, world, rows=ROWS)
        together, single = (
            method.fit(fitting, plans["gender"].values),
            fitted(host, f"noise-direction:projection={WEIGHT}"),
        )
        tones = fit_projection(fitting, Setting().concept("skin")).tensors[MOMENTS]
        # tones lead to genders in this world, so without their direction less is left to move
        one, both = (some.card.effect["natural"][ROWS[0]]["female"] for some in (single, together))
        assert 0.5 < both < one - 0.03
        assert together.card.estimator["beside"] == "skin"
        assert torch.equal(together.tensors[MOMENTS], single.tensors[MOMENTS])  # each stores its own
        mapped, _ = interventions(
            parse_spec(f"noise-direction:concept=gender*skin,projection={WEIGHT}"),
            Setting(fitted=(together, as_tones(together, tones))),
        )
    moments = together.tensors[MOMENTS].double() + tones.double()
    assert isinstance(mapped, TextMap)
    assert torch.allclose(mapped.matrix.double(), torch.linalg.inv(WEIGHT * moments + torch.eye(2)), atol=1e-6)
    with pytest.raises(InputError, match="this direction of gender was fitted together with skin, which does not act"):
        interventions(parse_spec("noise-direction"), Setting(fitted=(together,)))
