"""Times several sides in turn in one process, so that a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch

from evenhand.host.quiet import without_deprecations

Side = tuple[str, Callable[[], None], int]
"""Name, what is timed, and the images that one run of it makes."""


def interleaved(sides: Sequence[Side], rounds: int, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Name -> images per second, from median times; the first round warms up and is not counted."""
    times: dict[str, list[float]] = {name: [] for name, _, _ in sides}
    for turn in range(rounds + 1):
        first = turn % len(sides)
        for name, run, _ in [*sides[first:], *sides[:first]]:
            start = clock()
            with without_deprecations():
                run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                times[name].append(clock() - start)
    return {name: count / statistics.median(times[name]) for name, _, count in sides}


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
