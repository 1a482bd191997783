"""Finishing: what lessons say, where they lead, and that nothing moves where nothing is asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_trainer import trainer
from tiny_preferences import Make, of_winners

from evenhand.training.cache import PreferenceData
from evenhand.training.denoising import Conditions
from evenhand.training.finishing import Asked, FinishConfig, Finishing, moved, weights_in
from evenhand.training.implied_shares import ImpliedShares, Readable
from evenhand.training.trainer import TrainingError
from evenhand.watch import Silent

SCHEDULER = SimpleNamespace(
    config=SimpleNamespace(num_train_timesteps=1000), alphas_cumprod=torch.linspace(1, 0.01, 1000)
)
MIXTURES = {"nurse": [0.8, 0.2], "baker": [0.35, 0.65]}


def mixed(weights: list[float], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction that is a mean of its classes', with these weights, and those of its classes."""
    classes = torch.randn(1, len(weights), 4, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.einsum("nk,nk...->n...", torch.tensor([weights]), classes), classes


@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=4), st.integers(0, 99))
def test_the_weights_of_a_mixture_are_found(raw: list[float], seed: int) -> None:
    weights = [one / sum(raw) for one in raw]
    own, classes = mixed(weights, seed)
    assert weights_in(own, classes)[0].tolist() == pytest.approx(weights, abs=2e-2 if min(weights) < 0.02 else 1e-3)


def test_a_lesson_is_the_mixture_with_its_odds_moved() -> None:
    own, classes = mixed([0.8, 0.2])
    # .8 : .2 times .5 / .8 : .5 / .2 are even odds
    odds = torch.tensor([[0.5 / 0.8, 0.5 / 0.2]]).log()
    assert torch.allclose(own + moved(own, classes, odds), classes.mean(dim=1), atol=1e-5)
    # what both classes are given alike changes nothing
    assert torch.allclose(moved(own, classes, odds + 3.0), moved(own, classes, odds), atol=1e-5)


def test_no_odds_move_nothing_to_the_bit() -> None:
    own, classes = mixed([0.7, 0.2, 0.1])
    assert not moved(own, classes, torch.zeros(1, 3)).any()


class Table(torch.nn.Module):
    """Predicts what it has learnt of a prompt, plus something that all prompts share."""

    def __init__(self, said: torch.Tensor) -> None:
        super().__init__()
        self.said = torch.nn.Parameter(said.clone())
        self.rows = 0

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, number: torch.Tensor) -> tuple[torch.Tensor]:
        self.rows += len(sample)
        return (0.3 * sample + timestep[:, None] / 1000 + self.said[number.long()],)


def tabled(each: int = 6) -> tuple[Table, PreferenceData, Asked]:
    """Rows whose neutral prompt says the mean of what the prompts of their classes say; all images won."""
    rng = torch.Generator().manual_seed(0)
    said, prompts, own, named = [], [], [], []
    for mixture in MIXTURES.values():
        classes, first = torch.randn(len(mixture), 6, generator=rng), len(said)
        prompts += [first] * each
        own += [first + 1 + k % len(mixture) for k in range(each)]
        named += [[first + 1 + k for k in range(len(mixture))]] * each
        said += [torch.tensor(mixture) @ classes, *classes]
    count, numbers = len(prompts), torch.arange(len(said))
    conditions = Conditions(tuple(map(str, numbers.tolist())), {"number": numbers.float()}, {}, "sample")
    data = of_winners(torch.randn(count, 6, generator=rng), prompts, own, torch.full((count, 2), 700.0), conditions)
    groups = [row for row in MIXTURES for _ in range(each)]
    odds = {row: (0.5 / torch.tensor(mixture)).log() for row, mixture in MIXTURES.items()}
    return Table(torch.stack(said)), data, Asked(groups=groups, named=torch.tensor(named), odds=odds)


def test_shares_end_where_they_are_asked_to_be_and_prompts_that_name_a_class_stay() -> None:
    model, data, asked = tabled()
    before = model.said.detach().clone()
    config = FinishConfig(steps=200, rate=0.05, each=3, held=8)
    missed = Finishing(data, asked, SCHEDULER, 1.0, config).train(model, [model.said], Silent())
    # a step: 6 images and 8 held ones twice, and what either class looks like of the 6
    assert model.rows == 200 * (2 * (6 + 8) + 2 * 6)
    assert missed[-1] < 1e-3 * missed[0]
    reading = ImpliedShares(data, Readable(rows=torch.arange(12), groups=asked.groups, named=asked.named), SCHEDULER, 1)
    assert reading.read(model) == {row: pytest.approx([0.5, 0.5], abs=0.01) for row in MIXTURES}
    classes = [1, 2, 4, 5]
    assert torch.allclose(model.said[classes], before[classes], atol=1e-2)


def test_where_nothing_is_asked_the_adapter_stays_what_it_is_to_the_bit(make: Make, tmp_path: Path) -> None:
    host, data = make()
    one = trainer(host, data, tmp_path)
    one.train()
    before = one.lora()
    asked = Asked(
        groups=["a"] * len(data.latents),
        named=torch.tensor([[0, 1]] * len(data.latents)),
        odds={"a": torch.zeros(2)},
    )
    finishing = Finishing(data, asked, host.pipe.scheduler, 1.0, FinishConfig(steps=3))
    assert finishing.train(host.denoiser, one.learning, Silent()) == [0.0] * 3
    assert all(torch.equal(value, before[name]) for name, value in one.lora().items())


def test_lessons_that_are_no_numbers_stop_it_and_leave_what_was_learnt_before() -> None:
    model, data, asked = tabled()
    before = model.said.detach().clone()
    broken = dataclasses.replace(asked, odds={row: torch.tensor([torch.nan, 0.0]) for row in asked.odds})
    with pytest.raises(TrainingError, match="finishing misses its lessons by nan at its step 1"):
        Finishing(data, broken, SCHEDULER, 1.0, FinishConfig(steps=2)).train(model, [model.said], Silent())
    assert torch.equal(model.said, before)


@pytest.mark.parametrize("family", ["sd1", "sd3"])
def test_a_pipeline_comes_nearer_to_its_lessons_and_its_reference_stays(
    make: Make, tmp_path: Path, family: str
) -> None:
    host, data = make(family)
    one = trainer(host, data, tmp_path)
    one.train()
    asked = Asked(
        groups=[("even", "odd")[int(number)] for number in data.prompt],
        named=torch.tensor([[0, 1]] * len(data.latents)),
        odds={"even": torch.tensor([1.0, -1.0]), "odd": torch.tensor([-1.0, 1.0])},
    )
    before = host.denoiser.state_dict()
    kept = {name: value.clone() for name, value in before.items() if "lora" not in name}
    config = FinishConfig(steps=15, rate=3e-3)
    finishing = Finishing(data, asked, host.pipe.scheduler, host.family.timesteps_per_unit, config)
    missed = finishing.train(host.denoiser, one.learning, Silent())
    assert sum(missed[-3:]) < 0.5 * sum(missed[:3])
    assert all(torch.equal(value, host.denoiser.state_dict()[name]) for name, value in kept.items())
