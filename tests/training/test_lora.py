"""The adapter beside a LoRA that the model has already: that goes on acting, and is there afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from tiny_preferences import Make

from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.training.cache import PreferenceData, with_reference
from evenhand.training.config import PopulationPreferenceConfig
from evenhand.training.lora import ADAPTER, add_lora, lora_of, remove_lora, set_lora, without_lora
from evenhand.training.trainer import PopulationPreferenceTrainer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def with_own_lora(denoiser: Any) -> None:
    """A LoRA of the user's, in fewer kinds of layers than the adapter and in one that it is not in."""
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "proj_in"], init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        inject_adapter_in_model(config, denoiser, "own")
    denoiser.requires_grad_(False)


def errors(host: Host, data: PreferenceData) -> torch.Tensor:
    """What the denoiser predicts, as far as distances tell."""
    return with_reference(data, host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit).reference


def moved(denoiser: Any) -> None:
    """Give the adapter weights that change something."""
    rng = torch.Generator().manual_seed(2)
    set_lora(denoiser, {name: torch.randn(one.shape, generator=rng) for name, one in lora_of(denoiser).items()})


def test_a_lora_of_the_model_goes_on_acting_and_is_part_of_the_reference(make: Make) -> None:
    host, data = make()
    base = errors(host, data)
    with_own_lora(host.denoiser)
    own, names = errors(host, data), sorted(host.denoiser.state_dict())
    assert not torch.equal(own, base)
    learning = add_lora(host.denoiser, rank=4, targets=["to_q", "to_k"], seed=0)
    assert torch.equal(errors(host, data), own)  # B is 0
    moved(host.denoiser)
    assert not torch.allclose(errors(host, data), own)
    with without_lora(host.denoiser):
        assert torch.equal(errors(host, data), own)
    assert {id(one) for one in host.denoiser.parameters() if one.requires_grad} == {id(one) for one in learning}
    assert all({ADAPTER, "own"}.isdisjoint(name.split(".")) for name in lora_of(host.denoiser))
    remove_lora(host.denoiser)
    assert torch.equal(errors(host, data), own)
    assert sorted(host.denoiser.state_dict()) == names


def test_training_leaves_the_lora_of_the_model_as_it_was(make: Make, tmp_path: Path) -> None:
    host, data = make()
    with_own_lora(host.denoiser)
    data, own = with_reference(data, host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit), {}
    own = {name: one.clone() for name, one in host.denoiser.state_dict().items()}
    config = PopulationPreferenceConfig(
        output_dir=tmp_path, max_steps=2, warmup=0, populations_per_step=2, beta=5.0, learning_rate=1e-2, rank=4
    )
    one = PopulationPreferenceTrainer(host.denoiser, host.pipe.scheduler, config, data)
    logged = one.train()
    assert logged[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # the reference is the model with its LoRA
    one.close()
    assert {*host.denoiser.state_dict()} == {*own}
    assert all(torch.equal(value, own[name]) for name, value in host.denoiser.state_dict().items())


def test_a_model_without_one_has_its_own_layers_again(make: Make) -> None:
    host, _ = make()
    layers = dict(host.denoiser.named_modules())
    add_lora(host.denoiser, rank=4, targets=["to_q", "to_k"], seed=0)
    remove_lora(host.denoiser)
    assert dict(host.denoiser.named_modules()) == layers
    assert "peft_config" not in vars(host.denoiser)


@pytest.mark.parametrize("what", ["merge", "enable_adapters"])
def test_a_lora_that_is_fused_or_switched_off_is_refused(make: Make, what: str) -> None:
    host, _ = make()
    with_own_lora(host.denoiser)
    for layer in host.denoiser.modules():
        if isinstance(layer, LoraLayer):
            layer.merge() if what == "merge" else layer.enable_adapters(False)
    with pytest.raises(InputError, match="fused or switched off; take it out first"):
        add_lora(host.denoiser, rank=4, targets=["to_q"], seed=0)
