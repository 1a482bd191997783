"""A model whose noise has no handle on what is read is declined, after a whole fit on a real pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
import torch
from diffusers import DDIMScheduler
from tiny_pipelines import ready

from evenhand.concepts.concept import Concept
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.host.sites import Attachable
from evenhand.methods.fitting import Fitting, Labels
from evenhand.methods.method import Setting
from evenhand.methods.table import METHODS
from evenhand.records import Request, Sample, Settings
from evenhand.watch import Silent

SETTINGS = Settings(steps=2, guidance=1.0)


def read(samples: Sequence[Sample], concepts: Sequence[Concept]) -> Labels:
    """A coin for each picture, which no direction of the noise knows."""
    coins = [hashlib.sha256(one.image.tobytes()).digest()[0] % 2 for one in samples if one.image is not None]
    return [tuple(("female", "male")[coin] for _ in concepts) for coin in coins]


def brightness(images: torch.Tensor, concept: Concept) -> torch.Tensor:
    level = images.flatten(1).mean(dim=1)
    return torch.stack([-level, level], dim=1)


def test_a_schedule_that_starts_in_pure_noise_and_a_coin_are_declined() -> None:
    pipe = ready("sd1")
    # zero terminal signal: what one starts from holds nothing of the picture (Lin et al., arXiv:2305.08891)
    pipe.scheduler = DDIMScheduler.from_config(
        pipe.scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"
    )
    with Host.wrap(pipe, name="tiny", defaults=SETTINGS) as host:

        def make(
            attached: Sequence[Attachable], requests: Sequence[Request], /, steps: int | None = None
        ) -> list[Sample]:
            assert steps is None  # two steps have no quick images
            with host.attached(*attached):
                return list(sample(host, requests, SETTINGS, batch_size=16))

        fitting = Fitting(
            host=host,
            settings=SETTINGS,
            setting=Setting(),
            make=make,
            read=read,
            knows=lambda concept: True,
            rows=lambda concept: tuple(PromptRow(name=one, templates=(f"a {one}",)) for one in ("nurse", "cook")),
            judge_hash="a coin",
            watcher=Silent(),
            logits=brightness,
        )
        method = METHODS["noise-direction"]
        (plan,) = method.plans(Setting(), method.read({"images": "48"}))
        assert method.fit is not None
        with pytest.raises(DeclinedError, match="the initial noise does not decide gender"):
            method.fit(fitting, plan.values)
