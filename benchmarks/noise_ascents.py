"""How strongly the noise decides along ascents whose gradients are averaged in two ways.

    python benchmarks/noise_ascents.py [--concept gender] [--projection 10000] [--rows lawyer mechanic] [--images 120]

Ascents of every prompt row are made with gradients that count alike and with gradients as they are, and neutral images
of other seeds, in six steps, are read by the fit judge: the probit of their class over their coordinate along each
direction says how much it decides. Printed: R over all rows with its 95 % interval, the rows' slopes, and how far each
ascent went, with the share of its last images that show the class.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from unittest import mock

from evenhand import Host, load_concept, load_pipeline
from evenhand.concepts.wordings import caption_of
from evenhand.methods import noise_ascents
from evenhand.methods.embedding_projection import beside, fit_projection
from evenhand.methods.noise_estimators import Keep
from evenhand.methods.noise_looks import Looking
from evenhand.methods.vector_trials import Trials
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.fits import Fits
from evenhand.watch import Silent

STEPS, LOOK = 6, 9
WAYS = {"alike": False, "lengths": True}


def main() -> None:
    """Ascend, look and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concept", default="gender", help="of two classes")
    parser.add_argument("--projection", type=float, default=0.0, help="weight of an embedding projection")
    parser.add_argument("--rows", nargs="*", help="prompt rows; all, unless told")
    parser.add_argument("--images", type=int, default=120, help="neutral ones of each row")
    options = parser.parse_args()
    with Host.wrap(load_pipeline(MODEL_DIRECTORY), name="skewville") as host:
        trials = trials_of(host, options.concept, options.projection, options.rows)
        looking = Looking(trials=trials, concepts=(trials.concept,))
        neutral = looking.neutral(options.images, LOOK, STEPS)[options.concept]
        few = looking.neutral(8)[options.concept]
        for name, lengths in WAYS.items():
            with mock.patch.object(noise_ascents, "_nearer", lambda one, other, keep=lengths: keep):
                found = noise_ascents.row_ascents(trials, few, trials.concept.class_names, Keep())
            handle = neutral.along(found.axes, trials.concept).handle(len(trials.concept.classes))
            low, high = handle.interval()
            sys.stdout.write(f"{name}: R {handle.strength:.3f} ({low:.3f} to {high:.3f})\n")
            for row, told in found.effect["ascents"].items():
                sys.stdout.write(
                    f"  {row}: slope {handle.slope_of(row):.2f}, {told['length']:.2f} standard deviations, "
                )
                sys.stdout.write(f"{told['shown']:.2f} show the class\n")
            sys.stdout.flush()


def trials_of(host: Host, name: str, weight: float, rows: list[str] | None) -> Trials:
    """The concept's prompts in several wordings, with a projection where one is wanted."""
    concept, fitting = load_concept(name), Fits(host, None, Silent()).fitting(0)
    if weight:
        fitting = beside(fitting, [fit_projection(fitting, concept)], weight)
    trials = Trials.judged(fitting, concept, "a photo of a person", words=caption_of)
    return dataclasses.replace(trials, rows=tuple(row for row in trials.rows if not rows or row.name in rows))


if __name__ == "__main__":
    main()
