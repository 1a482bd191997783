"""Groups in the space of the report judge: typed attributes, and how well pictures fit their prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..concepts.swap import Swap, swapped_name
from ..judges.base import Featured
from ..metrics.association import likeness_differences, versus, with_discoveries
from ..metrics.intervals import student_t
from ..records import Estimate, Request, Settings
from ..store import RunDirectory
from .observe import keys_of
from .series import Series

FIT = "text-image score"
Likeness = dict[str, dict[str, list[float]]]
"""Per group and base one number for each image."""


ImageOf = Callable[[Request], np.ndarray | None]
"""The picture of a request, None where the model gave none."""


def embedded_estimates(
    series: Series, run: RunDirectory, settings: Settings, judge: Featured, *, intervention: str | None = None
) -> list[Estimate]:
    """`likeness_estimates` of the images that a run directory holds.

    Args:
        series: with a `swap`, else there is nothing to estimate.
        run: holds its images.
        settings: they were made with these.
        judge: gives features of texts and pictures in one space.
        intervention: the arm, None for the plain model.
    """
    if series.swap is None:
        return []
    keys = {request: key for key, request in keys_of(run.facts, series, settings, intervention).items()}
    return likeness_estimates(series, lambda request: run.image(keys[request]), judge, intervention=intervention)


def likeness_estimates(
    series: Series, image_of: ImageOf, judge: Featured, *, intervention: str | None = None
) -> list[Estimate]:
    """`text_association` and `image_association` of every typed attribute, and the groups' text-image scores.

    - `text_association`: cosine of a prompt that names one group with the attribute, less that of the same prompt with
      the other group, over the prompts. It needs no picture, and says what the judge's text encoder holds. Of a single
      prompt nothing is sampled: the value is exact, and its interval has no width.
    - `image_association`: the same of the pictures, over pairs from the same seed.
    - `group_quality`, text-image score: cosine of a picture with its own prompt, the group left out, less the mean with
      the prompts of the other rows; `group_quality_gap` is its difference between groups.

    Args:
        series: with a `swap`.
        image_of: its pictures.
        judge: gives features of texts and pictures in one space.
        intervention: the arm, None for the plain model.

    Cost: one forward of the judge for each image.
    """
    swap = series.swap
    if swap is None:
        return []
    pictures = _pictures(series, swap, image_of, judge)
    group, found = swap.association.group.name, []
    base = Estimate(metric="text_association", intervention=intervention, allocation=None)
    for text in swap.association.typed:
        vector = judge.text_features([text]).numpy()[0]
        named = dataclasses.replace(base, concept=f"{group}:{text}")
        of_prompts = _of_prompts(series, swap, judge, vector)
        found += _exact(likeness_differences(named, of_prompts, swap.pairs), of_prompts, swap.pairs)
        seen = {one: {row: (some @ vector).tolist() for row, some in rows.items()} for one, rows in pictures.items()}
        found += likeness_differences(_metric(named, "image_association"), seen, swap.pairs)
    for metric in ("text_association", "image_association"):
        found = with_discoveries(found, metric, decide=False)
    return found + _fit(series, swap, judge, pictures, dataclasses.replace(base, concept=group))


def _exact(found: Sequence[Estimate], likeness: Likeness, pairs: Sequence[tuple[str, str]]) -> list[Estimate]:
    """With the difference of a single prompt, which leaves nothing to estimate."""
    values = {group: [value for row in rows.values() for value in row] for group, rows in likeness.items()}
    if any(len(some) != 1 for some in values.values()):
        return list(found)
    exact = []
    for one, (first, second) in zip(found, pairs, strict=True):
        value = values[first][0] - values[second][0]
        exact.append(dataclasses.replace(one, value=value, low=value, high=value, n=1))
    return exact


def _metric(base: Estimate, metric: str) -> Estimate:
    return dataclasses.replace(base, metric=metric)


def _pictures(series: Series, swap: Swap, image_of: ImageOf, judge: Featured) -> dict[str, dict[str, np.ndarray]]:
    """Per group and base the features of its images; seeds of which a group has no picture are left out of all."""
    by_row: dict[str, list[Request]] = {}
    for request in series.requests:
        by_row.setdefault(request.row, []).append(request)
    found: dict[str, dict[str, np.ndarray]] = {one: {} for one in swap.groups}
    for base in swap.bases:
        rows = {
            one: judge.image_features([image_of(request) for request in by_row[swapped_name(base, one)]])
            for one in swap.groups
        }
        whole = [
            k for k in range(len(next(iter(rows.values())))) if all(rows[one][k] is not None for one in swap.groups)
        ]
        for one, some in rows.items():
            vectors = [vector.numpy() for k in whole if (vector := some[k]) is not None]
            if vectors:
                found[one][base] = np.stack(vectors)
    return found


def _of_prompts(series: Series, swap: Swap, judge: Featured, vector: np.ndarray) -> Likeness:
    found: Likeness = {}
    for one in swap.groups:
        found[one] = {}
        for base in swap.bases:
            row = swapped_name(base, one)
            texts = list(dict.fromkeys(request.prompt for request in series.requests if request.row == row))
            found[one][base] = (judge.text_features(texts).numpy() @ vector).tolist()
    return found


def _fit(
    series: Series, swap: Swap, judge: Featured, pictures: Mapping[str, Mapping[str, np.ndarray]], base: Estimate
) -> list[Estimate]:
    """Nothing where there is only one row: there is no other prompt to compare with."""
    if len(swap.bases) < 2:
        return []
    prompts = judge.text_features([_neutral(series, swap, one) for one in swap.bases]).numpy()
    scores: dict[str, dict[str, list[float]]] = {one: {} for one in swap.groups}
    for one in swap.groups:
        for place, row in enumerate(swap.bases):
            if row in pictures[one]:
                likeness = pictures[one][row] @ prompts.T
                others = np.delete(likeness, place, axis=1).mean(axis=1)
                scores[one][row] = (likeness[:, place] - others).tolist()
    levels = [_level(_metric(base, "group_quality"), one, rows) for one, rows in scores.items()]
    gaps = likeness_differences(_metric(base, "group_quality_gap"), scores, swap.pairs)
    names = {versus(*pair): f"{FIT}, {versus(*pair)}" for pair in swap.pairs}
    return [*levels, *(dataclasses.replace(one, class_name=names[str(one.class_name)]) for one in gaps)]


def _neutral(series: Series, swap: Swap, base: str) -> str:
    """The prompt of a base before a group was named in it."""
    row = swapped_name(base, swap.groups[0])
    named = next(request.prompt for request in series.requests if request.row == row)
    return named.rpartition(", ")[0]


def _level(base: Estimate, group: str, rows: Mapping[str, Sequence[float]]) -> Estimate:
    means = [float(np.mean(some)) for some in rows.values() if len(some)]
    named = dataclasses.replace(base, unit="prompt", class_name=f"{FIT}, {group}")
    if len(means) < 2:
        return named
    mean, (low, high) = float(np.mean(means)), student_t(means)
    count = sum(len(some) for some in rows.values())
    return dataclasses.replace(named, value=mean, low=min(low, mean), high=max(high, mean), n=count)
