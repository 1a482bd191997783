"""Training on cached preferences: it learns, it counts, it continues to the bit, and it gives the model back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, LCMScheduler
from tiny_pipelines import FAMILY_NAMES, ready
from tiny_preferences import Make, preferences

from evenhand.errors import InputError
from evenhand.host.families import prediction_type
from evenhand.host.host import Host
from evenhand.host.noise_level import noise_level
from evenhand.training.cache import (
    PreferenceData,
    draw_timesteps,
    pair_numbers,
    winners_under_own_prompts,
    with_lessons,
    with_reference,
)
from evenhand.training.config import PopulationPreferenceConfig
from evenhand.training.denoising import distances, noised, predictions, sampler_grid
from evenhand.training.lora import without_lora
from evenhand.training.trainer import PopulationPreferenceTrainer, TrainingError

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


def test_the_rate_rises_falls_and_stays_at_half_of_it_until_the_last_quarter_of_settling(
    make: Make, tmp_path: Path
) -> None:
    host, data = make()
    logged = trainer(host, data, tmp_path, warmup=1, max_steps=5, settle_steps=8, learning_rate=0.8).train()
    # 1/2 of it and all of it after a step of warm-up, then down over four to 0; seven steps at half, then half of that
    rates = [0.4, 0.8, 0.6, 0.4, 0.2, *[0.4] * 7, 0.2]
    assert [one["rate"] for one in logged] == pytest.approx(rates)


@pytest.mark.parametrize("loss", ["sigmoid", "bco_pair", "population", "kto", "sft"])
def test_every_loss_lowers_the_winners_error_against_the_losers(make: Make, tmp_path: Path, loss: str) -> None:
    host, data = make()
    last = trainer(host, data, tmp_path, loss=loss, max_steps=12).train()[-1]
    assert last["winner_error"] < 1 if loss == "sft" else last["winner_error"] < last["loser_error"]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_reference_errors_are_those_of_the_plain_denoiser(make: Make, family: str) -> None:
    host, data = make(family)
    row, draw = 5, 1
    time = float(data.timesteps[data.pair[row], draw])
    level = noise_level(host.pipe.scheduler, time, data.prediction)
    noise = data._noise(int(data.pair[row]), draw)
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


def unbroken_and_continued(host: Host, data: PreferenceData, folder: Path) -> tuple[dict[str, torch.Tensor], ...]:
    """The adapter of six steps in one go, and that of three, a stop, and three more."""
    whole = trainer(host, data, folder / "whole")
    whole.train()
    expected = whole.lora()
    whole.close()
    broken = trainer(host, data, folder / "broken", callbacks=(lambda one: one.step == 3,))
    broken.train()
    broken.close()
    again = trainer(host, data, folder / "broken")
    assert again.step == 3
    again.train()
    assert again.step == 6
    return expected, again.lora()


def test_it_continues_to_the_bit(make: Make, tmp_path: Path) -> None:
    expected, found = unbroken_and_continued(*make(), tmp_path)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    lines = [json.loads(line)["step"] for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3, 4, 5, 6]


@pytest.mark.gpu
def test_it_continues_on_the_device_where_it_trained(tmp_path: Path) -> None:
    """What was saved lies on no device; moments belong where their parameters are."""
    with Host.wrap(ready("sd1").to("cuda")) as host:
        expected, found = unbroken_and_continued(host, preferences(host), tmp_path)
        assert all(torch.allclose(found[name], value, atol=1e-4) for name, value in expected.items())


def test_micro_batches_give_the_exact_population_loss(make: Make, tmp_path: Path) -> None:
    host, data = make()
    found = []
    for size in (64, 3):
        one = trainer(host, data, tmp_path / str(size), micro_batch=size, max_steps=2, callbacks=())
        one._backward(torch.cat([data.rows_of(0), data.rows_of(3)]), draw=1)
        found.append([parameter.grad for parameter in one.learning])
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
    assert one.learning[0].requires_grad  # and it goes on learning
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


def taught(host: Host, data: PreferenceData) -> PreferenceData:
    return with_lessons(data, host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit)


def test_a_winner_and_its_loser_share_timestep_and_noise_and_other_pairs_have_their_own(make: Make) -> None:
    host, data = make()
    winners, losers = data.rows_of(1).chunk(2)
    assert torch.equal(data.pair[winners], data.pair[losers])
    assert torch.equal(data.pair.unique(), torch.arange(len(data.timesteps)))
    clean = dataclasses.replace(data, latents=torch.zeros_like(data.latents))  # what is left is noise
    first, second = (clean.noised(host.pipe.scheduler, rows, 0) for rows in (winners, losers))
    assert torch.equal(first.sample, second.sample)
    assert torch.equal(first.timesteps, second.timesteps)
    assert len(first.timesteps.unique()) == len(winners)


def test_pairs_are_counted_also_where_a_side_has_more() -> None:
    population = torch.tensor([0, 0, 0, 1, 1])
    winner = torch.tensor([True, True, False, True, False])
    assert pair_numbers(population, winner).tolist() == [0, 1, 0, 2, 2]


def test_the_draws_of_a_pair_lie_one_in_each_part_of_the_schedule() -> None:
    drawn = draw_timesteps(50, 4, 0, last=1000, first=200)
    assert torch.equal(((drawn - 200) // 200).sort(dim=1).values, torch.arange(4.0).expand(50, 4))
    assert len(((drawn - 200) // 200)[:, 0].unique()) == 4  # and no epoch has a part of its own


def test_lessons_are_what_the_reference_predicts_under_the_prompt_that_made_the_winner(make: Make) -> None:
    host, data = make()
    data = taught(host, data)
    rows, draw = data.rows_of(2), 1
    what = data.noised(host.pipe.scheduler, rows, draw)
    with torch.no_grad():
        found = predictions(host.denoiser, data.conditions, data.own[rows], what, host.family.timesteps_per_unit)
    assert torch.allclose(data.lessons(rows, draw), found[data.winner[rows]], atol=2e-3)  # half precision
    assert not torch.allclose(data.lessons(rows, draw), what.target[data.winner[rows]], atol=0.1)


def test_winners_are_trained_towards_their_lessons(make: Make, tmp_path: Path) -> None:
    host, data = make()
    data = taught(host, data)
    one = trainer(host, data, tmp_path, beta=1e-6, sft_weight=1.0, max_steps=20)

    def missed() -> float:
        with torch.no_grad():
            return sum(float(one._pass(data.rows_of(k), draw).missed.sum()) for k in range(4) for draw in range(2))

    before = missed()
    one.train()
    assert missed() < 0.9 * before


def test_a_weight_of_a_winner_is_how_often_it_counts(make: Make, tmp_path: Path) -> None:
    host, data = make()
    found = []
    for weight in (1.0, 2.0, 3.0):
        weights = data.weight.clone()
        weights[data.rows_of(0)[0]] = weight
        one = trainer(
            host, dataclasses.replace(data, weight=weights), tmp_path / str(weight), sft_weight=1.0, beta=1e-9
        )
        one._backward(data.rows_of(0), draw=0)
        found.append(torch.cat([parameter.grad.flatten() for parameter in one.learning if parameter.grad is not None]))
        one.close()
    assert torch.allclose(found[2] - found[1], found[1] - found[0], rtol=1e-3, atol=1e-7)
    assert not torch.allclose(found[1], found[0], rtol=1e-3, atol=1e-7)


def test_micro_batches_are_exact_for_lessons_too(make: Make, tmp_path: Path) -> None:
    host, data = make()
    data, found = taught(host, data), []
    for size in (64, 3):
        one = trainer(host, data, tmp_path / str(size), micro_batch=size, sft_weight=2.0)
        loss, _ = one._backward(torch.cat([data.rows_of(0), data.rows_of(3)]), draw=1)
        found.append((loss, [parameter.grad for parameter in one.learning]))
        one.close()
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    assert all(torch.allclose(*pair, rtol=1e-3, atol=1e-7) for pair in zip(found[0][1], found[1][1], strict=True))


def test_distances_are_means_of_squares() -> None:
    assert distances(torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.zeros(2, 2)).tolist() == [5.0, 0.0]


def test_held_images_with_lessons_keep_their_predictions(make: Make, tmp_path: Path) -> None:
    host, data = make()
    every = torch.ones(len(data.winner), dtype=torch.bool)
    numbers = torch.arange(len(every))
    prior = taught(
        host,
        dataclasses.replace(
            data, winner=every, population=numbers, pair=numbers, own=data.prompt,
            timesteps=draw_timesteps(len(every), 2, 3),
        ),
    )  # fmt: skip

    def moved(weight: float) -> float:
        one = trainer(host, data, tmp_path / str(weight), prior=prior, prior_weight=weight, max_steps=15, beta=50.0)
        one.train()
        what = prior.noised(host.pipe.scheduler, numbers, 0)
        with torch.no_grad():
            now = predictions(host.denoiser, prior.conditions, prior.prompt, what, host.family.timesteps_per_unit)
        one.close()
        return float(distances(now, prior.lessons(numbers, 0)).mean())

    assert moved(20.0) < 0.5 * moved(0.0)


def test_winners_are_held_under_their_own_prompts_at_no_cost(make: Make) -> None:
    host, data = make()
    data = taught(host, data)
    before = host.evaluations
    found = winners_under_own_prompts(data, host.pipe.scheduler)
    assert host.evaluations == before
    asked = with_reference(found, host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit)
    assert torch.allclose(found.reference, asked.reference, rtol=2e-2)  # half precision
    assert torch.equal(found.lessons(torch.tensor([3]), 1), data.lessons(torch.nonzero(data.winner)[3], 1))
    assert found.populations == len(found.latents) == int(data.winner.sum())
