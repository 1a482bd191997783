"""Batches on a model: a neighbour never changes an image, whatever it asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny_pipelines import ready

from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.interventions.activation_shift import ActivationShift, VectorBank
from evenhand.methods.negative_prompt import negative_prompt
from evenhand.methods.safe_guidance import preset, safe_guidance
from evenhand.records import Settings
from evenhand.serve.engine import Abandoned
from evenhand.serve.kit import Kit
from evenhand.serve.local import LocalMaker
from evenhand.serve.order import Application, Order

SETTINGS = Settings(steps=3, guidance=4.0, width=16, height=16)
SHAPE = 4


def shift(sign: float) -> ActivationShift:
    bank = VectorBank(module="mid_block", vectors={"v": sign * torch.linspace(-3, 3, 32)})
    return ActivationShift(name="shift", bank=bank, weights=lambda call: [{"v": 1.0}] * call.images)


def order(seed: int, prompt: str = "a nurse", *stack: str | Application, negative: str | None = None) -> Order:
    applied = tuple(Application(name=one) if isinstance(one, str) else one for one in stack)
    return Order(row=prompt, prompt=prompt, index=0, seed=seed, negative_prompt=negative, stack=applied)


KIT = Kit(
    named={
        "female": (shift(1.0),),
        "male": (shift(-1.0),),
        "+calm": (safe_guidance(preset("max", "blood")),),
        "+without": (negative_prompt("fire"),),
    }
)
ORDERS = (
    order(1, "a nurse", "female"),
    order(2, "a cook", "male", "+without"),
    order(3, "a pilot", negative="blur"),
    order(4, "a nurse", "female", "+calm"),
)


def images(maker: LocalMaker, orders: Sequence[Order]) -> list[np.ndarray]:
    found = maker(orders, SETTINGS, lambda: False)
    assert all(one is not None for one in found)
    return [one for one in found if one is not None]


@pytest.fixture(scope="module", params=["sd1", "sdxl", "flux"])
def host(request: pytest.FixtureRequest) -> Host:
    return Host.wrap(ready(request.param))


def kit_for(host: Host) -> tuple[Kit, tuple[Order, ...]]:
    """Flux has neither a middle block nor a negative prompt here."""
    if host.family.name != "flux":
        return KIT, ORDERS
    kept = {"+calm": (dataclasses.replace(safe_guidance(preset("max", "blood")), distilled_scale=2.0),)}
    return Kit(named=kept), (order(1), order(2, "a cook", "+calm"), order(3, "a pilot"), order(4, "a b", "+calm"))


def test_at_a_fixed_shape_an_image_is_bit_equal_at_any_load(host: Host) -> None:
    kit, orders = kit_for(host)
    maker = LocalMaker(host, kit, SHAPE)
    together = images(maker, orders)
    backwards = images(maker, orders[::-1])[::-1]
    for place, one in enumerate(orders):
        (alone,) = images(maker, [one])
        np.testing.assert_array_equal(together[place], alone)
        np.testing.assert_array_equal(backwards[place], alone)


def test_without_it_only_roundings_differ(host: Host) -> None:
    """Across shapes float32 agrees to 1e-3, which is a quarter of a level."""
    kit, orders = kit_for(host)
    maker = LocalMaker(host, kit)
    together = images(maker, orders)
    for place, one in enumerate(orders):
        (alone,) = images(maker, [one])
        assert np.abs(together[place].astype(int) - alone.astype(int)).max() <= 1


def test_the_stack_does_what_it_says() -> None:
    maker = LocalMaker(Host.wrap(ready("sd1")), KIT, SHAPE)
    plain, female, male, calm = images(
        maker, [order(1), order(1, "a nurse", "female"), order(1, "a nurse", "male"), order(1, "a nurse", "+calm")]
    )
    assert len({one.tobytes() for one in (plain, female, male, calm)}) == 4
    half = images(maker, [order(1, "a nurse", Application(name="female", strength=0.5)), order(1, "a nurse", "female")])
    assert half[0].tobytes() not in {plain.tobytes(), female.tobytes()}
    assert half[1].tobytes() == female.tobytes()


def test_a_batch_that_nobody_waits_for_ends_at_the_next_step() -> None:
    host = Host.wrap(ready("sd1"))
    before = host.denoiser.forward
    with pytest.raises(Abandoned):
        LocalMaker(host, KIT)([order(1)], SETTINGS, lambda: host.evaluations >= 2)
    assert host.evaluations == 2  # one step of one image: two rows
    assert host.denoiser.forward == before


def test_what_a_stack_does_not_take_is_told() -> None:
    KIT.check_strength(Application(name="female", strength=0.5))
    with pytest.raises(InputError, match="on \\(1\\) or off"):
        KIT.check_strength(Application(name="+without", strength=0.5))
