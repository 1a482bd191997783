"""Directions of the initial noise beside an embedding projection."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from noise_toy import ROWS, SETTINGS, WEIGHT, WORDS, WORLD, fitted, share

from evenhand.host.sampler import sample
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import interventions
from evenhand.records import Request
from evenhand.testing.toy import toy_host
from evenhand.testing.toy_fitting import toy_label


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
