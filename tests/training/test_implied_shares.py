"""Shares that predictions imply: of a model whose mixture is known, they are its mixture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_preferences import of_winners

from evenhand.training.denoising import Conditions
from evenhand.training.implied_shares import LEVELS, ImpliedShares, Readable

SCHEDULER = SimpleNamespace(
    config=SimpleNamespace(num_train_timesteps=1000), alphas_cumprod=torch.linspace(1, 0.01, 1000)
)


class Mixture(torch.nn.Module):
    """Predicts what a prompt says plus something that all prompts share; counts its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.rows = torch.nn.Parameter(torch.zeros(())), 0

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, said: torch.Tensor) -> tuple[torch.Tensor]:
        self.rows += len(sample)
        return (0.3 * sample + timestep[:, None] / 1000 + said + self.weight,)


def reader(shares: dict[str, list[float]], each: int = 3) -> ImpliedShares:
    """Rows whose neutral prompt says the mean of what their classes' prompts say."""
    rng = torch.Generator().manual_seed(0)
    said, prompts, named = [], [], []
    for mixture in shares.values():
        classes = torch.randn(len(mixture), 6, generator=rng)
        prompts += [len(said)] * each
        named += [[len(said) + 1 + k for k in range(len(mixture))]] * each
        said += [torch.tensor(mixture) @ classes, *classes]
    count = len(prompts)
    conditions = Conditions(tuple(map(str, range(len(said)))), {"said": torch.stack(said)}, {}, "sample")
    data = of_winners(torch.randn(count, 6, generator=rng), prompts, prompts, torch.zeros(count, 1), conditions)
    groups = [row for row in shares for _ in range(each)]
    return ImpliedShares(
        data, Readable(rows=torch.arange(count), groups=groups, named=torch.tensor(named)), SCHEDULER, 1.0
    )


@pytest.mark.parametrize(
    "shares",
    [
        {"nurse": [0.9, 0.1], "baker": [0.5, 0.5], "driver": [0.0, 1.0]},
        {"nurse": [0.2, 0.5, 0.3], "baker": [1 / 3, 1 / 3, 1 / 3]},
    ],
)
def test_the_mixture_is_read(shares: dict[str, list[float]]) -> None:
    found = reader(shares).read(Mixture())
    for row, mixture in shares.items():
        assert found[row] == pytest.approx(mixture, abs=5e-3)  # half precision


def test_what_the_reference_predicts_is_kept() -> None:
    one, model = reader({"nurse": [0.9, 0.1], "baker": [0.5, 0.5]}), Mixture()
    one.read(model)
    assert model.rows == len(LEVELS) * 6 * (1 + 2)
    one.read(model)
    assert model.rows == len(LEVELS) * 6 * (2 + 2)


def test_a_class_that_is_none_of_the_target_is_not_read() -> None:
    found: dict[str, Any] = reader({"nurse": [1.0]}).read(Mixture())
    assert found == {"nurse": [1.0]}
