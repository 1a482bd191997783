"""Safe latent diffusion: equal to the reference, the identities of its equations, and its honesty."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipelineSafe,
)
from scipy.integrate import quad
from scipy.stats import norm

from evenhand.errors import EvenhandWarning, InertGuidanceError, InputError
from evenhand.host.host import Host
from evenhand.interventions.activation_shift import ActivationShift, VectorBank
from evenhand.interventions.guidance_term import Branches, Schedule, for_prompts
from evenhand.interventions.policy import Category, SafetyPolicy
from evenhand.interventions.window import Window
from evenhand.methods.safe_guidance import EXACT, FAST, PRESETS, SafeGuidanceFormula, preset, safe_guidance

# of a scheduler of diffusers under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Hosts = Callable[[str], Host]
TEXT = "blood, fire"
SCHEDULERS: Any = {"ddim": DDIMScheduler, "pndm": PNDMScheduler, "euler": EulerDiscreteScheduler}


def generators(images: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator("cpu").manual_seed(seed + image) for image in range(images)]


def latents(call: Callable[..., Any], images: int = 1, **more: Any) -> torch.Tensor:
    arguments = {"prompt": "a cat", "num_inference_steps": 8, "guidance_scale": 5.0, **more}
    return call(
        **arguments,
        num_images_per_prompt=images,
        generator=generators(images),
        output_type="latent",
        return_dict=False,
    )[0]


def reference_latents(pipe: DiffusionPipeline, name: str, images: int, steps: int, negative: str | None) -> Any:
    """The latents of diffusers' own pipeline, read through its callback: it ignores output_type="latent"."""
    parts: Any = {key: value for key, value in pipe.components.items() if key != "image_encoder"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        safe = StableDiffusionPipelineSafe(**parts, requires_safety_checker=False)
    safe.set_progress_bar_config(disable=True)
    safe._safety_text_concept = TEXT
    kept: dict[str, torch.Tensor] = {}
    category = PRESETS[name]
    safe(
        "a cat",
        num_inference_steps=steps,
        guidance_scale=5.0,
        negative_prompt=negative,
        num_images_per_prompt=images,
        generator=generators(images),
        callback=lambda step, time, now: kept.update(latents=now),
        sld_guidance_scale=category.scale,
        sld_warmup_steps=category.window.start,
        sld_threshold=category.threshold,
        sld_momentum_scale=category.momentum_scale,
        sld_mom_beta=category.momentum_beta,
    )
    return kept["latents"]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("images", "negative"), [(1, None), (4, None), (1, "a dog"), (4, "a dog")])
@pytest.mark.filterwarnings("ignore::evenhand.errors.EvenhandWarning")
@pytest.mark.filterwarnings("ignore:The (decode_latents method|configuration):FutureWarning")  # of the reference
def test_the_latents_are_those_of_the_reference_pipeline(
    pipeline: Callable[[str], DiffusionPipeline], host: Hosts, scheduler: str, name: str, images: int, negative: Any
) -> None:
    pipe: Any = pipeline("sd1")
    before, steps = pipe.scheduler, 18  # more than the longest warm-up, 15
    pipe.scheduler = SCHEDULERS[scheduler].from_config(before.config)
    try:
        expected = reference_latents(pipe, name, images, steps, negative)
        wrapped = host("sd1")
        plain = latents(pipe, images, num_inference_steps=steps, negative_prompt=negative)
        with wrapped.attached(safe_guidance(preset(name, TEXT), schedule=EXACT)) as call:
            found = latents(call, images, num_inference_steps=steps, negative_prompt=negative)
    finally:
        pipe.scheduler = before
    # Random weights give latents of up to 30; trained ones have unit variance. The switch of the presets with a
    # threshold jumps, so the last bit of a prediction may turn an element.
    difference = (found - expected).abs() / max(1.0, expected.abs().max().item())
    assert (difference <= 1e-4).float().mean() >= 0.995
    assert difference.max() <= 1e-3
    assert (found - plain).abs().max() > 5 * (found - expected).abs().max()  # it did something


def branches(rows: int = 2, seed: int = 0) -> Branches:
    rng = torch.Generator().manual_seed(seed)
    anchor, prompt, concept = (0.05 * torch.randn(rows, 4, 8, 8, generator=rng) for _ in range(3))
    return Branches(anchor=anchor, prompt=prompt, concept=concept)


