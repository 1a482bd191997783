"""A random sample of a run's images for people to label, with the chance by which each was drawn."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import write_bytes
from .data import Picture, RunView


def write_label_sheet(view: RunView, out: Path, *, images: int, seed: int = 0) -> int:
    """Write a sheet with a line for each drawn image and an empty column for each concept; returns how many.

    Every prompt row gives the same number of images, as far as that divides; where it does not, rows that are drawn by
    lot give one more. What the judge perceives does not stand in it.

    Args:
        view: a finished run.
        out: of a file that is not there yet: labels that were given already are not written over.
        images: how many to draw.
        seed: of the draw.

    Raises: InputError where the file is there, or fewer images than one are wanted; StorageError when the disk fails.
    """
    if out.exists():
        raise InputError(f"{out} is there already: choose another name, so that no label is lost")
    if images < 1:
        raise InputError(f"-n {images}: expected a whole number of 1 or more")
    arm = view.reading.arms[0]
    rows: dict[tuple[str, str], list[Picture]] = {}
    for picture in view.pictures:
        if picture.arm == arm and picture.file is not None:
            rows.setdefault((picture.prompt_set, picture.row), []).append(picture)
    if not rows:
        raise InputError(f"{view.path} holds no image to label")
    drawn = _draw(list(rows.values()), images, seed)
    concepts = [concept.name for concept in view.reading.concepts]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "prompt", "probability", *(f"label:{name}" for name in concepts)])
    for picture, chance in drawn:
        writer.writerow([picture.file, picture.prompt, repr(chance), *[""] * len(concepts)])
    write_bytes(out, text.getvalue().encode())
    return len(drawn)


def _draw(rows: Sequence[Sequence[Picture]], images: int, seed: int) -> list[tuple[Picture, float]]:
    rng = np.random.default_rng([seed, 7])
    whole, rest = divmod(images, len(rows))
    lucky = set(rng.permutation(len(rows))[:rest].tolist())
    found = []
    for number, row in enumerate(rows):
        take = whole + (number in lucky)
        # over the lot as well: every image of a row has the same chance, whatever the lot said
        chance = (min(whole, len(row)) * (1 - rest / len(rows)) + min(whole + 1, len(row)) * rest / len(rows)) / len(
            row
        )
        for place in sorted(rng.permutation(len(row))[:take].tolist()):
            found.append((row[place], float(chance)))
    return [found[place] for place in rng.permutation(len(found))]
