"""A plan of images for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from .words import NOTHING, plain


def plan_table(found: Mapping[str, Any]) -> Table:
    """A rich table: for each concept what could be reached, with images per prompt, images in all, and minutes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "images per prompt", "images", "minutes"):
        table.add_column(name, justify="right" if name else "left")
    concept = None
    for goal in found["goals"]:
        if goal["concept"] != concept:
            concept = goal["concept"]
            table.add_row(Text(f"{plain(concept)}, over {plain(goal['series'])}", style="bold"))
        most = "at most " if goal["most"] else ""
        cells = (f"  {goal['text']}", f"{most}{goal['per_prompt']:,}", f"{goal['images']:,}", minutes(goal["minutes"]))
        table.add_row(*(Text(cell, style="bold" if goal["chosen"] else "") for cell in cells))
    return table


def plan_lines(found: Mapping[str, Any]) -> list[str]:
    """What else the plan says, a line each."""
    lines = []
    if found["seconds_per_image"] is not None:
        lines.append(
            f"timed: {found['seconds_per_image']:.3g} seconds and {found['evaluations_per_image']:g} denoiser "
            "evaluations per image, with judging"
        )
    for one in found["judge_widens"]:
        lines.append(
            f"{plain(one['concept'])}: corrected for the judge's errors, +-{one['read']:.3f} at {one['n']} images of a "
            f"prompt becomes +-{one['corrected']:.3f}"
        )
    if "lock" in found:
        lines.append(f"locked at {found['lock']['when']}: {found['lock']['hash']}")
    return lines


def minutes(value: float | None) -> str:
    """Minutes, to two digits; hours from 120 minutes on."""
    if value is None:
        return NOTHING
    if value >= 120:
        return f"{value / 60:.3g} h"
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
