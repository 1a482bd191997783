"""Which class each image of a call is to show."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from evenhand.concepts.allocation import allocate
from evenhand.host.sites import Call


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """Draws the class of every image from a target.

    Where the images of a call are known as requests, their row and index decide, so an image has its class in any
    batch and on any machine; elsewhere (a pipeline called by hand) the k-th image of a prompt is image k.

    Args:
        target: share per class, summing to 1.
        mode: "stratified" keeps exact quotas per prompt, "iid" draws every image by itself.
        seed: the run's seed; it is part of every draw.
    """

    target: Mapping[str, float]
    mode: Literal["stratified", "iid"] = "stratified"
    seed: int = 0

    def classes(self, call: Call) -> list[str]:
        """One class per image of the call."""
        if call.requests is not None:
            places = [(request.row, request.index) for request in call.requests]
        else:
            seen: Counter[str] = Counter()
            places = []
            for prompt in call.prompts or [""] * call.images:
                places.append((prompt, seen[prompt]))
                seen[prompt] += 1
        return [self.one(row, index) for row, index in places]

    def one(self, row: str, index: int) -> str:
        """The class of image `index` of a prompt row."""
        return allocate(self.target, self.seed, row, index, self.mode)


@dataclasses.dataclass(frozen=True)
class Assigned:
    """What a report must know of an assignment: its mode, and the class of each image by row and index."""

    mode: Literal["stratified", "iid"]
    of: Callable[[str, int], str]
