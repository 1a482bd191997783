"""Preference losses: what equals what, which bound holds, and where a model of two classes ends up."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import InputError
from evenhand.training.losses import LOSSES, Rewards, bco_pair, kto, population, population_weights, sft, sigmoid

REWARDS = st.lists(st.floats(-3, 3), min_size=2, max_size=12)
BETAS = st.floats(0.1, 5)


def rewards(winners: list[float], losers: list[float], groups: list[int] | None = None) -> Rewards:
    groups = groups or [0] * len(winners)
    return Rewards(
        values=torch.tensor([*winners, *losers], dtype=torch.float64, requires_grad=True),
        winner=torch.tensor([True] * len(winners) + [False] * len(losers)),
        population=torch.tensor([*groups, *(groups if len(losers) == len(winners) else [0] * len(losers))]),
    )


def gradient(loss: torch.Tensor, of: Rewards) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss, of.values)
    return found


@given(values=REWARDS, beta=BETAS)
@settings(deadline=None)
def test_with_one_pair_per_population_the_bound_is_diffusion_dpo(values: list[float], beta: float) -> None:
    one = rewards(values, [-0.7 * value + 0.2 for value in values], list(range(len(values))))
    first, second = sigmoid(one, beta), bco_pair(one, beta)
    assert first.item() == pytest.approx(second.item(), abs=1e-12)
    assert torch.allclose(gradient(first, one), gradient(second, one), atol=1e-12)


def test_diffusion_dpo_by_hand() -> None:
    # one pair, g_w = .6, g_l = -.4, beta 2: -log sigma(1)
    assert sigmoid(rewards([0.6], [-0.4]), 2.0).item() == pytest.approx(math.log(1 + math.exp(-1)))


@given(winners=REWARDS, beta=BETAS, data=st.data())
@settings(deadline=None)
def test_the_weights_of_images_are_the_gradient_of_the_population_loss(
    winners: list[float], beta: float, data: st.DataObject
) -> None:
    count = len(winners)
    losers = data.draw(st.lists(st.floats(-3, 3), min_size=count, max_size=count))
    groups = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    one = rewards(winners, losers, groups)
    assert torch.allclose(gradient(population(one, beta), one), population_weights(one, beta), atol=1e-12)


@given(winners=REWARDS, beta=BETAS, shift=st.floats(-2, 2), data=st.data())
@settings(deadline=None)
def test_the_published_bound_holds_for_any_shift(
    winners: list[float], beta: float, shift: float, data: st.DataObject
) -> None:
    count = len(winners)
    one = rewards(winners, data.draw(st.lists(st.floats(-3, 3), min_size=count, max_size=count)))
    bound = torch.nn.functional.softplus(-one.signs * beta * (one.values - shift)).sum()
    assert population(one, beta).item() <= bound.item() + 1e-9
    # and the loss that is trained is that bound at its own shift, as a mean
    assert bco_pair(one, beta).item() * 2 * count >= population(one, beta).item() - 1e-9


def test_populations_are_summed_and_not_averaged() -> None:
    # S = (.5 + .1) - (.2 + .2) = .2; over two populations the mean of their losses
    one = rewards([0.5, 0.1], [0.2, 0.2])
    assert population(one, 3.0).item() == pytest.approx(math.log(1 + math.exp(-0.6)))
    two = rewards([0.5, 0.1], [0.2, 0.2], [0, 1])
    expected = (math.log(1 + math.exp(-0.9)) + math.log(1 + math.exp(0.3))) / 2
    assert population(two, 3.0).item() == pytest.approx(expected)


def test_kto_takes_sides_of_any_size_and_sft_winners_alone() -> None:
    one = rewards([0.4, 0.2], [0.0])
    # z = mean g = .2: winners at .2 and 0 above it, the loser .2 below
    expected = (2 * (1 - 1 / (1 + math.exp(-0.2))) + 0.5) / 3
    assert kto(one, 1.0).item() == pytest.approx(expected)
    assert sft(one, 1.0).item() == pytest.approx(-0.3)
    with pytest.raises(InputError, match="learns from winners alone"):
        sft(rewards([], [0.1]), 1.0)
    with pytest.raises(InputError, match="2 winners and 1 losers"):
        sigmoid(one, 1.0)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_raises_winners_and_none_raises_losers(name: str) -> None:
    one = rewards([0.1, -0.2], [0.3, 0.0])
    slope = gradient(LOSSES[name](one, 1.5), one)
    assert (slope[:2] < 0).all()
    assert (slope[2:] >= 0).all()


# A model of two classes with the share p of the first, started from the reference's 80 %. The winners are drawn with
# half of either class, the losers from the reference. What the model ends at follows in closed form.
REFERENCE = 0.8


def drawn(count: int, share: float) -> Iterator[tuple[float, int]]:
    """Probability and number of the first class among `count` draws."""
    for k in range(count + 1):
        yield math.comb(count, k) * share**k * (1 - share) ** (count - k), k


def fixed(count: int) -> list[tuple[float, int]]:
    """Exactly half of them."""
    return [(1.0, count // 2)]


def settled(winners: Callable[[int], list[tuple[float, int]]], count: int, beta: float) -> float:
    """The share at the minimum of the expected population loss."""
    logit = torch.tensor(math.log(REFERENCE / (1 - REFERENCE)), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logit], max_iter=400, tolerance_grad=1e-12, tolerance_change=1e-14)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        first = torch.nn.functional.logsigmoid(logit) - math.log(REFERENCE)
        second = torch.nn.functional.logsigmoid(-logit) - math.log(1 - REFERENCE)
        total = torch.zeros((), dtype=torch.float64)
        for (p, k), (q, m) in itertools.product(winners(count), drawn(count, REFERENCE)):
            own = torch.cat([first.expand(k), second.expand(count - k), first.expand(m), second.expand(count - m)])
            sides = torch.tensor([True] * count + [False] * count)
            one = Rewards(values=own, winner=sides, population=torch.zeros(2 * count, dtype=torch.long))
            total = total + p * q * population(one, beta)
        total.backward()
        return total

    for _ in range(5):
        optimiser.step(loss)  # type: ignore[arg-type]
    return float(torch.sigmoid(logit.detach()))


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_winners_drawn_from_the_target_lead_to_it_at_beta_one(count: int) -> None:
    assert settled(lambda n: list(drawn(n, 0.5)), count, 1.0) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(("beta", "share"), [(2.0, 2 / 3), (4.0, 4**0.75 / (1 + 4**0.75))])
def test_a_larger_beta_stops_on_the_way(beta: float, share: float) -> None:
    # log-odds log 4 (1 - 1 / beta): 80/20, 50/50 winners, beta 2 gives 67/33
    assert settled(lambda n: list(drawn(n, 0.5)), 1, beta) == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(("beta", "share"), [(1.0, 0.2), (2.0, 0.5)])
def test_exactly_balanced_winners_overshoot(beta: float, share: float) -> None:
    # log-odds log 4 + 2 / beta log(.25): the first class falls from 80 % to 20 % at beta 1, to 50 % at beta 2
    assert settled(fixed, 2, beta) == pytest.approx(share, abs=1e-3)
