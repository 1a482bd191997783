"""Corrected rates by simulation: how often the 95 % interval holds the true rate, and the uncorrected one beside it.

    python benchmarks/classifier_error.py [--runs 10000] [--seed 0] [--calibration 200]

Every cell is a true rate, a judge's sensitivity and specificity, and a number of images; the judge's errors are counted
on `--calibration` pictures that show the class and as many that do not. The table has a line for each cell: coverage of
the interval of Lang and Reiczigel, of Wilson's interval for what was read, and the mean width of the former. The exit
status is 1 where a cell lies below .92 or the mean outside .94 to .98.
"""

from __future__ import annotations

import argparse
import itertools
import sys

import numpy as np
from scipy.stats import norm

from evenhand.metrics.classifier_error import corrected_rates

PREVALENCES = (0.0, 0.005, 0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9)
RATES = (0.8, 0.9, 0.97)
IMAGES = (200, 1000)
LEAST, MEAN = 0.92, (0.94, 0.98)


def main() -> int:
    """Simulate, print the table, and say whether the coverage is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000, help="audits per cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calibration", type=int, default=200, help="pictures of each truth")
    options = parser.parse_args()
    cells = list(itertools.product(IMAGES, PREVALENCES, RATES, RATES))
    found = [coverage(cell, options.runs, options.seed, options.calibration) for cell in cells]
    print("| images | true rate | Se | Sp | corrected | uncorrected | width |")
    print("|" + " --- |" * 7)
    for (n, prevalence, se, sp), (held, plain, width) in zip(cells, found, strict=True):
        print(f"| {n} | {prevalence:g} | {se} | {sp} | {held:.3f} | {plain:.3f} | {width:.3f} |")
    held, plain = np.array([one for one, _, _ in found]), np.array([one for _, one, _ in found])
    print(f"\n{len(cells)} cells of {options.runs} audits, calibration {options.calibration} + {options.calibration}")
    print(f"corrected:   mean {held.mean():.3f}, lowest {held.min():.3f}, highest {held.max():.3f}")
    print(f"uncorrected: mean {plain.mean():.3f}, lowest {plain.min():.3f}, highest {plain.max():.3f}")
    return int(not (held.min() >= LEAST and MEAN[0] <= held.mean() <= MEAN[1]))


def coverage(cell: tuple[int, float, float, float], runs: int, seed: int, pictures: int) -> tuple[float, float, float]:
    """Coverage of the corrected and of the uncorrected interval, and the mean width of the corrected one.

    Args:
        cell: images, true rate, sensitivity, specificity.
        runs: audits, each with a calibration of its own.
        seed: every cell has its own stream of it.
        pictures: calibration pictures of each truth.
    """
    n, prevalence, se, sp = cell
    rng = np.random.default_rng([seed, n, *(round(1000 * one) for one in cell[1:])])
    hits, passes = rng.binomial(pictures, se, runs), rng.binomial(pictures, sp, runs)
    read = rng.binomial(n, prevalence * se + (1 - prevalence) * (1 - sp), runs)
    _, low, high = corrected_rates(read, n, hits, pictures, passes, pictures)
    held = (low <= prevalence) & (prevalence <= high)
    below, above = _wilson(read, n)
    return float(held.mean()), float(((below <= prevalence) & (prevalence <= above)).mean()), float((high - low).mean())


def _wilson(k: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of many counts at once, its ends exact where none or all were read."""
    z2 = float(norm.ppf(0.975)) ** 2
    centre, half = (k + z2 / 2) / (n + z2), np.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
    return np.where(k == 0, 0.0, centre - half), np.where(k == n, 1.0, centre + half)


if __name__ == "__main__":
    sys.exit(main())