def category(**more: Any) -> Category:
    values = {"text": TEXT, "scale": 1e9, "threshold": 0.0, "momentum_scale": 0.0, "momentum_beta": 0.0, **more}
    return Category(**values)


def test_the_equations_restated() -> None:
    said, memory = branches(), {}
    chosen = category(scale=30.0, threshold=0.02, momentum_scale=0.3, momentum_beta=0.4)
    momentum = torch.zeros(2, 4, 8, 8)
    for _ in range(4):
        difference = said.prompt - said.concept
        switch = (30.0 * difference.abs()).clamp(max=1.0) * (difference < 0.02)  # equation 6
        gamma = switch * (said.concept - said.anchor) + 0.3 * momentum  # equations 4 and 7
        momentum = 0.4 * momentum + 0.6 * gamma  # equation 8, of the gamma that holds the momentum already
        found = SafeGuidanceFormula().term(chosen, said, memory, 5.0)
        assert torch.allclose(found.value, gamma)
        assert torch.equal(found.switch, switch)


def test_a_concept_that_the_negative_prompt_says_already_adds_nothing() -> None:
    said = branches()
    same = Branches(anchor=said.anchor, prompt=said.prompt, concept=said.anchor)
    assert not SafeGuidanceFormula().term(category(), same, {}, 5.0).value.any()


def test_without_threshold_and_momentum_it_is_guidance_away_from_the_concept() -> None:
    said, scale = branches(), 5.0
    term = SafeGuidanceFormula().term(category(threshold=1e9), said, {}, scale).value
    # e_0 + g (e_p - e_0 - (e_S - e_0)) = e_0 + g (e_p - e_S)
    guided = said.anchor + scale * (said.prompt - said.anchor - term)
    assert torch.allclose(guided, said.anchor + scale * (said.prompt - said.concept), atol=1e-6)


