"""The laws that every intervention obeys, checked on the toy model in milliseconds.

`check_intervention(make)` raises an AssertionError that names the law. `make` builds a fresh intervention; it is
called several times, since a law may not depend on what an earlier one did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from evenhand.host.host import Host
from evenhand.host.sites import Attachable
from evenhand.testing.toy import ToyWorld, toy_host

Make = Callable[[], Attachable]

_SMALL = 1e-3


def check_intervention(make: Make, *, prompt: str = "a nurse", world: ToyWorld | None = None) -> None:
    """Check all laws for one intervention.

    Args:
        make: builds the intervention as a user would attach it, at strength 1.
        prompt: a prompt of the toy world that the intervention changes.
        world: the toy world, None for the default one.

    Raises:
        AssertionError: the first law that does not hold, by name.
    """
    for law in (
        strength_one_does_something,
        strength_zero_is_bit_identical,
        detaching_restores_everything,
        an_exception_restores_everything,
        the_same_seed_gives_the_same_image,
        an_image_does_not_depend_on_its_neighbours,
        it_says_what_it_did,
    ):
        with toy_host(world) as host:
            law(host, make, prompt)


def strength_one_does_something(host: Host, make: Make, prompt: str) -> None:
    """An intervention that changes nothing is no intervention."""
    with host.attached(make()) as call:
        _hold(not torch.equal(_latents(call, prompt), _latents(host.pipe, prompt)), "strength_one_does_something")


def strength_zero_is_bit_identical(host: Host, make: Make, prompt: str) -> None:
    """At strength 0 the latents are those of the plain pipeline."""
    plain = _latents(host.pipe, prompt)
    off: Any = make()
    with host.attached(off.scaled(0.0)) as call:
        _hold(torch.equal(_latents(call, prompt), plain), "strength_zero_is_bit_identical")


def detaching_restores_everything(host: Host, make: Make, prompt: str) -> None:
    """After the block, parameters, forwards and the next image are as before."""
    before, plain = _state(host), _latents(host.pipe, prompt)
    with host.attached(make()) as call:
        _latents(call, prompt)
    _hold(_same(before, _state(host)), "detaching_restores_everything")
    _hold(torch.equal(_latents(host.pipe, prompt), plain), "detaching_restores_everything")


def an_exception_restores_everything(host: Host, make: Make, prompt: str) -> None:
    """The same after an exception in the middle of a call."""
    before, plain = _state(host), _latents(host.pipe, prompt)

    def interrupt(*_: Any) -> Any:
        raise _Interruption

    try:
        with host.attached(make()) as call:
            _latents(call, prompt, callback_on_step_end=interrupt)
    except _Interruption:
        pass
    _hold(_same(before, _state(host)), "an_exception_restores_everything")
    _hold(torch.equal(_latents(host.pipe, prompt), plain), "an_exception_restores_everything")


def the_same_seed_gives_the_same_image(host: Host, make: Make, prompt: str) -> None:
    """Nothing is drawn from a generator that the caller does not hold."""
    with host.attached(make()) as call:
        _hold(torch.equal(_latents(call, prompt), _latents(call, prompt)), "the_same_seed_gives_the_same_image")


def an_image_does_not_depend_on_its_neighbours(host: Host, make: Make, prompt: str) -> None:
    """The first image of a batch stays when the noises of the others change."""
    with host.attached(make()) as call:
        one, other = (_latents(call, prompt, seeds=(0, first, first + 1)) for first in (1, 50))
    _hold(bool((one[0] - other[0]).abs().max() <= _SMALL), "an_image_does_not_depend_on_its_neighbours")


def it_says_what_it_did(host: Host, make: Make, prompt: str) -> None:
    """There is one record of evidence per image."""
    intervention = make()
    with host.attached(intervention) as call:
        _latents(call, prompt)
    told = call.last.evidence.get(intervention.name, ())  # type: ignore[attr-defined]
    _hold(len(told) == 3, "it_says_what_it_did")


class _Interruption(Exception):
    """Stands for whatever goes wrong in a user's callback."""


def _hold(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(f"the law {law} does not hold")


def _latents(call: Callable[..., Any], prompt: str, seeds: tuple[int, ...] = (0, 1, 2), **more: Any) -> torch.Tensor:
    return call(
        prompt,
        num_inference_steps=6,
        guidance_scale=2.0,
        num_images_per_prompt=len(seeds),
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        **more,
    ).images


def _state(host: Host) -> dict[str, Any]:
    modules = dict(host.denoiser.named_modules())
    return {
        **{f"parameter {name}": value.clone() for name, value in host.denoiser.named_parameters()},
        **{f"forward {name}": module.forward for name, module in modules.items()},
        **{f"hooks {name}": len(module._forward_hooks) for name, module in modules.items()},
        "scheduler": host.pipe.scheduler,
        "config": dict(host.pipe.scheduler.config),
    }


def _same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return before.keys() == after.keys() and all(
        torch.equal(one, after[name]) if isinstance(one, torch.Tensor) else one == after[name]
        for name, one in before.items()
    )
