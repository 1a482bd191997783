"""How much of an attribute the initial noise decides, as a function of guidance.

    python benchmarks/noise_guidance.py [--concept gender] [--guidance 1 3 5 7.5] [--seeds 24] [--out FIGURE.svg]

The same noises start the images of several prompt rows, each in two wordings, at every guidance. Three figures, each a
share of the variance of the class within a prompt, with a 90 % interval from 2,000 resamples of the noises:

- wording: what the noise alone says where a prompt is said in other words (the correlation of the class at one noise
  between the two wordings of a row);
- row: the same between two different rows;
- direction: R^2 of the row's fitted direction, which `noise-direction` uses; it was fitted at the model's own guidance.

What a noise decides together with its prompt is 1 by construction: the sampler is deterministic. The report judge
reads.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from evenhand import Host, Request, load_concept, load_judge, load_pipeline, sample
from evenhand.concepts.allocation import image_seed
from evenhand.host.runs import Onlooker
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import Setting
from evenhand.methods.noise_looks import AXIS, NoiseRecorder, own_axes
from evenhand.methods.probit import fit_handle
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.fits import Fits
from evenhand.watch import Silent

ROWS = ("cleaner", "teacher", "baker", "writer", "doctor", "lawyer")
"""Rows of which both classes are seen: where one hardly comes, its variance says little."""
WORDINGS = ("a photo of a {}", "portrait of {}")
LINES = {"wording": "#3b6fb6", "row": "#c25b2a", "direction": "#4a8a3f"}
RESAMPLES = 2_000


def main() -> None:
    """Make the images, print the table, write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concept", default="gender")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 3.0, 5.0, 7.5])
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("noise-guidance.svg"))
    given = parser.parse_args()
    found = {}
    print("| guidance | share of the first class | wording | row | direction |\n|" + " --- |" * 5)
    with Host.wrap(load_pipeline(MODEL_DIRECTORY), name="skewville") as host:
        fitted = obtained(host, given.concept)
        for guidance in given.guidance:
            labels, noises = looked(host, given.concept, guidance, given.seeds)
            found[guidance] = figures(labels, noises, fitted)
            cells = [f"{value:.2f} ({low:.2f} to {high:.2f})" for value, low, high in found[guidance].values()]
            print(f"| {guidance:g} | {1 - labels.mean():.2f} | {' | '.join(cells)} |", flush=True)
    given.out.write_text(figure(found))
    given.out.with_suffix(".json").write_text(json.dumps({f"{key:g}": value for key, value in found.items()}, indent=1))


def obtained(host: Host, concept: str) -> Fitted:
    """The fit that ships, or that is made now."""
    method = METHODS["noise-direction"]
    (plan,) = method.plans(Setting(), method.read(parse_spec(f"noise-direction:concept={concept}").parameters))
    return Fits(host, None, Silent()).obtain(FitPlan(plan.method, plan.values))


def looked(host: Host, concept: str, guidance: float, seeds: int) -> tuple[np.ndarray, torch.Tensor]:
    """Classes by row, wording and noise, (rows, 2, seeds), 1 where it is the last class; and the noises."""
    recorder, one = NoiseRecorder(), load_concept(concept)
    requests = [
        Request(row=row, prompt=words.format(row), index=k, seed=image_seed(0, "report", "noise and guidance", k))
        for row in ROWS
        for words in WORDINGS
        for k in range(seeds)
    ]
    settings = dataclasses.replace(host.default_settings(), guidance=guidance)
    with host.attached(Onlooker("initial noise", recorder)):
        images = [made.image for made in sample(host, requests, settings, batch_size=32)]
    read = [rows[0].label for rows in load_judge("clip", host.device).judge(images, [one])]
    values = np.array([float(label == one.class_names[-1]) for label in read])
    return values.reshape(len(ROWS), len(WORDINGS), seeds), torch.cat(recorder.noises)[:seeds]


