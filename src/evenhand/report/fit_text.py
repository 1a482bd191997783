"""A fitted intervention's card in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .decision_plot import PLOT


def fit_lines(card: Mapping[str, Any]) -> list[str]:
    """What was fitted, where it sits, what it did on the fit judge, and whether its controls passed."""
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
