"""The mean of the last steps: what it is, where it is left, and that a stop on the way changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_trainer import trainer
from tiny_preferences import Make

from evenhand.errors import InputError
from evenhand.training.averaging import LastMean


def test_the_mean_of_the_last_steps_takes_the_place_of_the_last_one() -> None:
    one = torch.nn.Parameter(torch.zeros(2))
    mean = LastMean([one], after=2, last=5)
    for step, value in enumerate((9.0, 9.0, 1.0, 2.0, 6.0), start=1):
        one.data.fill_(value)
        mean.take(step)
        assert one.tolist() == pytest.approx([value] * 2 if step < 5 else [3.0] * 2)  # (1 + 2 + 6) / 3


def test_a_training_is_the_same_until_its_last_step(make: Make, tmp_path: Path) -> None:
    host, data = make()
    seen: list[dict[str, torch.Tensor]] = []
    plain = trainer(host, data, tmp_path / "plain", callbacks=(lambda one: bool(seen.append(one.lora())),))
    plain.train()
    plain.close()
    averaged = trainer(host, data, tmp_path / "averaged", average_steps=3)
    averaged.train()
    found = averaged.lora()
    for name, value in found.items():
        assert torch.allclose(value, torch.stack([one[name] for one in seen[-3:]]).mean(dim=0), atol=1e-7)
    assert any(not torch.equal(value, seen[-1][name]) for name, value in found.items())


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_it_continues_to_the_bit_before_among_and_after_the_steps_that_count(
    make: Make, tmp_path: Path, stop: int
) -> None:
    host, data = make()
    whole = trainer(host, data, tmp_path / "whole", average_steps=3)
    whole.train()
    expected = whole.lora()
    whole.close()
    broken = trainer(host, data, tmp_path / "broken", average_steps=3, callbacks=(lambda one: one.step == stop,))
    broken.train()
    broken.close()
    again = trainer(host, data, tmp_path / "broken", average_steps=3)
    again.train()
    assert all(torch.equal(again.lora()[name], value) for name, value in expected.items())


def test_fewer_than_no_steps_are_refused(make: Make, tmp_path: Path) -> None:
    host, data = make()
    with pytest.raises(InputError, match="average_steps=-1, expected 0 or more"):
        trainer(host, data, tmp_path, average_steps=-1)
