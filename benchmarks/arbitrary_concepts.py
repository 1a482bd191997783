"""Concepts that stand in no library, from two phrases each: are they shown, and does anything else move?

    python benchmarks/arbitrary_concepts.py [--images 12] [--seed 1] [--only place old] [--protect gender+skin]

Each is fitted as `evenhand fit concept-vector skewville --present "..." --absent "..."` would (no judge knows it: final
latents are read), then shown in all occupations by the report judge's reading, on the seeds of the plain images.
Printed: success of either class (Clopper-Pearson), and for every other attribute the largest change of any share, with
Newcombe's paired interval; and the largest that chance alone would give in that many images at 95 %.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence

from occupations import requests_of_occupations

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.judges.base import Judge
from evenhand.judges.load import load_judge
from evenhand.metrics.intervals import clopper_pearson
from evenhand.metrics.paired import paired_difference
from evenhand.records import Request
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.skewville.cells import concept as skewville_concept
from evenhand.verbs.arm import plan_arm
from evenhand.verbs.defaults import read_card
from evenhand.watch import Silent

OTHERS = ("gender", "skin", "age", "glasses", "origin", "scarf")


@dataclasses.dataclass(frozen=True)
class Case:
    """Two phrases, and what the report judge is asked for: the concept, and its classes for present and absent."""

    name: str
    present: str
    absent: str
    concept: Concept
    classes: tuple[str, str]


def cases() -> list[Case]:
    """Glasses, a place, a garment, and old age."""
    return [
        Case("glasses", "a photo of a person with glasses", "a photo of a person without glasses",
             load_concept("glasses"), ("yes", "no")),
        Case("place", "a photo of a person at the beach", "a photo of a person in an office",
             skewville_concept("scene"), ("beach", "office")),
        Case("garment", "a photo of a person with a striped scarf", "a photo of a person without a scarf",
             load_concept("scarf"), ("yes", "no")),
        Case("old", "a photo of an old person", "a photo of a young person", load_concept("age"), ("old", "young")),
    ]  # fmt: skip


def main() -> None:
    """Fit, show and read each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12, help="images per occupation")
    parser.add_argument("--seed", type=int, default=1, help="run seed")
    parser.add_argument("--only", nargs="+", help="names of the cases; else all")
    parser.add_argument("--protect", help="concepts whose coordinates stay, joined by +")
    options = parser.parse_args()
    host = Host.wrap(load_pipeline(str(MODEL_DIRECTORY)))
    judge = load_judge("clip", host.device)
    requests = requests_of_occupations(options.images, options.seed, "report")
    for case in cases():
        if options.only and case.name not in options.only:
            continue
        _one(host, judge, case, requests, options)


def _one(host: Host, judge: Judge, case: Case, requests: Sequence[Request], options: argparse.Namespace) -> None:
    spec = f'concept-vector:present="{case.present}",absent="{case.absent}"'
    spec += f",protect={options.protect}" if options.protect else ""
    others = [load_concept(name) for name in OTHERS if name != case.concept.name]
    asked = [case.concept, *others]

    def read() -> list[list[str | None]]:
        made = sample(host, requests, host.default_settings(), batch_size=48)
        return [[one.label for one in row] for row in judge.judge([some.image for some in made], asked)]

    plain = read()
    sys.stdout.write(f"{case.name}: n={len(requests)}\n")
    sys.stdout.flush()
    for shown, wanted in zip((case.present, case.absent), case.classes, strict=True):
        planned = plan_arm([f'{spec},class="{_class(case, shown)}"'], read_card("skewville"), (), options.seed)
        arm = planned.build(host, None, Silent())
        with arm.attached(host):
            steered = read()
        before, hits = (sum(row[0] == wanted for row in rows) for rows in (plain, steered))
        low, high = clopper_pearson(hits, len(requests))
        sys.stdout.write(f"  {wanted}: plain {before / len(plain):.3f}, shown {hits / len(plain):.3f} ({low:.3f} to ")
        sys.stdout.write(f"{high:.3f})\n")
        for place, other in enumerate(others, 1):
            moved = []
            for name in other.class_names:
                pair = ([row[place] == name for row in rows] for rows in (plain, steered))
                moved.append((name, *paired_difference(*pair)))
            name, value, (low, high) = max(moved, key=lambda one: abs(one[1]))
            sys.stdout.write(f"    {other.name:8} {name:8} {value:+.3f} ({low:+.3f} to {high:+.3f})\n")
    chance = 1.96 * math.sqrt(0.5 * 0.1 / len(requests))
    sys.stdout.write(f"  chance alone, where one image in ten changes: {chance:.3f}\n")


def _class(case: Case, shown: str) -> str:
    """The name that a concept from two phrases gives its classes."""
    return "present" if shown == case.present else "absent"


if __name__ == "__main__":
    main()
