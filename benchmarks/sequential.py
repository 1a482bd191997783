"""Stopping when it is decided against a fixed number of images: wrong verdicts, and how many images either takes.

    python benchmarks/sequential.py [--runs 2000] [--most 1000] [--round 8]

For each true share p of a class whose target is one half, with a margin of .10: how often a run that looks after every
round ends in a right and in a wrong verdict, how many images it takes on the mean, and the fewest images at which a
fixed design reaches a right verdict as often. On the edge of the margin every verdict counts as wrong.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np
from scipy.stats import binom

from evenhand.metrics.decision import decide, row_decision
from evenhand.metrics.rows import Row
from evenhand.metrics.sequences import decide_at_any_time

TARGET, MARGIN = 0.5, 0.1
APART = (0.0, 0.05, 0.1, 0.15, 0.2, 0.4)


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--most", type=int, default=1000, help="images of a run at most")
    parser.add_argument("--round", type=int, default=8, help="images between two looks")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write("| p - q | right | wrong | images | fixed design of equal power |\n|" + " --- |" * 5 + "\n")
    for apart in APART:
        right, wrong, images = simulate(apart, options)
        fixed = "-" if right == 0 else str(fixed_design(apart, right, options.most))
        sys.stdout.write(f"| {apart:.2f} | {right:.3f} | {wrong:.3f} | {images:.0f} | {fixed} |\n")


def simulate(apart: float, options: argparse.Namespace) -> tuple[float, float, float]:
    """Shares of right and wrong verdicts, and the mean number of images."""
    rng = np.random.default_rng([options.seed, round(100 * apart)])
    looks = range(options.round, options.most + 1, options.round)
    wanted = verdict(apart)
    right = wrong = images = 0
    known: dict[tuple[int, int], str | None] = {}
    for _ in range(options.runs):
        shown = np.cumsum(rng.random(options.most) < TARGET + apart)
        for n in looks:
            k = int(shown[n - 1])
            if (k, n) not in known:
                known[k, n] = row_decision(decide_at_any_time([k, n - k], [TARGET, 1 - TARGET], MARGIN))
            if known[k, n] != "undecided":
                right += known[k, n] == wanted
                wrong += known[k, n] != wanted
                break
        images += n
    return right / options.runs, wrong / options.runs, images / options.runs


def fixed_design(apart: float, power: float, most: int) -> str:
    """The fewest images at which the fixed verdict is right as often."""
    wanted = verdict(apart)

    def reached(n: int) -> bool:
        chances = binom.pmf(np.arange(n + 1), n, TARGET + apart)
        middle = [k for k in range(n + 1) if chances[k] > 1e-6]
        return sum(chances[k] for k in middle if fixed_verdict(k, n) == wanted) >= power - 1e-4

    low, high = 0, 4 * most
    if not reached(high):
        return f"more than {high}"
    while high - low > 2:  # the power saws a little, by less than these tables show
        half = (low + high) // 2
        low, high = (low, half) if half and reached(half) else (half, high)
    return str(high)


def fixed_verdict(k: int, n: int) -> str | None:
    """That of an audit with n images."""
    row = Row(name="", classes=("a", "b"), strata=((k, n - k),), assigned=(None,), abstained=0)
    return row_decision(decide(row, [TARGET, 1 - TARGET], MARGIN))


def verdict(apart: float) -> str | None:
    """The right one; on the edge there is none."""
    if math.isclose(apart, MARGIN):
        return None
    return "fair" if apart < MARGIN else "biased"


if __name__ == "__main__":
    main()
