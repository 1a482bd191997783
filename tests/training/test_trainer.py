"""Training on cached preferences: it learns, it counts, it continues to the bit, and it gives the model back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler
from tiny_pipelines import FAMILY_NAMES
from tiny_preferences import Make

from evenhand.errors import InputError
from evenhand.host.families import prediction_type
from evenhand.host.host import Host
from evenhand.host.noise_level import noise_level
from evenhand.training.cache import PreferenceData, draw_timesteps, with_reference
from evenhand.training.denoising import noised, sampler_grid
from evenhand.training.lora import without_lora
from evenhand.training.trainer import PopulationPreferenceConfig, PopulationPreferenceTrainer, TrainingError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def trainer(host: Host, data: PreferenceData, folder: Path, **more: Any) -> PopulationPreferenceTrainer:
    values: dict[str, Any] = {
        "output_dir": folder, "max_steps": 6, "warmup": 0, "populations_per_step": 2, "beta": 5.0,
        "learning_rate": 1e-2, "rank": 4, **more,
    }  # fmt: skip
    callbacks, prior = values.pop("callbacks", ()), values.pop("prior", None)
    return PopulationPreferenceTrainer(
        host.denoiser,
        host.pipe.scheduler,
        PopulationPreferenceConfig(**values),
        data,
        prior=prior,
        timesteps_per_unit=host.family.timesteps_per_unit,
        callbacks=callbacks,
    )


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_family_learns_to_prefer_the_winners(make: Make, tmp_path: Path, family: str) -> None:
    host, data = make(family)
    logged = trainer(host, data, tmp_path, max_steps=12).train()
    assert logged[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # at the reference every reward is 0: log 2
    assert sum(one["loss"] for one in logged[-4:]) < sum(one["loss"] for one in logged[:4])
    assert all(one["accuracy"] == 1 for one in logged[-2:])


@pytest.mark.parametrize("loss", ["sigmoid", "bco_pair", "population", "kto", "sft"])
def test_every_loss_lowers_the_winners_error_against_the_losers(make: Make, tmp_path: Path, loss: str) -> None:
    host, data = make()
    last = trainer(host, data, tmp_path, loss=loss, max_steps=12).train()[-1]
    assert last["winner_error"] < 1 if loss == "sft" else last["winner_error"] < last["loser_error"]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_reference_errors_are_those_of_the_plain_denoiser(make: Make, family: str) -> None:
    host, data = make(family)
    row, draw = 5, 1
    time = float(data.timesteps[data.population[row], draw])
    level = noise_level(host.pipe.scheduler, time, data.prediction)
    noise = data._noise(int(data.population[row]), draw)
    inputs = data.conditions.rows(data.prompt[row : row + 1])
    inputs[data.conditions.latents] = (level.alpha * data.latents[row] + level.sigma * noise)[None]
    inputs["timestep"] = torch.tensor([time / host.family.timesteps_per_unit])
    with torch.no_grad():
        output = host.denoiser(**inputs)
    predicted = output[0] if isinstance(output, tuple) else output.sample
    expected = (predicted[0] - level.target(data.latents[row], noise)).square().mean()
    assert data.reference[row, draw].item() == pytest.approx(expected.item(), rel=1e-4)


def test_training_makes_no_pass_of_the_reference_and_none_of_text_encoder_or_autoencoder(
    make: Make, tmp_path: Path
) -> None:
    host, data = make()
    for part in ("vae", "text_encoder"):
        getattr(host.pipe, part).forward = None  # whoever calls it fails
    one = trainer(host, data, tmp_path)
    before = host.evaluations
    one.train()
    # 6 steps of 2 populations of 4 images: the policy's own rows and nothing else
    assert host.evaluations - before == 6 * 2 * 4


def test_it_continues_to_the_bit(make: Make, tmp_path: Path) -> None:
    host, data = make()
    whole = trainer(host, data, tmp_path / "whole")
    whole.train()
    expected = whole.lora()
    whole.close()
    broken = trainer(host, data, tmp_path / "broken", callbacks=(lambda one: one.step == 3,))
    broken.train()
    broken.close()
    again = trainer(host, data, tmp_path / "broken")
    assert again.step == 3
    again.train()
    found = again.lora()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    lines = [json.loads(line)["step"] for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 5, 6]


def test_micro_batches_give_the_exact_population_loss(make: Make, tmp_path: Path) -> None:
    host, data = make()
    found = []
    for size in (64, 3):
        one = trainer(host, data, tmp_path / str(size), micro_batch=size, max_steps=2, callbacks=())
        one._backward(torch.cat([data.rows_of(0), data.rows_of(3)]), draw=1)
        found.append([parameter.grad for parameter in one._learning])
        one.close()
    assert any(bool((grad != 0).any()) for grad in found[0])
    assert all(torch.allclose(*pair, rtol=1e-3, atol=1e-7) for pair in zip(*found, strict=True))
    with pytest.raises(InputError, match="micro_batch=3 is less than the 8 images"):
        trainer(host, data, tmp_path / "other", micro_batch=3, loss="bco_pair").train()


def test_the_model_is_given_back_as_it_was(make: Make, tmp_path: Path) -> None:
    host, data = make()
    before = host.weights_hash
    names = [name for name, _ in host.denoiser.named_modules()]
    one = trainer(host, data, tmp_path)
    one.train()
    one.close()
    del host.__dict__["weights_hash"]
    assert host.weights_hash == before
    assert [name for name, _ in host.denoiser.named_modules()] == names


def test_a_loss_that_is_no_number_stops_the_training_and_keeps_the_last_good_adapter(
    make: Make, tmp_path: Path
) -> None:
    host, data = make()
    broken = dataclasses.replace(data, reference=data.reference.clone())
    one = trainer(host, broken, tmp_path, save_every=2, callbacks=(_poison(broken, 4),))
    with pytest.raises(TrainingError, match="the loss of step 5 is no number; the adapter is that of step 4"):
        one.train()
    assert one.step == 4
    assert all(bool(torch.isfinite(value).all()) for value in one.lora().values())


def _poison(data: PreferenceData, step: int) -> Any:
    def callback(one: PopulationPreferenceTrainer) -> bool:
        if one.step == step:
            data.reference.fill_(float("nan"))
        return False

    return callback


@pytest.mark.parametrize(
    ("values", "said"),
    [({"loss": "ppo"}, "loss='ppo', expected one of"), ({"beta": 0.0}, "beta=0.0, expected a number above 0")],
)
def test_what_cannot_be_trained_is_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PopulationPreferenceConfig(output_dir=tmp_path, **values)


def test_a_folder_of_another_training_is_refused(make: Make, tmp_path: Path) -> None:
    host, data = make()
    one = trainer(host, data, tmp_path)
    one.train()
    one.close()
    with pytest.raises(InputError, match="training of another configuration"):
        trainer(host, data, tmp_path, beta=7.0)


def test_the_cache_is_saved_and_loaded(make: Make, tmp_path: Path) -> None:
    _, data = make("sdxl")
    data.save(tmp_path / "cache")
    found = PreferenceData.load(tmp_path / "cache")
    assert torch.equal(found.reference, data.reference)
    assert found.conditions.prompts == data.conditions.prompts
    assert found.conditions.others == data.conditions.others
    assert all(torch.equal(found.conditions.tensors[name], value) for name, value in data.conditions.tensors.items())
    with pytest.raises(InputError, match="no complete cache"):
        PreferenceData.load(tmp_path)


def test_the_reference_is_the_model_with_its_adapter_off(make: Make, tmp_path: Path) -> None:
    host, data = make()
    one = trainer(host, data, tmp_path, learning_rate=0.1)
    one.train()
    arguments = (host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit)
    assert not torch.equal(with_reference(data, *arguments).reference, data.reference)
    rows = data.rows_of(1)
    blank = dataclasses.replace(data, reference=torch.zeros_like(data.reference))
    with without_lora(host.denoiser):
        found = with_reference(blank, *arguments, of=rows).reference
    assert torch.allclose(found[rows], data.reference[rows], rtol=1e-5)
    assert float(found.abs().sum()) == pytest.approx(float(found[rows].sum()))  # no other row was touched
    assert one._learning[0].requires_grad  # and it goes on learning
    assert any(bool((value != 0).any()) for name, value in one.lora().items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("family", "scheduler", "grid"),
    [
        # Turbo: Euler with trailing spacing at 4 steps; LCM: every 13th of the 50 steps that it was distilled from
        ("sdxl", lambda old: EulerDiscreteScheduler.from_config(old.config, timestep_spacing="trailing"),
         (999, 749, 499, 249)),
        ("sd1", lambda old: LCMScheduler.from_config(old.config, original_inference_steps=50), (999, 759, 499, 259)),
        # a flow with a shift, as its scheduler computes it
        ("sd3", lambda old: FlowMatchEulerDiscreteScheduler.from_config(old.config, shift=3.0), None),
    ],
)  # fmt: skip
def test_a_few_step_grid_is_the_samplers_own(
    make: Make, family: str, scheduler: Any, grid: tuple[int, ...] | None
) -> None:
    host, _ = make(family)
    host.pipe.scheduler = own = scheduler(host.pipe.scheduler)
    found = sampler_grid(host, "a nurse", 4)
    own.set_timesteps(4)
    assert found == pytest.approx(own.timesteps.tolist() if grid is None else grid)
    drawn = draw_timesteps(20, 4, 0, found).flatten()
    assert torch.equal(drawn.unique(), torch.tensor(sorted(found)))
    clean, noise = torch.ones(1, 2), torch.zeros(1, 2)
    for time in found:  # every one of them has a noise level
        made = noised(own, prediction_type(host.pipe), clean, noise, torch.tensor([time]))
        assert 0 <= float(made.sample[0, 0]) < 1
