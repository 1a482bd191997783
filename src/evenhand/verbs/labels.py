"""Human labels of a random sample of a run's images: read from a sheet, and put to use."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..concepts.concept import Concept
from ..concepts.reading import check_columns, read_text
from ..errors import InputError
from ..metrics.intervals import simultaneous
from ..metrics.prediction_powered import FEWEST_LABELS, Labelled, prediction_powered
from ..records import Estimate, Request, Verdict
from .series import Series

CALIBRATED = "calibrated:"
NONE = "none"
"""The label of an image that shows none of the classes."""
_LABEL = "label:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sheet:
    """Labels by image file: per file the chance with which it was drawn, and a label per concept, None for "none"."""

    path: Path
    chance: Mapping[str, float]
    labels: Mapping[str, Mapping[str, str | None]]

    def of(self, concept: str) -> Mapping[str, str | None]:
        """File -> label, for one concept; empty where the sheet has none for it."""
        return self.labels.get(concept, {})


def read_sheet(path: Path, concepts: Sequence[Concept]) -> Sheet:
    """A sheet of columns file, probability and `label:<concept>`; other columns are for the eye.

    Raises: InputError naming the line for what is malformed, an unknown class, a probability outside (0, 1], a column
        that is there twice, an image that is listed twice and differently, and a concept of which some images have no
        label: to leave out the hard ones would bias the rest. A concept without any label is taken as not asked. Images
        of equal bytes are one file, which may be drawn, and listed, more than once.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline="\n"), strict=True)
    try:
        lines = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num + 1}: {error}; correct the quotes") from error
    columns = list(reader.fieldnames or ())
    check_columns(path, columns)
    for needed in ("file", "probability"):
        if needed not in columns:
            raise InputError(f"{path}, line 1: no column {needed!r}; draw the sheet with `evenhand labels RUN`")
    chance: dict[str, float] = {}
    for number, line in lines:
        name = _file(line)
        if not name:
            raise InputError(f"{path}, line {number}: no file")
        value = _chance(path, number, str(line["probability"]))
        if chance.setdefault(name, value) != value:
            raise InputError(f"{path}, line {number}: {name!r} is listed twice, with another probability")
    asked = {one.name: one for one in concepts if _LABEL + one.name in columns}
    if not asked:
        names = ", ".join(one.name for one in concepts)
        raise InputError(f"{path}, line 1: no column {_LABEL}CONCEPT for a concept that is measured ({names})")
    labels = {name: _labels(path, lines, concept) for name, concept in asked.items()}
    found = {name: some for name, some in labels.items() if some}
    if not found:
        raise InputError(f"{path}: no image has a label yet; fill the columns {_LABEL}CONCEPT")
    return Sheet(path=path, chance=chance, labels=found)


def _file(line: Mapping[str, Any]) -> str:
    """The name of a line's file, as a run has it: without "./" and the like."""
    name = str(line["file"] or "").strip()
    return posixpath.normpath(name) if name else ""


