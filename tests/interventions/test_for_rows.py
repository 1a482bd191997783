"""Interventions for some rows: each image of a mixed batch is the one that it would be in a batch of its own kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_pipelines import ready

from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.activation_shift import ActivationShift, VectorBank
from evenhand.interventions.for_rows import ForRows
from evenhand.interventions.latent_correction import LatentCorrection
from evenhand.interventions.noise_draw import NoiseDraw
from evenhand.interventions.noise_laws import shifted
from evenhand.interventions.text_map import TextMap
from evenhand.interventions.weight_delta import WeightDelta
from evenhand.methods.negative_prompt import negative_prompt
from evenhand.methods.safe_guidance import preset, safe_guidance

ROWS = (True, False, True)


class Score:
    """Linear in the latents."""

    classes = ("a", "b")

    def log_chances(self, latents: torch.Tensor, timestep: float) -> torch.Tensor:
        return torch.log_softmax(torch.stack([latents.flatten(1).mean(dim=1) * 9, latents[:, 0, 0, 0]], dim=1), dim=1)


def _shift() -> ActivationShift:
    bank = VectorBank(module="mid_block", vectors={"v": torch.linspace(-3, 3, 32)})
    return ActivationShift(name="shift", bank=bank, weights=lambda call: [{"v": 1.0}] * call.images)


MAKERS: dict[str, Callable[[], Attachable]] = {
    "prompt": lambda: negative_prompt("blood"),
    "text embedding": lambda: TextMap(name="map", matrix=torch.eye(32) * 2, wanted=lambda call: [True] * call.images),
    "initial noise": lambda: NoiseDraw(
        name="draw",
        axes={"a": torch.ones(4, 8, 8)},
        laws=lambda call: [{"a": shifted(3.0)}] * call.images,
    ),
    "activation": _shift,
    "latent": lambda: LatentCorrection(name="latent", score=Score(), wanted=lambda call: [("a", 3.0)] * call.images),
    "prediction": lambda: safe_guidance(preset("max", "blood")),
}


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.wrap(ready("sd1"))


def latents(host: Host, *attached: Attachable) -> torch.Tensor:
    with host.attached(*attached) as call:
        return call(
            ["a nurse", "a cook", "a pilot"],
            num_inference_steps=4,
            guidance_scale=5.0,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(3)],
            output_type="latent",
        ).images


@pytest.mark.parametrize("site", MAKERS)
def test_every_image_is_that_of_a_batch_of_its_own_kind(host: Host, site: str) -> None:
    """One shape, so all comparisons are bit by bit."""
    make = MAKERS[site]
    plain, full = latents(host), latents(host, make())
    mixed = latents(host, ForRows(one=make(), rows=lambda call: ROWS))
    for row, meant in enumerate(ROWS):
        assert not torch.equal(plain[row], full[row])
        if site == "prediction":
            # rows of the further text lie at other places of their chunk, which changes the last bits
            torch.testing.assert_close(mixed[row], (full if meant else plain)[row], atol=1e-4, rtol=1e-4)
        else:
            assert torch.equal(mixed[row], (full if meant else plain)[row])
        if not meant:
            assert torch.equal(mixed[row], plain[row])


@pytest.mark.parametrize("site", MAKERS)
def test_for_no_row_and_for_all_rows(host: Host, site: str) -> None:
    make = MAKERS[site]
    assert torch.equal(latents(host, ForRows(one=make(), rows=lambda call: [False] * 3)), latents(host))
    assert torch.equal(latents(host, ForRows(one=make(), rows=lambda call: [True] * 3)), latents(host, make()))


def test_two_groups_share_a_batch(host: Host) -> None:
    """Different interventions on different rows at once."""
    one, other = MAKERS["activation"], MAKERS["initial noise"]
    mixed = latents(
        host,
        ForRows(one=one(), rows=lambda call: (True, False, False)),
        ForRows(one=other(), rows=lambda call: (False, True, False)),
    )
    assert torch.equal(mixed[0], latents(host, one())[0])
    assert torch.equal(mixed[1], latents(host, other())[1])
    assert torch.equal(mixed[2], latents(host)[2])


def test_evidence_is_told_of_meant_rows_only(host: Host) -> None:
    with host.attached(ForRows(one=_shift(), rows=lambda call: ROWS)) as call:
        call(["a", "b", "c"], num_inference_steps=2, output_type="latent")
        told: Any = call.last.evidence["shift"]  # type: ignore[attr-defined]
    assert [bool(one) for one in told] == list(ROWS)


def test_what_changes_weights_cannot_be_restricted() -> None:
    lora = {"conv_in.lora_A.weight": torch.zeros(1, 4), "conv_in.lora_B.weight": torch.zeros(16, 1)}
    with pytest.raises(InputError, match="acts on whole batches"):
        ForRows(one=WeightDelta(name="lora", lora=lora), rows=lambda call: ROWS)


def test_nothing_is_asked_of_an_intervention_without_rows() -> None:
    class Loud:
        name, site, strength = "loud", "prompt", 1.0

        def check(self, host: Any) -> None: ...

        def begin(self, call: Call) -> Any:
            raise AssertionError

    loud: Any = Loud()
    assert ForRows(one=loud, rows=lambda call: [False]).begin(Call(prompts=("a",), images=1)) is None
