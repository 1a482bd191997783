"""A random sample of a run's images for people to label, with the chance by which each was drawn."""

from __future__ import annotations

import collections
import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..concepts.allocation import check_seed
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

    Raises: InputError where the file is there, fewer images than one are wanted, or the seed is none; StorageError when
        the disk fails.
    """
    if out.exists():
        raise InputError(f"{out} is there already: choose another name, so that no label is lost")
    if images < 1:
        raise InputError(f"-n {images}: expected a whole number of 1 or more")
    check_seed(seed)
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
        found += [row[place] for place in sorted(rng.permutation(len(row))[:take].tolist())]
    copies = [collections.Counter(picture.file for picture in row) for row in rows]
    mixed = [found[place] for place in rng.permutation(len(found))]
    return [(one, _chance(one.file, rows, copies, whole, rest / len(rows))) for one in mixed]


def _chance(
    file: str | None,
    rows: Sequence[Sequence[Picture]],
    copies: Sequence[Mapping[str | None, int]],
    take: int,
    lot: float,
) -> float:
    """The chance that a file is drawn: `take` images of every row, and by lot, with chance `lot`, one more.

    Images of equal bytes are one file, and a label of one is a label of all: it is drawn unless none of them is.
    """
    none = 1.0
    for row, some in zip(rows, copies, strict=True):
        if some[file]:
            none *= (1 - lot) * _missed(len(row), some[file], take) + lot * _missed(len(row), some[file], take + 1)
    return 1 - none


def _missed(images: int, copies: int, take: int) -> float:
    """The chance that a draw of `take` of so many images without replacement has none of the copies."""
    return math.prod((images - min(take, images) - k) / (images - k) for k in range(copies))
