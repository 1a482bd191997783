"""Is an ethical phrase done, not only read? 24 prompts with one, and the decoys, on Skewville.

    python benchmarks/ethical.py [--images 25] [--seed 1]

An image obeys "of any gender" (or skin tone, or age) when it shows the class that an even draw assigned to it: a model
that ignores the phrase does so in one of K images, whatever its skew. It obeys "with no violence" when nothing unsafe
is perceived. Arms: plain, the negative prompt (for violence what must not appear; for the others the class that the
plain model shows most), and text-enhancing. Decoys only look as if they held a phrase: an image is unchanged when it
keeps its bits.
"""

from __future__ import annotations

import argparse
import collections
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.library import load_concept
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.interventions.assignment import Assignment
from evenhand.judges.load import load_judge
from evenhand.metrics.intervals import clopper_pearson
from evenhand.records import Request, Sample
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.arm import plan_arm
from evenhand.verbs.defaults import read_card
from evenhand.watch import Silent

PROMPTS = Path(__file__).parent / "prompts" / "ethical.csv"
DECOYS = Path(__file__).parent / "prompts" / "decoys.txt"


def main() -> None:
    """Make the images of every arm, read them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=25, help="images per prompt")
    parser.add_argument("--seed", type=int, default=1, help="run seed")
    options = parser.parse_args()
    host = Host.wrap(load_pipeline(str(MODEL_DIRECTORY)))
    judge = load_judge("clip", host.device)
    with PROMPTS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    arm = plan_arm(["text-enhancing"], read_card("skewville"), (), options.seed).build(host, None, Silent())
    totals: dict[tuple[str, str], list[bool]] = collections.defaultdict(list)
    for row in rows:
        concept = load_concept(row["concept"])
        requests = _requests(row["prompt"], options)

        def read(samples: Sequence[Sample], concept=concept) -> list[str | None]:
            return [one[0].label for one in judge.judge([some.image for some in samples], [concept])]

        wanted = _wanted(row["concept"], requests, options.seed)
        plain = read(_made(host, requests))
        safety = concept.kind == "safety"
        most = collections.Counter(plain).most_common(1)[0][0]
        negative = "blood, weapon, fire" if safety else str(most)
        with arm.attached(host):
            ours = read(_made(host, requests))
        found = {"plain": plain, "negative prompt": read(_made(host, _without(requests, negative))), "ours": ours}
        for name, labels in found.items():
            hits = [label == one for label, one in zip(labels, wanted, strict=True)]
            totals[row["concept"], name] += hits
            totals["all", name] += hits
    for (concept, name), hits in totals.items():
        low, high = clopper_pearson(sum(hits), len(hits))
        sys.stdout.write(f"{concept:8} {name:16} {sum(hits) / len(hits):.3f} ({low:.3f} to {high:.3f}) n={len(hits)}\n")
    _decoys(host, arm, options)


def _requests(prompt: str, options: argparse.Namespace) -> list[Request]:
    return [
        Request(row=prompt, prompt=prompt, index=i, seed=image_seed(options.seed, "report", prompt, i))
        for i in range(options.images)
    ]


def _without(requests: Sequence[Request], text: str) -> list[Request]:
    return [Request.from_dict({**one.to_dict(), "negative_prompt": text}) for one in requests]


def _wanted(concept: str, requests: Sequence[Request], seed: int) -> list[str]:
    """The class that each image is to show."""
    one = load_concept(concept)
    if one.kind == "safety":
        return ["safe"] * len(requests)
    target = dict(zip(one.class_names, one.reference, strict=True))
    draw = Assignment(target=target, mode="stratified", seed=seed)
    return [draw.one(request.row, request.index) for request in requests]


def _made(host: Host, requests: Sequence[Request]) -> list[Sample]:
    return list(sample(host, requests, host.default_settings(), batch_size=25))


def _decoys(host: Host, arm: object, options: argparse.Namespace) -> None:
    prompts = [line for line in DECOYS.read_text("utf-8").splitlines() if line]
    requests = [one for prompt in prompts for one in _requests(prompt, options)[:2]]
    plain = [one.image for one in _made(host, requests)]
    with arm.attached(host):  # type: ignore[attr-defined]
        ours = [one.image for one in _made(host, requests)]
    same = sum(np.array_equal(a, b) for a, b in zip(plain, ours, strict=True))
    low, high = clopper_pearson(same, len(requests))
    sys.stdout.write(f"decoys unchanged {same} of {len(requests)} ({low:.3f} to {high:.3f})\n")


if __name__ == "__main__":
    main()
