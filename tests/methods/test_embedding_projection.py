"""Embedding projection: the closed form, and what it does to the toy's shares, which its embedding holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_pipelines import ready

from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.methods.embedding_projection import METHOD, MOMENTS, last_token, projection
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import interventions
from evenhand.testing.toy import ToyWorld, shares_of, toy_host
from evenhand.testing.toy_fitting import toy_fitting

ROWS = ("nurse",)
WORLD = ToyWorld(
    prompts={
        "": (0.5, 0.5),
        "a photo of a person": (0.5, 0.5),
        "a photo of a woman": (0.9, 0.1),
        "a photo of a man": (0.1, 0.9),
        "woman nurse": (0.9, 0.1),
        "man nurse": (0.1, 0.9),
        "nurse": (0.8, 0.2),
        "a female nurse": (0.9, 0.1),
    }
)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    with toy_host(WORLD) as host:
        (plan,) = METHOD.plans(Setting(), METHOD.read({}))
        assert METHOD.fit is not None
        found = METHOD.fit(toy_fitting(host, WORLD, rows=ROWS), plan.values)
        assert host.evaluations == 0
        return found


def test_a_direction_keeps_what_the_closed_form_says() -> None:
    direction = torch.tensor([1.0, 0.0, 0.0])
    moments = 0.1 * torch.outer(direction, direction)
    matrix = projection(moments, 90.0)
    assert torch.allclose(matrix @ direction, direction / (1 + 90 * 0.1), atol=1e-6)
    across = torch.tensor([0.0, 2.0, -1.0])
    assert torch.allclose(matrix @ across, across, atol=1e-6)
    assert torch.allclose(projection(moments, 0.0), torch.eye(3))


def latents(call: Any, prompt: str = "nurse", images: int = 400) -> torch.Tensor:
    generator = [torch.Generator().manual_seed(k) for k in range(images)]
    return call(prompt, num_images_per_prompt=images, num_inference_steps=20, generator=generator).images


def test_the_share_of_a_prompt_goes_to_the_middle(fitted: Fitted) -> None:
    # the toy embeds the logarithms of shares: without their difference they are even
    with toy_host(WORLD) as host:
        before = shares_of(latents(host.pipe), WORLD)[0]
        with host.attached(*interventions(parse_spec("embedding-projection"), Setting(fitted=(fitted,)))) as call:
            after = shares_of(latents(call), WORLD)[0]
            told = call.last.evidence["embedding-projection"]
    assert before == pytest.approx(0.8, abs=0.06)
    assert after == pytest.approx(0.5, abs=0.07)
    assert len(told) == 400
    assert told[0]["moved"] > 0


def test_a_weight_of_nothing_and_a_prompt_that_names_the_class_keep_the_bits(fitted: Fitted) -> None:
    setting = Setting(fitted=(fitted,))
    with toy_host(WORLD) as host:
        plain = latents(host.pipe, "a female nurse", 3)
        with host.attached(*interventions(parse_spec("embedding-projection"), setting)) as call:
            assert torch.equal(latents(call, "a female nurse", 3), plain)
        with host.attached(*interventions(parse_spec("embedding-projection:weight=0"), setting)) as call:
            assert torch.allclose(latents(call, "nurse", 3), latents(host.pipe, "nurse", 3), atol=1e-5)


def test_what_is_stored_is_a_matrix_of_moments(fitted: Fitted) -> None:
    moments = fitted.tensors[MOMENTS]
    assert torch.allclose(moments, moments.T)
    assert (torch.linalg.eigvalsh(moments) >= -1e-6).all()


def test_a_safety_concept_is_refused() -> None:
    (plan,) = METHOD.plans(Setting(), METHOD.read({"concept": "unsafe"}))
    assert METHOD.fit is not None
    with toy_host(WORLD) as host, pytest.raises(InputError, match="use safe-guidance"):
        METHOD.fit(toy_fitting(host, WORLD, rows=ROWS), plan.values)


def test_the_last_token_of_flux_is_that_of_the_encoder_whose_sequence_it_attends_to() -> None:
    pipe, text = ready("flux"), "a b c"
    with Host.wrap(pipe) as host:
        found = last_token(host, text)
    padded = pipe.tokenizer_2(text, padding="max_length", max_length=512, return_tensors="pt").input_ids
    with torch.no_grad():
        sequence = pipe.text_encoder_2(padded)[0][0]
    ends = [len(words(text).input_ids) - 1 for words in (pipe.tokenizer, pipe.tokenizer_2)]
    assert ends == [4, 5]  # start, a, b, c, end; and a, space, b, space, c, end
    expected, other = (torch.nn.functional.normalize(sequence[end], dim=0) for end in reversed(ends))
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, other, atol=1e-2)
