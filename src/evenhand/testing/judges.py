"""`check_judge`: the laws of judges, on pictures that are made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evenhand.concepts.concept import Concept
from evenhand.judges.base import INVALID, Judge


def check_judge(make: Callable[[], Judge], concepts: Sequence[Concept], *, size: int = 64) -> None:
    """Check the laws of a judge.

    Args:
        make: builds the judge; it is called twice.
        concepts: some that it knows.
        size: side of the pictures that it is shown.

    Raises:
        AssertionError: the law that does not hold, by name.

    Cost: some 20 pictures.
    """
    judge = make()
    pictures: list[np.ndarray | None] = list(_pictures(size))
    verdicts = judge.judge([*pictures, None], concepts)
    _hold(all(judge.knows(concept) for concept in concepts), "it knows what it judges")
    _hold(
        len(verdicts) == len(pictures) + 1 and all(len(row) == len(concepts) for row in verdicts),
        "it gives a verdict for every picture and concept",
    )
    for row in verdicts:
        for concept, verdict in zip(concepts, row, strict=True):
            _hold(verdict.concept == concept.name, "a verdict names its concept")
            _hold(verdict.label in (None, *concept.class_names), "a label is a class, or none")
            if verdict.probabilities:
                _hold(len(verdict.probabilities) == len(concept.classes), "there is a probability for every class")
                _hold(abs(sum(verdict.probabilities) - 1) < 1e-3, "probabilities sum to 1")
    _hold(
        all(one.label is None and one.reason == INVALID for one in verdicts[-1]),
        "what is no picture gets no label",
    )
    _hold(judge.judge([], concepts) == [], "no pictures, no verdicts")
    for place, picture in enumerate(pictures):
        alone = judge.judge([picture], concepts)[0]
        _hold(
            [one.label for one in alone] == [one.label for one in verdicts[place]],
            "a verdict does not depend on the other pictures",
        )
    _hold(judge.hash == make().hash, "the same judge has the same hash")
    _hold(bool(judge.name) and judge.card().get("hash") == judge.hash, "its card carries its hash")


def _pictures(size: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    flat = [np.full((size, size, 3), level, dtype=np.uint8) for level in (0, 128, 255)]
    ramp = np.linspace(0, 255, size, dtype=np.uint8)
    gradient = np.stack([np.tile(ramp, (size, 1))] * 3, axis=2)
    return [*flat, gradient, *(rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(2))]


def _hold(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(f"the law does not hold: {law}")
