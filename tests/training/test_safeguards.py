"""Safeguards: what is penalised, whose gradients are cut, and how hard the rest is held."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from test_losses import gradient, rewards
from test_trainer import trainer
from tiny_preferences import Make

from evenhand.errors import InputError
from evenhand.training.config import PopulationPreferenceConfig
from evenhand.training.losses import population, population_weights
from evenhand.training.safeguards import clipped, clipped_losers, hold, winner_penalty


def test_the_penalty_is_on_winners_that_got_worse_alone() -> None:
    # two populations; of the winners -.2 and -.1 got worse: beta (.2 + .1) / 2
    one = rewards([-0.2, 0.3, -0.1, 0.4], [-1.0, -1.0, 0.5, 0.5], [0, 0, 1, 1])
    found = winner_penalty(one, 4.0, 2)
    assert found.item() == pytest.approx(4.0 * 0.3 / 2)
    assert gradient(found, one).tolist() == pytest.approx([-2.0, 0, -2.0, 0, 0, 0, 0, 0])


def test_the_penalty_pulls_no_harder_than_the_loss_can() -> None:
    # at S far below 0 sigma(-S) is 1: |d loss / d g| = beta / populations, which is that of the hinge
    one = rewards([-9.0, -9.0], [9.0, 9.0])
    assert population_weights(one, 4.0)[0].item() == pytest.approx(-4.0)
    assert gradient(winner_penalty(one, 4.0, 1), one)[0].item() == -4.0


def test_losers_pass_no_gradient_where_the_mean_winner_got_worse() -> None:
    # means of the winners: -.05 in the first population, +.15 in the second
    one = rewards([-0.2, 0.1, -0.1, 0.4], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1])
    assert clipped_losers(one).tolist() == [True] * 4 + [False, False, True, True]
    cut = gradient(population(clipped(one), 2.0), one)
    whole = gradient(population(one, 2.0), one)
    assert population(clipped(one), 2.0).item() == population(one, 2.0).item()
    assert cut[4:6].tolist() == [0, 0]
    assert torch.equal(cut[:4], whole[:4])
    assert torch.equal(cut[6:], whole[6:])


def test_holding_is_log_cosh_and_no_steeper_than_beta() -> None:
    values = torch.tensor([0.0, 0.3, -0.3, 400.0], dtype=torch.float64, requires_grad=True)
    # log cosh(2 x .3) twice; 800 - log 2, which cosh itself could not be evaluated for
    expected = (2 * math.log(math.cosh(0.6)) + 800 - math.log(2)) / 4
    found = hold(values, 2.0)
    assert found.item() == pytest.approx(expected)
    (slope,) = torch.autograd.grad(found, values)
    # d/dg = beta tanh(beta g)
    assert (4 * slope).tolist() == pytest.approx([0, 2 * math.tanh(0.6), -2 * math.tanh(0.6), 2])


@pytest.mark.parametrize("safeguard", ["penalty", "clip"])
def test_a_safeguard_is_exact_in_micro_batches(make: Make, tmp_path: Path, safeguard: str) -> None:
    host, data = make()
    data.reference[data.winner] -= 0.01  # so that winners look worse than the reference
    found = []
    for size in (64, 3):
        one = trainer(host, data, tmp_path / str(size), micro_batch=size, safeguard=safeguard, sft_weight=0.1)
        loss, _ = one._backward(torch.cat([data.rows_of(0), data.rows_of(3)]), draw=1)
        found.append((loss, [parameter.grad for parameter in one.learning]))
        one.close()
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert all(torch.allclose(*pair, rtol=1e-3, atol=1e-7) for pair in zip(found[0][1], found[1][1], strict=True))


def test_a_safeguard_keeps_the_winners_error_lower(make: Make, tmp_path: Path) -> None:
    host, data = make()
    errors = {}
    for name in ("off", "penalty"):
        one = trainer(host, data, tmp_path / name, max_steps=12, safeguard=name, learning_rate=5e-2, beta=50.0)
        errors[name] = max(step["winner_error"] for step in one.train())
        one.close()
    assert errors["penalty"] < errors["off"]


def test_held_images_keep_the_references_error(make: Make, tmp_path: Path) -> None:
    host, data = make()
    _, other = make(seed=1, populations=8, side=1)
    moved = {}
    for name, weight in (("held", 20.0), ("free", 1e-9)):
        one = trainer(host, data, tmp_path / name, prior=other, prior_weight=weight, max_steps=12, prior_batch=4)
        logged = one.train()
        moved[name] = sum(abs(step["prior_error"] - 1) for step in logged[-4:])
        one.close()
    assert moved["held"] < 0.7 * moved["free"]


def test_an_unknown_safeguard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="safeguard='wall', expected one of off, penalty, clip"):
        PopulationPreferenceConfig(output_dir=tmp_path, safeguard="wall")
