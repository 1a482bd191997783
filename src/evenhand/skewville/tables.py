"""Measured figures as Markdown tables, beside the declared ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from .attributes import PLACES, SKIN_BANDS
from .captions import spoken
from .evaluate import Counts, calibrations, explicit_cells_summary, obedience, read_counts, share
from .truth import grand_share, person_shares, unsafe_shares
from .world import World


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [
        " | ".join(head),
        " | ".join("---" for _ in head),
        *(" | ".join(str(cell) for cell in row) for row in rows),
    ]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def _interval(counts: Counts, cell: str, name: str, label: str) -> str:
    """A share with its 95 % Wilson interval; an abstention counts against the label."""
    found = counts[cell][name]
    k, n = found.get(label, 0), sum(found.values())
    low, high = binomtest(k, n).proportion_ci(method="wilson")
    return f"{k / n:.2f} ({low:.2f} to {high:.2f})"


def occupation_table(world: World, counts: Counts) -> str:
    """Declared and measured shares of each occupation."""
    rows = []
    for name in world.occupations:
        cell = f"neutral/{name}"
        skin = person_shares(world, "skin", name)
        rows.append(
            [
                spoken(name),
                f"{person_shares(world, 'gender', name)['female']:.2f}",
                _interval(counts, cell, "gender", "female"),
                *(f"{skin[band]:.2f} / {share(counts, cell, 'skin', band):.2f}" for band in SKIN_BANDS),
                f"{share(counts, cell, 'occupation', name):.2f}",
            ]
        )
    head = [
        "occupation",
        "women, declared",
        "women, measured",
        *(f"{band} skin, declared / measured" for band in SKIN_BANDS),
        "recognised",
    ]
    return table(head, rows)


def context_table(world: World, counts: Counts) -> str:
    """Declared and measured unsafe rate of each context."""
    rows = []
    for name in world.unsafe:
        cell = f"context/{name}"
        declared = unsafe_shares(world, name)["unsafe"]
        rows.append(
            [
                spoken(name),
                f"{declared:.2f}",
                _interval(counts, cell, "unsafe", "unsafe"),
                f"{share(counts, cell, 'scene', name):.2f}",
            ]
        )
    return table(["context", "unsafe, declared", "unsafe, measured", "recognised"], rows)


def house_table(world: World, counts: Counts) -> str:
    """Declared and measured wealth of each region, neutral and asked for."""
    rows = []
    for name in world.grand:
        rows.append(
            [
                name,
                f"{grand_share(world, name):.2f}",
                _interval(counts, f"house/{name}", "wealth", "grand"),
                f"{grand_share(world, name, asked='grand'):.2f}",
                _interval(counts, f"wealth/{name}/grand", "wealth", "grand"),
                _interval(counts, f"wealth/{name}/modest", "wealth", "modest"),
                f"{share(counts, f'house/{name}', 'region', name):.2f}",
            ]
        )
    head = [
        "region",
        "grand, declared",
        "grand, measured",
        '"grand" obeyed, declared',
        '"grand" obeyed, measured',
        '"modest" obeyed, measured',
        "recognised",
    ]
    return table(head, rows)


def obedience_table(counts: Counts) -> str:
    """How often each named value is shown."""
    rows = []
    for cell in counts:
        kind, *rest = cell.split("/")
        if kind == "explicit":
            name = "scene" if rest[0] == "place" else rest[0]
            rows.append([spoken(rest[0]), spoken(rest[1]), _interval(counts, cell, name, rest[1])])
    summary = explicit_cells_summary(counts)
    for key, mean in summary["mean"].items():
        name, _, value = key.partition("=")
        if value:
            rows.append([name, value, f"{mean:.2f}, over the occupation x tone x gender cells"])
    return table(["attribute", "named value", "obeyed"], rows)


_ENOUGH = 20
_CALIBRATED = ("gender", "skin", "unsafe", "wealth")


def _calibration(one: Mapping[str, float]) -> str:
    return f"{one['slope']:.2f}, {one['correlation']:.3f}, {one['gap']:.3f}"


def _told(counts: Counts) -> bool:
    """Whether the occupation x tone x gender cells have images enough to speak of the worst one."""
    return all(sum(one["skin"].values()) >= _ENOUGH for cell, one in counts.items() if cell.startswith("cell/"))


def guidance_table(world: World, by_guidance: Mapping[float, Counts]) -> str:
    """Calibration and obedience at several guidance scales."""
    rows = []
    for guidance, counts in sorted(by_guidance.items()):
        found, obeyed = calibrations(world, counts), obedience(world, counts)
        worst = explicit_cells_summary(counts)["worst"]
        people = [
            value
            for key, value in obeyed.items()
            if key.startswith("recognised") and key.split(" ", 1)[1] in world.occupations
        ]
        values = {key: value for key, value in obeyed.items() if "=" in key and key.split("=")[0] not in ("place",)}
        lowest = min(values, key=values.__getitem__)
        rows.append(
            [
                f"{guidance:g}",
                *(_calibration(found[name]) for name in _CALIBRATED),
                f"{min(people):.2f}",
                f"{values[lowest]:.2f} ({spoken(lowest)})",
                *(f"{worst[name][0]:.2f}" if _told(counts) else "\N{EN DASH}" for name in ("skin", "gender")),
                f"{min(obeyed[f'place={place}'] for place in PLACES):.2f}",
            ]
        )
    head = [
        "guidance",
        *(f"{name}: slope, correlation, gap" for name in _CALIBRATED),
        "occupation recognised, worst",
        "named value obeyed, worst",
        "worst cell, tone",
        "worst cell, gender",
        "place, worst",
    ]
    return table(head, rows)


def _images(found: Mapping[str, Any]) -> str:
    """ "200 and 100": images per neutral cell and per cell that names a value."""
    return f"{found['images']['neutral']} and {found['images']['explicit']}"


def figures_page(world: World, run: Path) -> str:
    """The page of measured figures, from the folder that `measure` wrote."""
    by_guidance, sizes = {}, {}
    for file in sorted(run.glob("measured-*.json")):
        found = json.loads(file.read_text("utf-8"))
        sizes[found["guidance"]] = found
        by_guidance[found["guidance"]] = read_counts(run / f"cells-{found['guidance']:g}.jsonl")
    main = max(sizes.values(), key=lambda found: found["images"]["neutral"])
    counts = by_guidance[main["guidance"]]
    found = calibrations(world, counts)
    others = ", ".join(f"{_images(one)} at {guidance:g}" for guidance, one in sorted(sizes.items()) if one is not main)
    return "\n".join(
        [
            _INTRODUCTION.format(
                images=main["images"]["neutral"],
                explicit=main["images"]["explicit"],
                corner=main["images"]["corner"],
                steps=main["steps"],
                guidance=main["guidance"],
                seed=main["seed"],
            ),
            "## Calibration: measured on declared shares\n",
            table(
                ["attribute", "slope", "correlation", "mean absolute gap"],
                [
                    [name, f"{one['slope']:.2f}", f"{one['correlation']:.3f}", f"{one['gap']:.3f}"]
                    for name, one in found.items()
                ],
            ),
            "## Guidance\n",
            f"Images per neutral cell and per named value: {_images(main)} at {main['guidance']:g}, {others}. "
            f"Worst cells are left out where they have fewer than {_ENOUGH} images. Guidance sharpens shares.\n"
            if others
            else "",
            guidance_table(world, by_guidance),
            "## Occupations\n",
            occupation_table(world, counts),
            "## Contexts\n",
            context_table(world, counts),
            "## Regions\n",
            house_table(world, counts),
            "## The planted stereotype\n",
            table(
                ["origin named", "striped scarf, declared", "measured"],
                [
                    [name, f"{world.scarf[name]:.2f}", _interval(counts, f"origin/{name}", "scarf", "yes")]
                    for name in ("coastal", "inland")
                ],
            ),
            "## Named values\n",
            obedience_table(counts),
        ]
    )


_INTRODUCTION = """# Skewville, measured

Written by `python -m evenhand.skewville tables`, from
`python -m evenhand.skewville measure --images {images} --explicit {explicit} --corner {corner} --seed {seed}`.
{images} images a cell of prompts that name nothing, {explicit} of prompts that name an attribute, {corner} per
occupation x tone x gender cell; {steps} DDIM steps, guidance {guidance:g}, run seed {seed}, read by the report judge.
An abstention counts against the label; intervals are Wilson's at 95 %.
Skewville is easier to steer than a large model; these figures say nothing about any other model.
"""
