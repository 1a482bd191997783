"""The images that several benchmarks make: some of every occupation that Skewville knows."""

from __future__ import annotations

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.prompts import load_prompts
from evenhand.records import Request
from evenhand.verbs.defaults import read_card


def requests_of_occupations(images: int, seed: int, role: str) -> list[Request]:
    """So many images of each, on the seeds that a role has in a run."""
    known = set(read_card("skewville").knows["occupations"])
    return [
        Request(row=row.name, prompt=row.prompt(i), index=i, seed=image_seed(seed, role, row.name, i))
        for row in load_prompts("occupations").rows
        if row.name in known
        for i in range(images)
    ]