def figures(labels: np.ndarray, noises: torch.Tensor, fitted: Fitted) -> dict[str, tuple[float, float, float]]:
    """Name -> value and the ends of its interval."""
    own, flat = own_axes(fitted.tensors), noises.flatten(1).double()
    along = np.stack([(flat @ own.get(row, fitted.tensors[AXIS]).double().flatten()).numpy() for row in ROWS])

    def direction(columns: np.ndarray) -> float:
        s = np.repeat(along[:, None, columns], len(WORDINGS), axis=1)
        rows = np.repeat(np.array(ROWS), len(WORDINGS) * len(columns))
        y = labels[:, :, columns].reshape(-1).astype(int)
        return fit_handle(rows.tolist(), s.reshape(-1).tolist(), y.tolist(), 2).strength ** 2

    whole: dict[str, Callable[[np.ndarray], float]] = {
        "wording": lambda columns: alike(labels[:, :, columns], same_row()),
        "row": lambda columns: alike(labels[:, :, columns], other_rows()),
        "direction": direction,
    }
    rng, count = np.random.default_rng(0), labels.shape[2]
    found = {}
    for name, value in whole.items():
        times = 100 if name == "direction" else RESAMPLES  # each of which fits a probit
        again = [value(rng.integers(count, size=count)) for _ in range(times)]
        low, high = np.nanquantile(again, [0.05, 0.95])
        found[name] = round(value(np.arange(count)), 4), round(float(low), 4), round(float(high), 4)
    return found


def alike(labels: np.ndarray, pairs: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> float:
    """Correlation of the class at one noise between prompts, pooled over pairs of them."""
    centred = labels - labels.mean(axis=2, keepdims=True)
    variance = (centred**2).mean(axis=2)
    together = sum(float((centred[one] * centred[other]).mean()) for one, other in pairs)
    apart = sum(float(np.sqrt(variance[one] * variance[other])) for one, other in pairs)
    return together / apart if apart else np.nan


def same_row() -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The two wordings of each row."""
    return [((row, 0), (row, 1)) for row in range(len(ROWS))]


def other_rows() -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Every two rows, in one wording."""
    return [((a, w), (b, w)) for a, b in itertools.combinations(range(len(ROWS)), 2) for w in range(len(WORDINGS))]


def figure(found: dict[float, dict[str, tuple[float, float, float]]]) -> str:
    """A small SVG: a line for each figure, with its intervals."""
    left, top, width, height = 46, 14, 380, 200
    span = max(found) - min(found) or 1.0

    def x(guidance: float) -> float:
        return left + (guidance - min(found)) / span * width

    def y(value: float) -> float:
        return top + (1 - min(max(value, 0.0), 1.0)) * height

    parts = list(_grid(sorted(found), x, y, left, width))
    for place, (name, colour) in enumerate(LINES.items()):
        points = [(x(key), found[key][name]) for key in sorted(found)]
        line = " ".join(f"{at:.1f},{y(value):.1f}" for at, (value, _, _) in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for at, (value, low, high) in points:
            parts.append(f'<path d="M{at:.1f} {y(low):.1f}V{y(high):.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{at:.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>')
        parts.append(f'<text x="{left + width + 14}" y="{top + 20 + 18 * place}" fill="{colour}">{name}</text>')
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 520 260" font-family="sans-serif" font-size="12">'
        f'<rect width="520" height="260" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _grid(
    guidance: Sequence[float], x: Callable[[float], float], y: Callable[[float], float], left: int, width: int
) -> Iterator[str]:
    for value in (0, 0.25, 0.5, 0.75, 1):
        yield f'<path d="M{left} {y(value):.1f}h{width}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#444">{value:g}</text>'
    for one in guidance:
        yield f'<text x="{x(one):.1f}" y="{y(0) + 18:.1f}" text-anchor="middle" fill="#444">{one:g}</text>'
    yield f'<text x="{left + width / 2}" y="{y(0) + 36:.1f}" text-anchor="middle" fill="#444">guidance</text>'


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
