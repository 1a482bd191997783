"""The baselines that cost nothing: negative-prompt and prompt-mix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.interventions.assignment import Assignment
from evenhand.methods.negative_prompt import negative_prompt
from evenhand.methods.prompt_mix import prompt_mix

Hosts = Callable[[str], Host]


def latents(call: Callable[..., Any], prompt: Any, images: int, **more: Any) -> torch.Tensor:
    generators = [torch.Generator("cpu").manual_seed(row) for row in range(images)]
    more = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "latent", **more}
    return call(prompt, generator=generators, return_dict=False, **more)[0]


def test_the_negative_prompt_is_that_of_the_pipeline_at_no_cost(host: Hosts) -> None:
    wrapped = host("sd1")
    before = wrapped.evaluations
    expected = latents(wrapped.pipe, ["a cat", "a dog"], 2, negative_prompt=["blood", "blur, blood"])
    plain = wrapped.evaluations - before
    with wrapped.attached(negative_prompt("blood")) as call:
        found = latents(call, ["a cat", "a dog"], 2, negative_prompt=["", "blur"])
    assert torch.equal(found, expected)
    assert wrapped.evaluations - before == 2 * plain


def test_a_filtered_prompt_gets_no_words(host: Hosts) -> None:
    wrapped = host("sd1")
    with wrapped.attached(negative_prompt("blood", wanted=lambda prompt: "battle" in prompt)) as call:
        found = latents(call, ["a cat", "a dog"], 2)
    assert torch.equal(found, latents(wrapped.pipe, ["a cat", "a dog"], 2))


def test_each_image_names_the_class_that_it_is_assigned(host: Hosts) -> None:
    wrapped = host("sd1")
    assignment = Assignment(target={"female": 0.5, "male": 0.5}, seed=4)
    with wrapped.attached(prompt_mix(assignment, {"female": "woman", "male": "man"})) as call:
        found = latents(call, "a nurse", 4, num_images_per_prompt=4)
        said = [record["prompt"] for record in call.last.evidence["prompt-mix"]]
    assert sorted(said) == ["man", "man", "woman", "woman"]
    expected = latents(wrapped.pipe, [f"a nurse, {words}" for words in said], 4)
    assert torch.equal(found, expected)


def test_words_are_on_or_off(host: Hosts) -> None:
    one = negative_prompt("blood")
    with host("sd1").attached(one.scaled(0.0)) as call:
        assert call is host("sd1").pipe
    with pytest.raises(InputError, match=r"on \(1\) or off \(0\)"):
        one.scaled(0.5)
    with pytest.raises(InputError, match="empty text"):
        negative_prompt(" ")
    with pytest.raises(InputError, match="no words for the class 'male'"):
        prompt_mix(Assignment(target={"female": 0.5, "male": 0.5}), {"female": "woman"})