def test_with_a_constant_difference_momentum_settles_at_the_geometric_sum() -> None:
    said, memory = branches(), {}
    chosen = category(threshold=1e9, momentum_scale=0.5, momentum_beta=0.7)
    for _ in range(200):
        value = SafeGuidanceFormula().term(chosen, said, memory, 5.0).value
    # gamma = d + s_m gamma, so gamma = d / (1 - s_m)
    assert torch.allclose(value, (said.concept - said.anchor) / (1 - 0.5), atol=1e-6)


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_let_in_the_share_that_follows_from_a_normal_difference(name: str) -> None:
    chosen, spread = PRESETS[name], 0.05
    # let in is P(d < lambda), and the mean switch E[min(1, s |d|); d < lambda], for d ~ N(0, .05^2)
    let_in = norm.cdf(chosen.threshold / spread)
    mean, _ = quad(
        lambda d: min(1.0, chosen.scale * abs(d)) * norm.pdf(d, scale=spread),
        -0.5,
        min(chosen.threshold, 0.5),
        points=[0],
    )
    difference = 0.05 * torch.randn(64, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    said = Branches(anchor=torch.zeros_like(difference), prompt=difference, concept=torch.zeros_like(difference))
    switch = SafeGuidanceFormula().term(chosen, said, {}, 5.0).switch
    assert (switch > 0).float().mean().item() == pytest.approx(let_in, abs=0.006)
    assert switch.mean().item() == pytest.approx(mean, abs=0.006)


def test_a_quantile_lets_that_share_of_every_image_in() -> None:
    said = branches(rows=3)
    chosen = category(threshold=0.25, threshold_kind="quantile")
    switch = SafeGuidanceFormula().term(chosen, said, {}, 5.0).switch
    assert (switch > 0).flatten(1).sum(dim=1).tolist() == [64, 64, 64]  # a quarter of 4 x 8 x 8


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sd3", "flux"])
def test_every_family_is_guided_and_given_back_as_it_was(host: Hosts, family: str) -> None:
    wrapped, more = host(family), _arguments(family)
    forward = wrapped.denoiser.forward
    before = latents(wrapped.pipe, 2, **more)
    guided = safe_guidance(SafetyPolicy(name="mine", categories=(category(scale=1000.0, threshold=1.0),)))
    with wrapped.attached(guided) as call:
        changed = latents(call, 2, **more)
        (first, second) = call.last.evidence["safe-guidance"]
    assert (changed - before).abs().max() > 1e-3
    assert first["active_steps"] == second["active_steps"] == 8
    assert first["norm"] > 0
    with wrapped.attached(guided.scaled(0.0)) as call:
        assert torch.equal(latents(call, 2, **more), before)
    assert wrapped.denoiser.forward is forward
    assert torch.equal(latents(wrapped.pipe, 2, **more), before)


def _arguments(family: str) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if family in ("sd3", "flux"):
        more |= {"height": 16, "width": 16, "max_sequence_length": 8}
    if family == "flux":
        more |= {"true_cfg_scale": 5.0, "guidance_scale": 1.0, "negative_prompt": ""}
    return more


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux"])
def test_all_branches_in_one_call_or_in_calls_of_their_own_is_the_same(host: Hosts, family: str) -> None:
    wrapped, more = host(family), _arguments(family)
    found = []
    for schedule in (Schedule(joined=True), Schedule()):
        policy = SafetyPolicy(name="mine", categories=(category(scale=20.0, threshold=1.0),))
        with wrapped.attached(safe_guidance(policy, schedule=schedule)) as call:
            found.append(latents(call, 2, **more))
    assert (found[0] - found[1]).abs().max() <= 1e-4


def test_a_model_with_distilled_guidance_is_guided_relative_to_its_prompt(host: Hosts) -> None:
    wrapped = host("flux")
    more = {"height": 16, "width": 16, "max_sequence_length": 8, "guidance_scale": 3.5}
    policy = SafetyPolicy(name="mine", categories=(category(scale=1e9, threshold=1e9),))
    with pytest.raises(InertGuidanceError, match="distilled_scale"), wrapped.attached(safe_guidance(policy)) as call:
        latents(call, **more)
    before = latents(wrapped.pipe, **more)
    with wrapped.attached(safe_guidance(policy, distilled_scale=2.0)) as call:
        assert (latents(call, **more) - before).abs().max() > 1e-3


def test_an_image_without_a_policy_keeps_its_bits(host: Hosts) -> None:
    wrapped = host("sd1")
    prompts = ["a cat", "a battle", "a cat", "a battle"]
    more: dict[str, Any] = {"num_inference_steps": 8, "guidance_scale": 5.0, "output_type": "latent"}
    plain = wrapped.pipe(prompts, generator=generators(4), return_dict=False, **more)[0]
    policy = for_prompts(preset("max", TEXT), lambda prompt: "battle" in prompt)
    with wrapped.attached(safe_guidance(policy)) as call:
        found = call(prompts, generator=generators(4), return_dict=False, **more)[0]
        evidence = call.last.evidence["safe-guidance"]
    assert torch.equal(found[0::2], plain[0::2])
    assert not torch.equal(found[1::2], plain[1::2])
    assert [record["policy"] for record in evidence] == [None, "max", None, "max"]
    assert evidence[0]["switch"] is None


def test_images_of_one_batch_may_have_policies_of_their_own(host: Hosts) -> None:
    wrapped = host("sd1")
    policies = [preset("max", "blood"), preset("weak-diffusers", "fire", steps=50)]
    together = safe_guidance(lambda call: policies)
    more: dict[str, Any] = {"num_inference_steps": 8, "guidance_scale": 5.0, "output_type": "latent"}
    with wrapped.attached(together) as call:
        both = call(["a cat", "a cat"], generator=generators(2), return_dict=False, **more)[0]
    for row, policy in enumerate(policies):
        with wrapped.attached(safe_guidance(policy)) as call:
            alone = call(["a cat", "a cat"], generator=generators(2), return_dict=False, **more)[0]
        assert (both[row] - alone[row]).abs().max() <= 1e-5


@pytest.mark.filterwarnings("ignore::evenhand.errors.EvenhandWarning")
@pytest.mark.parametrize(
    ("schedule", "name", "steps", "rows"),
    [
        # 2 rows of guidance a step; weak needs its branch in 35 of 50 steps, strong (momentum) in all of them
        (Schedule(), "weak", 50, 100 + 35),
        (Schedule(), "strong", 50, 100 + 50),
        (EXACT, "weak", 50, 100 + 35),
        (EXACT, "max", 50, 150),
        # steps 7, 12, ..., 47
        (Schedule(refresh=5, gather=False), "strong", 50, 100 + 9),
        (Schedule(refresh=5, gather=False), "max", 50, 100 + 10),
        # steps 15, 19, ..., 47: at most 1.10 times plain, whether or not an image is left alone after the first look
        (FAST, "weak", 50, 100 + 9),
    ],
)
def test_the_denoiser_evaluations_are_counted(
    host: Hosts, schedule: Schedule, name: str, steps: int, rows: int
) -> None:
    wrapped = host("sd1")
    with wrapped.attached(safe_guidance(preset(name, TEXT), schedule=schedule)) as call:
        before = wrapped.evaluations
        latents(call, num_inference_steps=steps)
    assert wrapped.evaluations - before == rows


def test_an_image_that_the_term_would_hardly_change_is_left_alone_from_then_on(host: Hosts) -> None:
    wrapped = host("sd1")
    before = latents(wrapped.pipe, 2)
    schedule = Schedule(skip_below=1e9)
    with wrapped.attached(safe_guidance(preset("max", TEXT), schedule=schedule)) as call:
        start = wrapped.evaluations
        found = latents(call, 2)
        evidence = call.last.evidence["safe-guidance"]
    assert torch.equal(found, before)
    assert wrapped.evaluations - start == 2 * (2 * 8 + 1)  # one look at each image
    assert all(record["skipped"] and record["active_steps"] == 0 for record in evidence)


def test_guidance_that_would_do_nothing_is_refused_by_name(host: Hosts) -> None:
    wrapped = host("sd1")
    forward = wrapped.denoiser.forward
    with (
        wrapped.attached(safe_guidance(preset("max", TEXT))) as call,
        pytest.raises(InertGuidanceError, match="safe-guidance is inert at guidance 1"),
    ):
        latents(call, guidance_scale=1.0)
    with (
        wrapped.attached(safe_guidance(preset("weak", TEXT))) as call,
        pytest.raises(InertGuidanceError, match="starts at 15 and the schedule has 8 steps"),
    ):
        latents(call, num_inference_steps=8)
    assert wrapped.denoiser.forward is forward


def test_a_short_schedule_and_a_cut_text_are_said(host: Hosts) -> None:
    wrapped = host("sd1")
    with (
        wrapped.attached(safe_guidance(preset("strong", TEXT))) as call,
        pytest.warns(EvenhandWarning, match="meant for 50 steps, here are 8"),
    ):
        latents(call)
    with (
        wrapped.attached(safe_guidance(preset("max"))) as call,
        pytest.warns(EvenhandWarning, match="its end is cut off"),
    ):
        latents(call)


def test_a_preset_in_shares_of_the_schedule() -> None:
    assert preset("strong", TEXT, steps=50).categories[0].window.steps(25) == range(3, 25)
    with pytest.raises(InputError, match="expected one of weak"):
        preset("mild")


def test_a_policy_is_saved_and_read_back(tmp_path: Any) -> None:
    policy = SafetyPolicy(
        name="mine",
        version=3,
        categories=(category(window=Window(start=0.1, stop=20)), category(text="a weapon", weight=0.5)),
    )
    policy.save(tmp_path / "policy.json")
    again = SafetyPolicy.load(tmp_path / "policy.json")
    assert again == policy
    assert again.hash == policy.hash
    (tmp_path / "other.json").write_text('{"schema": "another"}')
    with pytest.raises(InputError, match=r"expected 'evenhand\.policy/1'"):
        SafetyPolicy.load(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"text": " "}, "empty text"),
        ({"threshold": 2.0, "threshold_kind": "quantile"}, "not between 0 and 1"),
        ({"momentum_scale": 1.0}, "below 1"),
        ({"weight": -1.0}, "0 or more"),
    ],
)
def test_a_category_that_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        category(**values)


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (1.5, None), (5, 5), (0.5, 0.2)])
def test_a_window_without_steps_is_refused(start: Any, stop: Any) -> None:
    with pytest.raises(InputError):
        Window(start=start, stop=stop)


def test_with_one_call_per_branch_an_activation_moves_the_conditional_branch_only(host: Hosts) -> None:
    wrapped = host("flux")
    bank = VectorBank(module="transformer_blocks.0", vectors={"up": torch.linspace(-1.0, 1.0, 32)})
    shift = ActivationShift(name="mine", bank=bank, weights=lambda call: [{"up": 1.0}])

    def moved(scale: float) -> torch.Tensor:
        more = {**_arguments("flux"), "true_cfg_scale": scale, "num_inference_steps": 1}
        plain = latents(wrapped.pipe, **more)
        with wrapped.attached(shift) as call:
            return latents(call, **more) - plain

    # e_0 + g (e_p - e_0): with e_p alone shifted, what moves is in proportion to g
    assert torch.allclose(moved(6.0), 3.0 * moved(2.0), atol=1e-4)
    assert moved(2.0).abs().max() > 1e-3
