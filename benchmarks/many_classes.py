"""How often the intervals of three classes hold their shares, corrected for a judge whose errors were counted.

    python benchmarks/many_classes.py [--runs 300]

Sixty cells: a judge that is right in .8, .9 or .97, whose errors are spread or go mostly to one class; 200 and 1,000
images; five sets of shares. Its errors are counted on 200 pictures of each class.
"""

from __future__ import annotations

import argparse
import itertools
import sys

import numpy as np

from evenhand.metrics.many_classes import corrected_shares

RIGHT, TO_ONE, IMAGES, KNOWN = (0.8, 0.9, 0.97), (0.5, 0.9), (200, 1000), 200
SHARES = ((1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1), (0.005, 0.3, 0.695), (0.0, 0.5, 0.5), (0.02, 0.02, 0.96))


def main() -> None:
    """Simulate, and print the mean and the least."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300, help="simulated audits of a cell")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cells = [held(*cell, options.runs, rng) for cell in itertools.product(RIGHT, TO_ONE, IMAGES, SHARES)]
    found = np.array(cells)
    sys.stdout.write(
        f"{found.size} cells and classes: held {found.mean():.3f} on the mean, {found.min():.3f} at worst\n"
    )


def held(
    right: float, to_one: float, images: int, shares: tuple[float, ...], runs: int, rng: np.random.Generator
) -> np.ndarray:
    """For each class how often its interval holds its share."""
    judge = np.zeros((3, 3))
    for k in range(3):
        judge[k, k], judge[k, (k + 1) % 3] = right, (1 - right) * to_one
        judge[k, (k + 2) % 3] = (1 - right) * (1 - to_one)
    hits = np.zeros(3)
    for _ in range(runs):
        known = [[*rng.multinomial(KNOWN, row).tolist(), 0] for row in judge]
        found = corrected_shares(rng.multinomial(images, np.array(shares) @ judge).tolist(), known)
        if found is not None:
            hits += [low <= share <= high for share, (_, (low, high)) in zip(shares, found, strict=True)]
    return hits / runs


if __name__ == "__main__":
    main()
