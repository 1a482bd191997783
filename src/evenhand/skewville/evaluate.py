"""Measures a trained Skewville cell by cell and sets the figures beside the declared ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evenhand.concepts.allocation import image_seed
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.records import Request, Settings

from .attributes import SKIN_BANDS
from .cells import Cell, concept
from .progress import Progress
from .truth import grand_share, person_shares, unsafe_shares
from .world import World

Counts = dict[str, dict[str, dict[str, int]]]
"""Cell name to concept to label ("abstained" among them) to number of images."""


def measure(
    host: Host, judge: Any, cells: Sequence[Cell], settings: Settings, log: Path, *, seed: int, batch_size: int = 48
) -> Counts:
    """Make and judge the images of every cell; finished cells are read back from `log` (a line each)."""
    counts = read_counts(log)
    todo = [cell for cell in cells if cell.name not in counts]
    requests = [_request(cell, i, seed) for cell in todo for i in range(cell.images)]
    made = sample(host, requests, settings, batch_size=batch_size)
    with Progress("measure", sum(cell.images for cell in todo), quantity="images") as progress, log.open("a") as file:
        for cell in todo:
            images = []
            for _ in range(cell.images):
                images.append(next(made).image)
                progress.advance()
            rows = judge.judge(images, [concept(name) for name in cell.concepts])
            counts[cell.name] = _count(cell, rows)
            file.write(json.dumps({"cell": cell.name, "counts": counts[cell.name]}) + "\n")
            file.flush()
    return counts


def read_counts(log: Path) -> Counts:
    """What `measure` wrote so far; nothing where there is no file. A line that an interruption cut is left out."""
    counts: Counts = {}
    for line in log.read_text("utf-8").splitlines() if log.exists() else ():
        if line.endswith("}"):
            entry = json.loads(line)
            counts[entry["cell"]] = entry["counts"]
    return counts


def _request(cell: Cell, index: int, seed: int) -> Request:
    prompt = cell.prompts[index % len(cell.prompts)]
    return Request(row=cell.name, prompt=prompt, index=index, seed=image_seed(seed, "report", cell.name, index))


def _count(cell: Cell, rows: Sequence[Sequence[Any]]) -> dict[str, dict[str, int]]:
    counted: dict[str, dict[str, int]] = {name: {} for name in cell.concepts}
    for row in rows:
        for name, verdict in zip(cell.concepts, row, strict=True):
            label = verdict.label or "abstained"
            counted[name][label] = counted[name].get(label, 0) + 1
    return counted


def share(counts: Counts, cell: str, name: str, label: str) -> float:
    """Share of a label among all images of a cell; an abstention counts against it."""
    found = counts[cell][name]
    return found.get(label, 0) / sum(found.values())


def calibration(declared: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """Slope of the least-squares line of measured on declared, correlation, and mean absolute gap."""
    x, y = np.asarray(declared), np.asarray(measured)
    return {
        "slope": float(np.polyfit(x, y, 1)[0]),
        "correlation": float(np.corrcoef(x, y)[0, 1]),
        "gap": float(np.abs(x - y).mean()),
    }


def calibrations(world: World, counts: Counts) -> dict[str, dict[str, float]]:
    """The calibration of gender and skin over occupations, unsafe over contexts and wealth over regions."""
    pairs: dict[str, list[tuple[float, float]]] = {"gender": [], "skin": [], "unsafe": [], "wealth": []}
    for occupation in world.occupations:
        if f"neutral/{occupation}" not in counts:
            continue
        gender, skin = (person_shares(world, name, occupation) for name in ("gender", "skin"))
        pairs["gender"].append((gender["female"], share(counts, f"neutral/{occupation}", "gender", "female")))
        pairs["skin"] += [(skin[band], share(counts, f"neutral/{occupation}", "skin", band)) for band in SKIN_BANDS]
    for context in world.unsafe:
        if f"context/{context}" in counts:
            declared = unsafe_shares(world, context)["unsafe"]
            pairs["unsafe"].append((declared, share(counts, f"context/{context}", "unsafe", "unsafe")))
    for region in world.grand:
        if f"house/{region}" in counts:
            pairs["wealth"].append((grand_share(world, region), share(counts, f"house/{region}", "wealth", "grand")))
    return {name: calibration(*zip(*found, strict=True)) for name, found in pairs.items() if len(found) > 1}


def obedience(world: World, counts: Counts) -> dict[str, float]:
    """Share of obeyed images of every explicit cell that was measured, and summaries of recognition."""
    out: dict[str, float] = {}
    for cell, found in counts.items():
        kind, *rest = cell.split("/")
        if kind == "explicit" and rest[0] != "place":
            out[f"{rest[0]}={rest[1]}"] = share(counts, cell, rest[0], rest[1])
        elif kind == "explicit":
            out[f"place={rest[1]}"] = share(counts, cell, "scene", rest[1])
        elif kind == "wealth":
            out[f"{rest[1]} in {rest[0]}"] = share(counts, cell, "wealth", rest[1])
        elif kind == "origin":
            out[f"scarf of {rest[0]}"] = share(counts, cell, "scarf", "yes")
        elif kind == "neutral":
            out[f"recognised {rest[0]}"] = share(counts, cell, "occupation", rest[0])
        elif kind == "house" and rest[0] in world.grand:
            out[f"recognised {rest[0]}"] = share(counts, cell, "region", rest[0])
        elif kind == "context":
            out[f"recognised {rest[0]}"] = share(counts, cell, "scene", rest[0])
        elif kind == "cell" and "gender" in found:
            for name, label in (("skin", rest[1]), ("gender", rest[2])):
                out[f"{'/'.join(rest)}: {name}"] = share(counts, cell, name, label)
    return out


def explicit_cells_summary(counts: Counts) -> Mapping[str, Any]:
    """Over the occupation x tone x gender cells: success per value, and the worst cell of each attribute."""
    totals: dict[str, list[float]] = {}
    worst: dict[str, tuple[float, str]] = {}
    for cell in counts:
        kind, *rest = cell.split("/")
        if kind != "cell":
            continue
        for name, label in (("skin", rest[1]), ("gender", rest[2]), ("occupation", rest[0])):
            value = share(counts, cell, name, label)
            key = name if name == "occupation" else f"{name}={label}"
            totals.setdefault(key, []).append(value)
            if name not in worst or value < worst[name][0]:
                worst[name] = (value, "/".join(rest))
    return {"mean": {key: sum(values) / len(values) for key, values in totals.items()}, "worst": worst}
