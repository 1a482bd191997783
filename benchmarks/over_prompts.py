"""How often the intervals of means over prompts hold the truth, at rates from nearly never to nearly always.

    python benchmarks/over_prompts.py [--runs 4000]

Simulated audits of 2 to 16 prompts with 4 to 50 images each. Beside the intervals that reports state stand those of the
rows squared and added. A cell is a number of prompts, a number of images and a set of rates.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence

import numpy as np

from evenhand.metrics.intervals import Interval, square_and_add, wilson
from evenhand.metrics.mean_rate import Part, mean_rate
from evenhand.metrics.paired import Pairs, mean_difference, paired_difference

PROMPTS, IMAGES = (2, 4, 8, 16), (4, 8, 20, 50)
RATES = ((0.01,), (0.02,), (0.05,), (0.1,), (0.3,), (0.5,), (0.9,), (0.02, 0.5), (0.02, 0.98), (0.95, 0.8, 0.35, 0.1))
CHANGES = ((0.02, 0.02), (0.05, 0.05), (0.08, 0.8), (0.8, 0.02), (0.95, 0.5), (0.3, 0.05), (0.5, 0.5), (0.01, 0.05))
FEWEST = 32
"""Images of a cell in all, below which even a single row's interval holds .85 at some rates: counts are few."""


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000, help="simulated audits of a cell")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    sys.stdout.write("| mean of | interval | cells | held, mean | worst cell | width, mean |\n|" + " --- |" * 6 + "\n")
    for what, simulate, cells in (("rates", rates, RATES), ("changes of pairs", changes, CHANGES)):
        found: dict[str, list[tuple[float, float]]] = {}
        for prompts, images, cell in itertools.product(PROMPTS, IMAGES, cells):
            if prompts * images >= FEWEST:
                for name, one in simulate(prompts, images, cell, options.runs, rng).items():
                    found.setdefault(name, []).append(one)
        for name, some in found.items():
            held, width = zip(*some, strict=True)
            line = f"| {what} | {name} | {len(some)} | {np.mean(held):.3f} | {min(held):.3f} | {np.mean(width):.3f} |\n"
            sys.stdout.write(line)


def rates(prompts: int, images: int, cell: Sequence[float], runs: int, rng: np.random.Generator) -> Found:
    """Share of the means that the intervals hold, and the mean width."""
    truth = np.resize(cell, prompts)
    drawn = rng.binomial(images, truth, size=(runs, prompts)).tolist()

    def ours(counts: Sequence[int]) -> Interval:
        return mean_rate([Part(k, images, 1 / prompts) for k in counts])

    def usual(counts: Sequence[int]) -> Interval:
        bounds = [wilson(k, images) for k in counts]
        return square_and_add([k / images for k in counts], bounds, [1 / prompts] * prompts)

    return {name: _held(way, drawn, float(truth.mean())) for name, way in (("stated", ours), ("squared, added", usual))}


def changes(prompts: int, images: int, cell: Sequence[float], runs: int, rng: np.random.Generator) -> Found:
    """The same of changes between two rates; runs are fewer, since pairs take longer."""
    before, after = cell
    shape = (max(runs // 8, 1), prompts, images)
    drawn = [
        [(list(old), list(new)) for old, new in zip(*one, strict=True)]
        for one in zip((rng.random(shape) < before).tolist(), (rng.random(shape) < after).tolist(), strict=True)
    ]

    def usual(rows: Sequence[Pairs]) -> Interval:
        values, bounds = zip(*(paired_difference(*row) for row in rows), strict=True)
        return square_and_add(values, bounds, [1 / prompts] * prompts)

    ways: dict[str, Callable[..., Interval]] = {
        "stated": lambda rows: mean_difference(rows)[1],
        "squared, added": usual,
    }
    return {name: _held(way, drawn, after - before) for name, way in ways.items()}


Found = dict[str, tuple[float, float]]


def _held(way: Callable[..., Interval], drawn: Sequence[Sequence[object]], truth: float) -> tuple[float, float]:
    bounds = [way(one) for one in drawn]
    held = [low - 1e-12 <= truth <= high + 1e-12 for low, high in bounds]
    return float(np.mean(held)), float(np.mean([high - low for low, high in bounds]))


if __name__ == "__main__":
    main()
