"""The images that several benchmarks make: some of every occupation that Skewville knows."""

from __future__ import annotations

import argparse

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.prompts import load_prompts
from evenhand.records import Request
from evenhand.verbs.defaults import read_card


def read_options(text: str | None, *, images: int) -> argparse.Namespace:
    """What such a benchmark is told: `arms`, `images` and `seed`.

    Args:
        text: of `--help`.
        images: of each occupation, where none are named.
    """
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="arms", action="append", default=[], help="as in `evenhand audit`")
    parser.add_argument("--images", type=int, default=images, help="of each occupation")
    parser.add_argument("--seed", type=int, default=77, help="run seed")
    return parser.parse_args()


def requests_of_occupations(images: int, seed: int, role: str) -> list[Request]:
    """So many images of each, on the seeds that a role has in a run."""
    known = set(read_card("skewville").knows["occupations"])
    return [
        Request(row=row.name, prompt=row.prompt(i), index=i, seed=image_seed(seed, role, row.name, i))
        for row in load_prompts("occupations").rows
        if row.name in known
        for i in range(images)
    ]