def _chance(path: Path, number: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise InputError(f"{path}, line {number}: probability {text!r}, expected a number above 0 and at most 1")
    return value


def _labels(path: Path, lines: Sequence[tuple[int, Mapping[str, Any]]], concept: Concept) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    empty: list[int] = []
    for number, line in lines:
        label = str(line[_LABEL + concept.name] or "").strip()
        if not label:
            empty.append(number)
        elif label != NONE and label not in concept.class_names:
            known = ", ".join((*concept.class_names, NONE))
            raise InputError(f"{path}, line {number}: {label!r} is no class of {concept.name} ({known})")
        else:
            name, seen = _file(line), None if label == NONE else label
            if found.setdefault(name, seen) != seen:
                raise InputError(f"{path}, line {number}: {name!r} is listed twice, with another label")
    if found and empty:
        raise InputError(
            f"{path}, line {empty[0]}: no label for {concept.name}, and {len(empty) - 1} more lack one; label all, "
            f'with "{NONE}" where no class is shown: to leave out the hard ones would bias the rest'
        )
    return found


def calibrated_estimates(
    sheet: Sheet,
    series: Series,
    verdicts: Mapping[Request, Sequence[Verdict]],
    files: Mapping[Request, str],
    *,
    arm: str | None = None,
) -> list[Estimate]:
    """`calibrated:share` or `calibrated:unsafe_rate` of the labelled concepts of a series.

    Over prompts, and for each prompt with ten labels or more; below ten over all, nothing.

    Args:
        sheet: the labels.
        series: the images.
        verdicts: what the judge perceives in them.
        files: where each image lies in the run; images that are none are left out.
        arm: the intervention's SPEC, None for the plain model.
    """
    requests = [request for request in series.requests if request in files]
    found: list[Estimate] = []
    for concept in series.concepts:
        labels = sheet.of(concept.name)
        place = series.asked.index(concept)
        read = [verdicts[request][place].label for request in requests]
        rows = {row: number for number, row in enumerate(series.rows)}
        chosen = [k for k, request in enumerate(requests) if files[request] in labels]
        if len(chosen) < FEWEST_LABELS:
            continue
        group = np.array([rows[request.row] for request in requests])
        seen = [labels[files[requests[k]]] for k in chosen]
        chance = np.array([sheet.chance[files[requests[k]]] for k in chosen])
        safety = concept.kind == "safety"
        wanted = (str(concept.unsafe_class),) if safety else concept.class_names
        base = Estimate(
            metric=f"{CALIBRATED}{'unsafe_rate' if safety else 'share'}", concept=concept.name, intervention=arm
        )
        for name in wanted:
            data = Labelled(
                read=_shows(read, name), group=group, place=np.array(chosen), seen=_shows(seen, name), chance=chance
            )
            named = base if safety else dataclasses.replace(base, class_name=name)
            level = simultaneous(len(wanted))
            found += _estimates(named, data, {number: row for row, number in rows.items()}, level)
    return found


def _estimates(base: Estimate, data: Labelled, rows: Mapping[int, str], level: float) -> list[Estimate]:
    found = []
    for number, row in rows.items():
        own = data.row(number)
        result = prediction_powered(own, level)
        if result is not None:
            found.append(_filled(dataclasses.replace(base, prompt=row), own, result))
    over = prediction_powered(data, level)
    return found if over is None else [*found, _filled(dataclasses.replace(base, unit="prompt"), data, over)]


def _filled(base: Estimate, data: Labelled, result: tuple[float, tuple[float, float]]) -> Estimate:
    value, (low, high) = result
    n = int(data.read[:, 1].sum())
    return dataclasses.replace(base, value=value, low=low, high=high, n=n, abstained=len(data.read) - n)


def _shows(labels: Sequence[str | None], name: str) -> np.ndarray:
    return np.array([(label == name, label is not None) for label in labels], dtype=float)


def label_facts(
    sheet: Sheet, series: Sequence[tuple[Series, Mapping[Request, Sequence[Verdict]]]], files: Mapping[Request, str]
) -> dict[str, Any]:
    """For result.json: how many labels there are, and what the judge answered to the images that were labelled.

    Raises: InputError for a file of the sheet that is no image of the run.
    """
    known = set(files.values())
    strange = [name for name in sheet.chance if name not in known]
    if strange:
        raise InputError(
            f"{sheet.path}: {strange[0]} is no image of this run; draw the sheet with `evenhand labels RUN`"
        )
    concepts: dict[str, Any] = {}
    for one, verdicts in series:
        by_file = {files[request]: verdicts[request] for request in one.requests if request in files}
        for concept in one.concepts:
            labels = sheet.of(concept.name)
            if not labels:
                continue
            answers = [*concept.class_names, None]
            matrix = [[0] * len(answers) for _ in answers]
            place = one.asked.index(concept)
            for name, label in labels.items():
                if name in by_file:
                    matrix[answers.index(label)][answers.index(by_file[name][place].label)] += 1
            counted = sum(sum(row) for row in matrix)
            concepts[concept.name] = {"labels": counted, "matrix": matrix[:-1], "shows_none": matrix[-1]}
    return {"file": sheet.path.name, "concepts": concepts}
