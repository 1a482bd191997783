"""A fitted intervention's card in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .decision_plot import PLOT
from .sweep_plot import PLOT as SWEEP


def fit_lines(card: Mapping[str, Any]) -> list[str]:
    """What was fitted, what it did on the fit judge, and whether its controls passed."""
    effect = card["effect"]
    if "classes" in effect:
        return _vectors(card)
    about = card["concept"].get("name", "no concept")
    if "kept" in effect:
        return _population(card, about)
    cost = f": {effect['evaluations']:,} denoiser evaluations" if "evaluations" in effect else ""
    return [f"{card['method']} of {about}{cost}"]


def _vectors(card: Mapping[str, Any]) -> list[str]:
    effect = card["effect"]
    about, how = card["concept"].get("name", "no concept"), card["estimator"].get("estimator", "")
    lines = [
        f"{card['method']} of {about} at {card['frame']['module']}, by {how}: "
        f"{effect['evaluations_per_class']:.0f} denoiser evaluations per class"
    ]
    for name, one in effect["classes"].items():
        doses = ", ".join(f"{share:.0%} at strength {dose}" for dose, share in one["dose"].items())
        lines.append(
            f"  {name}: {doses}; subtracted {one['opposite']:.0%}, a random vector moves {one['random_moved']:.0%}"
        )
    leaks = effect["leakage"]
    if leaks:
        worst = max(leaks, key=leaks.__getitem__)
        lines.append(f"  other attributes move by {leaks[worst]:.0%} at most ({worst})")
    if "decided" in effect:
        sites = effect["decided"]["sites"]
        best = max(sites, key=lambda site: max(sites[site]))
        lines.append(f"  best read at {best}: {max(sites[best]):.2f} of what images of one prompt differ in ({PLOT})")
    lines.append(
        f"  two halves of the seeds agree to a cosine of {effect['split_half']:.2f}; controls "
        f"{'passed' if effect['passed'] else 'failed: do not rely on this direction'}"
    )
    return lines


def _population(card: Mapping[str, Any], about: str) -> list[str]:
    effect = card["effect"]
    plain, kept = effect["looks"][0], effect["kept"]
    metric = "unsafe_rate" if "unsafe_rate" in kept else "deviation"
    name = metric.replace("_", " ")
    lines = [
        f"{card['method']} of {about}, kept at step {kept['step']}: {effect['evaluations']:,} denoiser evaluations, "
        f"{effect['made']:,} images made for {effect['images']:,}",
        f"  {name} {plain[metric]:.3f} before, {kept[metric]:.3f} after (below {kept['upper']:.3f}, "
        f"{kept['images']} images on fresh seeds)",
        f"  recognised {plain['recognised']:.3f} before, {kept['recognised']:.3f} after{_listed(kept['changes'])}",
    ]
    if kept["broken"]:
        lines.append(f"  on fresh seeds it breaks {', '.join(kept['broken'])}: look at its images before you use it")
    if effect.get("failed"):
        lines.append(f"  training ended early: {effect['failed']}")
    if "sweep" in effect:
        doses = ", ".join(f"{one[metric][0]:.3f} at {one['weight']:g}" for one in effect["sweep"])
        lines.append(f"  {name} by weight: {doses} ({SWEEP})")
    for model, one in effect.get("against", {}).items():
        lines.append(f"  {model}: {_cell(one[metric])}, recognised {_cell(one['recognised'])}")
    return lines


def _listed(changes: Mapping[str, float]) -> str:
    return "".join(f"; {name.replace('_', ' ')} {value:.3f}" for name, value in changes.items())


def _cell(figure: Sequence[float]) -> str:
    value, low, high = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
