"""What the host carries: the sites, their order, and what each is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from evenhand.errors import ModelError
from evenhand.host.host import Host
from evenhand.host.noise_level import noise_level
from evenhand.host.sites import Call, Predictions, Step


class Intervention:
    """An intervention of a test: `act` is called at its site."""

    def __init__(self, site: Any, act: Callable[..., Any], name: str = "mine", strength: float = 1.0) -> None:
        self.site, self.act, self.name, self.strength = site, act, name, strength
        self.steps: list[Step] = []
        self.calls: list[Call] = []
        self.module = "mid_block"
        self.texts: tuple[str, ...] = ()
        self.joined = False

    def check(self, host: Any) -> None:
        if self.name == "unfit":
            raise ModelError("unfit does not fit")

    def begin(self, call: Call) -> Intervention:
        self.calls.append(call)
        return self

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        return [{"steps": len(self.steps)}] * self.calls[-1].images

    def prompts(self, prompts: Sequence[str]) -> Sequence[str]:
        return [self.act(prompt) for prompt in prompts]

    def negative_prompts(self, prompts: Sequence[str]) -> Sequence[str]:
        return prompts

    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        return self.act(noise)

    def shift(self, step: Step, output: torch.Tensor) -> torch.Tensor:
        self.steps.append(step)
        return self.act(output)

    def update(self, step: Step, latents: torch.Tensor) -> torch.Tensor:
        self.steps.append(step)
        return self.act(latents)

    def wanted(self, step: Step) -> Mapping[str, Sequence[bool]]:
        return {}

    def term(self, step: Step, predictions: Predictions) -> torch.Tensor | None:
        self.steps.append(step)
        return self.act(predictions)


@pytest.fixture
def still(sd1: Host) -> Host:
    sd1.pipe.set_progress_bar_config(disable=True)
    return sd1


def latents(call: Callable[..., Any], prompt: Any = "a cat", steps: int = 3, **more: Any) -> torch.Tensor:
    count = 1 if isinstance(prompt, str) else len(prompt)
    more = {"guidance_scale": 4.0, **more}
    return call(
        prompt,
        num_inference_steps=steps,
        generator=[torch.Generator("cpu").manual_seed(row) for row in range(count)],
        output_type="latent",
        return_dict=False,
        **more,
    )[0]


SITES: dict[str, Callable[..., Any]] = {
    "prompt": lambda prompt: f"{prompt} and a dog",
    "initial noise": lambda noise: noise + 0.1,
    "activation": lambda output: output + 0.1,
    "prediction": lambda predictions: 0.1 * predictions.conditional,
    "latent": lambda latents: latents + 0.1,
}


@pytest.mark.parametrize("site", SITES)
def test_an_intervention_acts_at_its_site_and_leaves_nothing_behind(still: Host, site: Any) -> None:
    forward, before = still.denoiser.forward, latents(still.pipe)
    middle = still.denoiser.get_submodule("mid_block").forward
    with still.attached(Intervention(site, SITES[site])) as call:
        assert not torch.equal(latents(call), before)
        assert still.denoiser.forward == forward  # between calls the pipeline is as it was
    assert still.denoiser.get_submodule("mid_block").forward == middle
    assert torch.equal(latents(still.pipe), before)


@pytest.mark.parametrize("site", SITES)
def test_strength_zero_is_the_plain_pipeline_bit_by_bit(still: Host, site: Any) -> None:
    before = latents(still.pipe)
    off = Intervention(site, SITES[site], strength=0.0)
    with still.attached(off) as call:
        assert call is still.pipe
        assert torch.equal(latents(call), before)
    with still.attached(off, Intervention("latent", lambda latents: latents, name="same")) as call:
        assert torch.equal(latents(call), before)
    assert off.calls == []


@pytest.mark.parametrize("site", SITES)
def test_after_an_exception_everything_is_back(still: Host, site: Any) -> None:
    before = latents(still.pipe)

    def fail(_: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError), still.attached(Intervention(site, fail)) as call:
        latents(call)
    assert torch.equal(latents(still.pipe), before)


def test_two_at_one_site_act_in_the_order_in_which_they_were_attached(still: Host) -> None:
    double = Intervention("latent", lambda latents: 2 * latents, name="double")
    add = Intervention("latent", lambda latents: latents + 1, name="add")
    found = {}
    for name, order in (("double first", (double, add)), ("add first", (add, double))):
        with still.attached(*order) as call:
            found[name] = latents(call, steps=1)
    plain = latents(still.pipe, steps=1)
    assert torch.allclose(found["double first"], 2 * plain + 1)
    assert torch.allclose(found["add first"], 2 * (plain + 1))
    with still.attached(double), still.attached(add) as call:
        assert torch.equal(latents(call, steps=1), found["double first"])


def test_the_terms_of_one_site_add_up_and_guidance_multiplies_them(still: Host) -> None:
    seen: list[Predictions] = []

    def tenth(predictions: Predictions) -> torch.Tensor:
        seen.append(predictions)
        return 0.1 * torch.ones_like(predictions.conditional)

    plain = latents(still.pipe, steps=1)
    with still.attached(Intervention("prediction", tenth), Intervention("prediction", tenth, name="second")) as call:
        changed = latents(call, steps=1)
    # one DDIM step to the end is linear in the noise: x0 = (x - sigma e) / alpha, and e falls by 4 x .2
    level = noise_level(still.pipe.scheduler, 1.0, "epsilon")
    start = call.last
    assert start is not None
    assert start.guidance == 4.0
    first = seen[0]
    assert first.unconditional is not None
    assert not torch.equal(first.conditional, first.unconditional)
    moved = (changed - plain).flatten()
    assert torch.allclose(moved, moved[0].expand_as(moved), atol=1e-4)
    assert moved[0] > 0
    assert level.alpha > 0.99


def test_each_step_says_where_in_the_schedule_it_is(still: Host) -> None:
    watcher = Intervention("prediction", lambda predictions: None)
    with still.attached(watcher) as call:
        latents(call, ["a cat", "a dog"], steps=4)
    assert [(step.index, step.total, step.guidance) for step in watcher.steps] == [(i, 4, 4.0) for i in range(4)]
    times = still.pipe.scheduler.timesteps.tolist()
    assert [step.timestep for step in watcher.steps] == times
    assert [step.after for step in watcher.steps] == [*times[1:], 0.0]  # the level of the latents that a step leaves
    (call,) = watcher.calls
    assert (call.prompts, call.images, call.steps) == (("a cat", "a dog"), 2, 4)
    assert call.evidence["mine"] == [{"steps": 4}] * 2
    for step in watcher.steps:
        assert step.level.alpha**2 + step.level.sigma**2 == pytest.approx(1)


def test_copies_of_a_prompt_are_images_of_their_own(still: Host) -> None:
    watcher = Intervention("prediction", lambda predictions: None)
    with still.attached(watcher) as call:
        call(["a", "b"], num_images_per_prompt=2, num_inference_steps=1, output_type="latent")
    assert watcher.calls[0].prompts == ("a", "a", "b", "b")


def test_activations_change_for_the_conditional_rows_only(still: Host) -> None:
    seen: list[torch.Tensor] = []
    whole: list[torch.Tensor] = []
    still.denoiser.get_submodule("mid_block").register_forward_hook(lambda module, inputs, output: whole.append(output))
    with still.attached(Intervention("activation", lambda output: seen.append(output) or output)) as call:
        latents(call, ["a cat", "a dog"], steps=1)
    assert seen[0].shape[0] == 2
    still.denoiser.get_submodule("mid_block")._forward_hooks.clear()
    assert torch.equal(seen[0], whole[0][2:])


def test_the_users_own_callback_runs_first_and_keeps_its_tensors(still: Host) -> None:
    order: list[str] = []

    def own(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        order.append("own")
        assert set(tensors) == {"latents", "prompt_embeds"}
        return {"latents": tensors["latents"] * 0}

    def see(latents: torch.Tensor) -> torch.Tensor:
        order.append("mine")
        assert not latents.any()
        return latents + 1

    with still.attached(Intervention("latent", see)) as call:
        found = latents(
            call, steps=1, callback_on_step_end=own, callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"]
        )
    assert order == ["own", "mine"]
    assert torch.equal(found, torch.ones_like(found))


def test_without_guidance_there_is_no_unconditional_prediction(still: Host) -> None:
    seen: list[Predictions] = []
    with still.attached(Intervention("prediction", seen.append)) as call:
        latents(call, guidance_scale=1.0)
    assert all(said.unconditional is None for said in seen)
    assert call.last is not None
    assert call.last.guidance == 1.0


def test_what_does_not_fit_changes_nothing(still: Host) -> None:
    fits = Intervention("latent", lambda latents: latents)
    unfit = Intervention("latent", lambda latents: latents, name="unfit")
    with pytest.raises(ModelError, match="unfit does not fit"), still.attached(fits, unfit):
        pass
    assert still.call is still.pipe


def test_a_module_that_is_not_there_is_named_with_near_ones(still: Host) -> None:
    wrong = Intervention("activation", lambda output: output)
    wrong.module = "mid_blok"
    with pytest.raises(ModelError, match=r"no module 'mid_blok'; there is mid_block"), still.attached(wrong) as call:
        latents(call)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_one_trajectory_has_one_difference_of_noise_whatever_is_predicted(prediction: str, still: Host) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler() if prediction == "flow" else still.pipe.scheduler
    level = noise_level(scheduler, 400.0, prediction)
    rng = torch.Generator().manual_seed(0)
    latent, one, other = (torch.randn(50, generator=rng, dtype=torch.float64) for _ in range(3))

    def predicted(noise: torch.Tensor) -> torch.Tensor:
        clean = (latent - level.sigma * noise) / level.alpha
        return {
            "epsilon": noise,
            "v_prediction": level.alpha * noise - level.sigma * clean,
            "sample": clean,
            "flow": noise - clean,
        }[prediction]

    difference = (predicted(one) - predicted(other)) * level.to_noise
    assert torch.allclose(difference, one - other, atol=1e-9)
