"""What an image shows in few steps and in all, from the same noise: do pictures of a quarter of the steps tell shares?

    python benchmarks/few_steps.py [--with population-preference:concept=gender] [--images 16] [--seed 77]

Images of every occupation are made in all steps of the model and in fewer, from the same noises, and read by the fit
judge. Printed for each class: its share in both, how many images agree, their correlation (phi), and the root mean
square over the occupations of the difference between the two shares, beside what images that disagree at random would
give.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
from occupations import read_options, requests_of_occupations

from evenhand.concepts.library import load_concept
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.judges.load import load_judge
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.arm import plan_arm
from evenhand.verbs.defaults import read_card
from evenhand.watch import Silent

STEPS = (12, 9, 6)


def main() -> None:
    """Make, read and compare."""
    options = read_options(__doc__, images=16)
    host, judge = Host.wrap(load_pipeline(str(MODEL_DIRECTORY))), load_judge("convnet")
    requests = requests_of_occupations(options.images, options.seed, "fit")
    concepts, settings = [load_concept("gender"), load_concept("skin")], host.default_settings()

    def read(steps: int) -> np.ndarray:
        made = list(sample(host, requests, dataclasses.replace(settings, steps=steps), batch_size=48))
        found = judge.judge([one.image for one in made], concepts)
        return np.array([[str(one.label) for one in row] for row in found])

    arm = plan_arm(options.arms, read_card("skewville"), (), options.seed).build(host, None, Silent())
    with arm.attached(host):
        labels = {steps: read(steps) for steps in (settings.steps, *STEPS)}
    rows = np.array([one.row for one in requests])
    for place, concept in enumerate(concepts):
        for name in concept.class_names:
            whole = labels[settings.steps][:, place] == name
            for steps in STEPS:
                sys.stdout.write(f"{name:7} {_line(rows, whole, labels[steps][:, place] == name, steps)}\n")


def _line(rows: np.ndarray, whole: np.ndarray, few: np.ndarray, steps: int) -> str:
    apart = [(few[rows == row].mean() - whole[rows == row].mean()) ** 2 for row in np.unique(rows)]
    chance = [(few != whole)[rows == row].mean() / (rows == row).sum() for row in np.unique(rows)]
    shares = f"share {whole.mean():.3f} {few.mean():.3f}, agree {(few == whole).mean():.3f}"
    return (
        f"{steps:2} steps: {shares}, phi {np.corrcoef(few, whole)[0, 1]:.3f}, "
        f"apart {np.mean(apart) ** 0.5:.3f} (chance {np.mean(chance) ** 0.5:.3f})"
    )


if __name__ == "__main__":
    main()
