"""How much of what an image shows is its noise's and not its prompt's: the same noises under every occupation.

    python benchmarks/shared_noises.py [--with population-preference:concept=gender] [--images 64] [--seed 77]

Images of every occupation are made from the same noises, in a quarter of the steps, and read by the fit judge. Printed
for gender and for tones: the mean correlation between two occupations over the noises, which is what
`population-preference` reckons with where it checks its shares.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
from occupations import read_options, requests_of_occupations

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.library import load_concept
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.judges.load import load_judge
from evenhand.methods.quick_images import QuickPlan
from evenhand.methods.shared_noises import alike
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.arm import plan_arm
from evenhand.verbs.defaults import read_card
from evenhand.watch import Silent


def main() -> None:
    """Make, read and correlate."""
    options = read_options(__doc__, images=64)
    host, judge = Host.wrap(load_pipeline(str(MODEL_DIRECTORY))), load_judge("convnet")
    requests = [
        dataclasses.replace(one, seed=image_seed(options.seed, "fit", "every prompt", one.index))
        for one in requests_of_occupations(options.images, options.seed, "fit")
    ]
    settings = host.default_settings()
    quick = dataclasses.replace(settings, steps=QuickPlan.of(options.images, settings.steps).steps or settings.steps)
    concepts = [load_concept("gender"), load_concept("skin")]
    arm = plan_arm(options.arms, read_card("skewville"), (), options.seed).build(host, None, Silent())
    with arm.attached(host):
        made = list(sample(host, requests, quick, batch_size=48))
    read = judge.judge([one.image for one in made], concepts)
    for place, concept in enumerate(concepts):
        shown = np.array([[str(one[place].label) == name for name in concept.class_names] for one in read], float)
        by_row = shown.reshape(-1, options.images, len(concept.class_names))
        sys.stdout.write(f"{concept.name}: shares {shown.mean(axis=0).round(3)}, correlation {alike(by_row):.3f}\n")


if __name__ == "__main__":
    main()
