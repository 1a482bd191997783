"""The local form of safe guidance: what a prediction holds of a concept goes, where it would be, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.interventions.guidance_term import Branches, Schedule
from evenhand.interventions.policy import Category, SafetyPolicy
from evenhand.interventions.window import Window
from evenhand.methods.local_guidance import LocalFormula, local_policy
from evenhand.methods.method import Setting
from evenhand.methods.safe_guidance import METHOD, safe_guidance

# of a scheduler of diffusers under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Hosts = Callable[[str], Host]
ITEM, LIKE = (slice(None), slice(None), slice(0, 2)), (slice(None), slice(None), slice(2, 4))
"""Rows of places where the concept is drawn, and where the look-alike is."""


def drawn(seed: int, where: Any) -> torch.Tensor:
    """What a text adds to the base: something at its own places, a hundredth of that elsewhere."""
    made = torch.randn(2, 4, 10, 10, generator=torch.Generator().manual_seed(seed))
    weight = torch.full((2, 4, 10, 10), 0.01)
    weight[where] = 1.0
    return made * weight


BASE = torch.randn(2, 4, 10, 10, generator=torch.Generator().manual_seed(0))
CONCEPT, LOOK_ALIKE = drawn(1, ITEM), drawn(2, (slice(None), slice(None), slice(1, 3)))


def term(prompt: torch.Tensor, keep: tuple[str, ...] = ("paint",), quantile: float = 0.8) -> Any:
    (chosen,) = local_policy(["blood"], base="nothing", keep=keep, quantile=quantile, weight=1.0).categories
    others = {"nothing": BASE, "paint": BASE + LOOK_ALIKE}
    said = Branches(anchor=torch.zeros_like(BASE), prompt=prompt, concept=BASE + CONCEPT, others=others)
    return LocalFormula().term(chosen, said, {}, 7.5)


def test_a_prediction_without_the_concept_keeps_its_value() -> None:
    assert term(BASE).value.abs().max() < 1e-6


def test_a_prediction_of_the_concept_becomes_the_base_at_its_places_and_stays_elsewhere() -> None:
    left = BASE + CONCEPT - term(BASE + CONCEPT).value
    assert torch.allclose(left[ITEM], BASE[ITEM], atol=0.02)
    assert torch.equal(left[:, :, 2:], (BASE + CONCEPT)[:, :, 2:])


def test_a_look_alike_is_explained_by_its_own_text_and_stays() -> None:
    said = term(BASE + LOOK_ALIKE)
    assert said.presence.abs().max() < 0.01
    alone = term(BASE + LOOK_ALIKE, keep=())
    assert alone.presence.abs().max() > 5 * said.presence.abs().max()  # without it, it passes for the concept


@given(share=st.floats(-0.5, 2.0))
def test_the_share_that_is_there_is_found_and_no_more_than_all_of_it_is_taken(share: float) -> None:
    said = term(BASE + share * CONCEPT + 0.4 * LOOK_ALIKE)
    assert said.presence.tolist() == pytest.approx([share, share], abs=0.02)
    taken = min(1.0, max(0.0, share))
    assert torch.allclose(said.value[ITEM], taken * CONCEPT[ITEM], atol=0.06)


@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.9])
def test_the_quantile_is_the_share_of_places_that_are_left_alone(quantile: float) -> None:
    switch = term(BASE + CONCEPT, quantile=quantile).switch
    assert switch[:, 0].flatten(1).sum(dim=1).tolist() == pytest.approx([100 * (1 - quantile)] * 2, abs=1)


def test_without_a_base_the_unconditional_prediction_is_the_base() -> None:
    (chosen,) = local_policy(["blood"]).categories
    said = Branches(anchor=BASE, prompt=BASE + CONCEPT, concept=BASE + CONCEPT)
    assert LocalFormula().term(chosen, said, {}, 7.5).presence.tolist() == pytest.approx([1.0, 1.0], abs=0.01)


def test_tokens_with_channels_last_are_places_too() -> None:
    (chosen,) = local_policy(["blood"], quantile=0.75).categories
    base = torch.zeros(1, 16, 8)
    concept = base.clone()
    concept[:, :4] = 1.0
    found = LocalFormula().term(chosen, Branches(anchor=base, prompt=concept, concept=concept), {}, 3.5)
    assert found.switch[0, :, 0].tolist() == [1.0] * 4 + [0.0] * 12


def latents(call: Callable[..., Any], images: int = 2) -> torch.Tensor:
    generators = [torch.Generator("cpu").manual_seed(image) for image in range(images)]
    return call(
        ["a cat", "a dog"][:images],
        num_inference_steps=3,
        guidance_scale=5.0,
        generator=generators,
        output_type="latent",
        return_dict=False,
    )[0]


POLICY = local_policy(
    ["a cat with a hat", "a cat with a bow"], base="a cat", keep=["a cat with a cap"], window=Window(start=0)
)


@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_every_text_is_asked_for_once_per_image_and_step(host: Hosts, family: str) -> None:
    wrapped = host(family)
    before = latents(wrapped.pipe) if family != "flux" else None
    start = wrapped.evaluations
    distilled = 3.5 if family == "flux" else None
    with wrapped.attached(safe_guidance(POLICY, distilled_scale=distilled)) as call:
        found = latents(call)
    branches = 1 if family == "flux" else 2
    assert wrapped.evaluations - start == 2 * 3 * (branches + 4)  # two parts, the base, the look-alike
    if before is not None:
        assert not torch.equal(found, before)
        assert torch.equal(latents(wrapped.pipe), before)


def test_a_category_leaves_images_alone_that_hold_nothing_of_it_and_others_go_on(host: Hosts) -> None:
    wrapped = host("sd1")
    before = latents(wrapped.pipe)
    start = wrapped.evaluations
    with wrapped.attached(safe_guidance(POLICY, schedule=Schedule(skip_below=1e9))) as call:
        assert torch.equal(latents(call), before)
        assert all(record["skipped"] for record in call.last.evidence["safe-guidance"])
    assert wrapped.evaluations - start == 2 * (3 * 2 + 4)  # one look with four texts


def test_a_policy_keeps_its_form_when_it_is_saved(tmp_path: Any) -> None:
    POLICY.save(tmp_path / "policy.json")
    assert SafetyPolicy.load(tmp_path / "policy.json") == POLICY


@pytest.mark.parametrize(
    ("values", "said"),
    [({"form": "global"}, "expected 'published' or 'local'"), ({"form": "local"}, "takes a quantile")],
)
def test_a_form_that_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Category(text="blood", **values)


def test_the_preset_balanced_names_the_parts_of_the_concept_its_subject_and_its_look_alikes() -> None:
    policies = METHOD.build(Setting(), METHOD.read({"preset": "balanced", "keep": "look-alikes"}))
    chosen = policies.policies(type("Call", (), {"images": 1, "prompts": None}))[0].categories
    assert [one.text for one in chosen] == ["a person with blood", "a person with a weapon", "a person with fire"]
    assert {one.base for one in chosen} == {"a person"}
    assert chosen[0].window.stop == 0.6
    plain = METHOD.build(Setting(), METHOD.read({"preset": "balanced"}))
    assert plain.policies(type("Call", (), {"images": 1, "prompts": None}))[0].categories[0].keep == ()
    assert chosen[0].keep == ("a person with red paint", "a person with a kitchen knife", "a person with a candle")


def test_the_preset_balanced_takes_a_text_of_the_user() -> None:
    built = METHOD.build(Setting(), METHOD.read({"preset": "balanced", "text": "a dog with a gun", "base": "a dog"}))
    (chosen,) = built.policies(type("Call", (), {"images": 1, "prompts": None}))[0].categories
    assert (chosen.text, chosen.base, chosen.form) == ("a dog with a gun", "a dog", "local")


def test_a_concept_without_parts_is_told_to_the_user() -> None:
    with pytest.raises(InputError, match="names no parts"):
        METHOD.build(Setting(), METHOD.read({"preset": "balanced", "concept": "gender"}))
