"""How strongly the noise decides along ascents whose gradients are averaged in two ways.

    python benchmarks/noise_ascents.py [--concept gender] [--projection 10000] [--rows lawyer mechanic] [--images 120]
        [--noises 16] [--rounds 16] [--places 3.5 5 7 9]

Ascents of every prompt row are made with gradients that count alike and with gradients as they are, and neutral images
of other seeds, in six steps, are read by the fit judge: the probit of their class over their coordinate along each
direction says how much it decides. Printed: R over all rows with its 95 % interval, the rows' slopes, and how far each
ascent went, with the share of its last images that show the class; with `--places`, also the share of images in all
steps that show it when their noises are moved so many standard deviations, the same 48 noises of each row everywhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections import Counter
from unittest import mock

from evenhand import Host, load_concept, load_pipeline
from evenhand.concepts.wordings import caption_of
from evenhand.interventions.noise_draw import NoiseDraw
from evenhand.interventions.noise_laws import shifted
from evenhand.methods import noise_ascents
from evenhand.methods.embedding_projection import beside, fit_projection
from evenhand.methods.noise_estimators import Keep
from evenhand.methods.noise_gradient import Rounds
from evenhand.methods.noise_looks import Looking, RowAxes
from evenhand.methods.vector_trials import Trials
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.fits import Fits
from evenhand.watch import Silent

STEPS, LOOK = 6, 9
MOVED, MOVED_LOOK = 48, 77
WAYS = {"alike": False, "lengths": True}


def main() -> None:
    """Ascend, look and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concept", default="gender", help="of two classes")
    parser.add_argument("--projection", type=float, default=0.0, help="weight of an embedding projection")
    parser.add_argument("--rows", nargs="*", help="prompt rows; all, unless told")
    parser.add_argument("--images", type=int, default=120, help="neutral ones of each row")
    parser.add_argument("--noises", type=int, default=Rounds().batch, help="of each round of an ascent")
    parser.add_argument("--rounds", type=int, default=Rounds().count, help="of an ascent, at most")
    parser.add_argument(
        "--places", type=float, nargs="*", default=(), help="how far to move noises, for the shares there"
    )
    options = parser.parse_args()
    rounds = Rounds(count=options.rounds, batch=options.noises)
    with Host.wrap(load_pipeline(MODEL_DIRECTORY), name="skewville") as host:
        trials = trials_of(host, options.concept, options.projection, options.rows)
        looking = Looking(trials=trials, concepts=(trials.concept,))
        neutral = looking.neutral(options.images, LOOK, STEPS)[options.concept]
        few = looking.neutral(8)[options.concept]
        for name, lengths in WAYS.items():
            with mock.patch.object(noise_ascents, "_nearer", lambda one, other, keep=lengths: keep):
                found = noise_ascents.row_ascents(trials, few, trials.concept.class_names, Keep(), rounds)
            handle = neutral.along(found.axes, trials.concept).handle(len(trials.concept.classes))
            low, high = handle.interval()
            sys.stdout.write(f"{name}: R {handle.strength:.3f} ({low:.3f} to {high:.3f})\n")
            for row, told in found.effect["ascents"].items():
                sys.stdout.write(
                    f"  {row}: slope {handle.slope_of(row):.2f}, {told['length']:.2f} standard deviations, "
                )
                sys.stdout.write(f"{told['shown']:.2f} show the class\n")
            for place in options.places:
                by = {row: math.copysign(place, told["length"]) for row, told in found.effect["ascents"].items()}
                shares = ", ".join(f"{row} {one:.2f}" for row, one in moved(looking, found.axes, by).items())
                sys.stdout.write(f"  moved by {place:g}: {shares}\n")
            sys.stdout.flush()


def moved(looking: Looking, axes: RowAxes, by: dict[str, float]) -> dict[str, float]:
    """Share of each row's images in all steps that show the class towards which their noises are moved."""
    (concept,) = looking.concepts
    draw = NoiseDraw(
        name="moved",
        axes={concept.name: axes.common},
        own={row: {concept.name: axis} for row, axis in axes.own.items()},
        laws=lambda call: [{concept.name: shifted(by[request.row])} for request in call.requests or ()],
        rows=lambda call: [request.row for request in call.requests or ()],
    )
    requests = looking.requests(MOVED, MOVED_LOOK)
    labels = looking.trials.fitting.read(looking.trials.fitting.make([draw], requests), looking.concepts)
    shown = Counter(
        request.row
        for request, (label,) in zip(requests, labels, strict=True)
        if label == axes.order[-1 if by[request.row] > 0 else 0]
    )
    return {row: shown[row] / MOVED for row in by}


def trials_of(host: Host, name: str, weight: float, rows: list[str] | None) -> Trials:
    """The concept's prompts in several wordings, with a projection where one is wanted."""
    concept, fitting = load_concept(name), Fits(host, None, Silent()).fitting(0)
    if weight:
        fitting = beside(fitting, [fit_projection(fitting, concept)], weight)
    trials = Trials.judged(fitting, concept, "a photo of a person", words=caption_of)
    return dataclasses.replace(trials, rows=tuple(row for row in trials.rows if not rows or row.name in rows))


if __name__ == "__main__":
    main()
