"""Safe latent diffusion as a guider of modular pipelines: the same as the hook in a standard one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.modular_pipelines import SequentialPipelineBlocks
from diffusers.modular_pipelines.stable_diffusion_3.modular_blocks_stable_diffusion_3 import StableDiffusion3AutoBlocks
from diffusers.modular_pipelines.stable_diffusion_xl.modular_blocks_stable_diffusion_xl import (
    StableDiffusionXLAutoBlocks,
)

from evenhand.errors import InertGuidanceError, InputError, ModelError
from evenhand.host.host import Host
from evenhand.interventions.guidance_term import Term
from evenhand.interventions.policy import SafetyPolicy
from evenhand.interventions.window import Window
from evenhand.methods.safe_guidance import PublishedFormula, preset, safe_guidance
from evenhand.methods.safe_guider import SafeGuider

# diffusers' own Euler scheduler, under numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BLOCKS: dict[str, Callable[[], SequentialPipelineBlocks]] = {
    "sdxl": StableDiffusionXLAutoBlocks,
    "sd3": StableDiffusion3AutoBlocks,
}
STEPS, SCALE = 4, 4.0


def policy(name: str) -> SafetyPolicy:
    """A preset that acts from the first step on."""
    (category,) = preset(name, "a hat").categories
    return SafetyPolicy(name=name, categories=(dataclasses.replace(category, window=Window(start=0)),))


def modular(pipe: Any, family: str, guider: Any) -> Any:
    made = BLOCKS[family]().init_pipeline()
    wanted = {name: part for name, part in pipe.components.items() if name in made.component_names}
    made.update_components(**wanted, **({} if guider is None else {"guider": guider}))
    return made


def latents_of(pipe: Any, family: str, guider: Any, steps: int = STEPS) -> torch.Tensor:
    made = modular(pipe, family, guider)
    if isinstance(guider, SafeGuider):
        guider.encode(made)
    side = 32 if family == "sdxl" else 16
    return made(
        prompt=["a nurse", "a doctor"],
        # without it the modular SD3 has no unconditional branch; SDXL would embed it, where none means zeros
        **({"negative_prompt": ""} if family == "sd3" else {}),
        num_inference_steps=steps,
        generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
        height=side,
        width=side,
        output="latents",
    )


def hooked(pipe: Any, family: str, one: SafetyPolicy | None, steps: int = STEPS) -> torch.Tensor:
    side = 32 if family == "sdxl" else 16
    with Host.wrap(pipe) as host, host.attached(*([] if one is None else [safe_guidance(one)])) as call:
        return call(
            ["a nurse", "a doctor"],
            num_inference_steps=steps,
            guidance_scale=SCALE,
            generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
            height=side,
            width=side,
            output_type="latent",
        ).images


@pytest.mark.parametrize("family", BLOCKS)
def test_without_an_intervention_it_is_classifier_free_guidance(
    family: str, pipeline: Callable[[str], DiffusionPipeline]
) -> None:
    pipe = pipeline(family)
    plain = latents_of(pipe, family, ClassifierFreeGuidance(guidance_scale=SCALE))
    scale = plain.abs().max()
    assert (hooked(pipe, family, None) - plain).abs().max() <= 1e-3 * scale


@pytest.mark.parametrize("family", BLOCKS)
def test_weak_is_the_same_as_the_hook(family: str, pipeline: Callable[[str], DiffusionPipeline]) -> None:
    pipe, one = pipeline(family), policy("weak")
    guider = SafeGuider(one.to_dict(), guidance_scale=SCALE)
    guided, expected = latents_of(pipe, family, guider), hooked(pipe, family, one)
    scale = expected.abs().max()
    assert (guided - expected).abs().max() <= 1e-3 * scale
    plain = hooked(pipe, family, None)
    assert (expected - plain).abs().max() > 1e-2 * scale
    assert [record["active_steps"] for record in guider.evidence] == [STEPS, STEPS]


def last_term(monkeypatch: pytest.MonkeyPatch, run: Callable[[], torch.Tensor]) -> Term:
    """The term of the latest step."""
    seen: list[Term] = []
    formula = PublishedFormula.term

    def watched(self: PublishedFormula, *said: Any) -> Term:
        seen.append(formula(self, *said))
        return seen[-1]

    with monkeypatch.context() as patch:
        patch.setattr(PublishedFormula, "term", watched)
        run()
    return seen[-1]


@pytest.mark.parametrize("name", ["medium", "strong", "max"])
@pytest.mark.parametrize("family", BLOCKS)
def test_presets_with_a_threshold_switch_as_the_hook_does_and_predict_the_same_where_they_agree(
    family: str, name: str, pipeline: Callable[[str], DiffusionPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, one = pipeline(family), policy(name)
    # as long as the latents are equal: a flow says nothing about the noise at its first step, so there the second
    steps = 2 if family == "sd3" else 1
    guider = SafeGuider(one.to_dict(), guidance_scale=SCALE)
    own = last_term(monkeypatch, lambda: latents_of(pipe, family, guider, steps))
    hook = last_term(monkeypatch, lambda: hooked(pipe, family, one, steps))
    assert ((own.switch > 0) == (hook.switch > 0)).float().mean() >= 0.999
    # where a switch is on in part, its slope multiplies the last bit of a prediction by up to 5,000, and which bit
    # that is depends on the processor
    agrees = (own.switch - hook.switch).abs() <= 1e-4
    assert agrees.float().mean() >= 0.95
    assert (own.value - hook.value)[agrees].abs().max() <= 1e-5
    assert (hook.switch > 0).float().mean() > 0.2
    assert hook.value.abs().max() > 1e-4


def test_its_configuration_is_saved_and_loaded(tmp_path: Path) -> None:
    guider = SafeGuider(policy("medium").to_dict(), guidance_scale=5.0, schedule="fast")
    guider.save_pretrained(tmp_path)
    again = SafeGuider.from_pretrained(tmp_path)
    assert dict(again.config)["policy"] == policy("medium").to_dict()
    assert again.guidance_scale == 5.0
    assert again.new(guidance_scale=3.0).guidance_scale == 3.0


def test_what_cannot_work_is_refused(pipeline: Callable[[str], DiffusionPipeline]) -> None:
    with pytest.raises(InputError, match="expected one of full, exact, fast"):
        SafeGuider(schedule="quick")
    with pytest.raises(InputError, match="call encode"):
        SafeGuider().prepare_inputs({"prompt_embeds": (torch.zeros(1, 2), torch.zeros(1, 2))})
    with pytest.raises(ModelError, match="is not supported"):
        SafeGuider().encode(pipeline("sd1"))
    made = modular(pipeline("sd3"), "sd3", None)
    made.update_components(guider=SafeGuider(policy("weak").to_dict()).encode(made))
    with pytest.raises(InertGuidanceError, match="without an unconditional one"):
        made(prompt="a nurse", num_inference_steps=STEPS, height=16, width=16)
    with pytest.raises(InertGuidanceError, match="inert at guidance 1"):
        latents_of(pipeline("sdxl"), "sdxl", SafeGuider(policy("weak").to_dict(), guidance_scale=1.0))
