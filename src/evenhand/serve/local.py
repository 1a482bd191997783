"""Batches on a model of this process."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..host.host import Host
from ..host.sampler import sample
from ..host.undo import Undo
from ..records import Settings
from .engine import Abandoned
from .kit import Kit
from .order import Order


class LocalMaker:
    """Makes a batch with one call of the pipeline.

    Args:
        host: the model.
        kit: what can be attached.
        shape: rows that every batch is filled up to, so that an image does not depend on how many were waiting, not
            even in its last bits; None computes as many rows as there are orders.
    """

    def __init__(self, host: Host, kit: Kit, shape: int | None = None) -> None:
        self._host, self._kit, self._shape = host, kit, shape
        # SDXL treats a prompt without a negative one apart, and one call cannot do both
        self._apart = bool(getattr(host.pipe.config, "force_zeros_for_empty_prompt", False))

    def __call__(
        self, orders: Sequence[Order], settings: Settings, abandoned: Callable[[], bool]
    ) -> list[np.ndarray | None]:
        """The images in order.

        Raises: Abandoned; InputError for what the model cannot follow.
        """
        groups: dict[Any, list[int]] = {}
        for place, order in enumerate(orders):
            groups.setdefault(self._kind(order), []).append(place)
        found: dict[int, np.ndarray | None] = {}
        for places in groups.values():
            found |= dict(zip(places, self._one([orders[place] for place in places], settings, abandoned), strict=True))
        return [found[place] for place in range(len(orders))]

    def _one(
        self, orders: Sequence[Order], settings: Settings, abandoned: Callable[[], bool]
    ) -> list[np.ndarray | None]:
        size = self._shape or len(orders)
        with Undo() as undo, self._host.attached(*self._kit.attachables(orders)):
            undo.replace(self._host.denoiser, "forward", _until(abandoned, self._host.denoiser.forward))
            return [one.image for one in sample(self._host, orders, settings, batch_size=size, pad=True)]

    def _kind(self, order: Order) -> Any:
        if not self._apart:
            return None
        words = any(one.site == "prompt" for some in order.stack for one in self._kit.named[some.name])
        return order.negative_prompt is not None, words


def _until(abandoned: Callable[[], bool], forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if abandoned():
            raise Abandoned
        return forward(*args, **kwargs)

    return checked
