"""The plot of an adapter's weights: every mark at its number; and the lines that a fit prints."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from evenhand.report.fit_text import fit_lines
from evenhand.report.sweep_plot import PLOT, sweep_svg, write_sweep_plots

SWEEP = [
    {"weight": 0.0, "deviation": [0.4, 0.35, 0.45], "recognised": [1.0, 0.9, 1.0], "images": 320},
    {"weight": 0.5, "deviation": [0.2, 0.15, 0.25], "recognised": [0.98, 0.9, 1.0], "drift": [1.3, 0.1, 2.0],
     "images": 320},
    {"weight": 1.0, "deviation": [0.05, 0.0, 0.1], "recognised": [0.9, 0.8, 0.95], "drift": [0.2, 0.1, 0.3],
     "images": 320},
]  # fmt: skip


def tips(svg: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]


def test_every_figure_has_a_mark_with_its_number() -> None:
    found = tips(sweep_svg(SWEEP, "gender"))
    assert found[0] == "gender and content by weight of the adapter"
    assert "deviation from the target at weight 0.5: 0.200 (0.150 to 0.250)" in found
    assert len(found) == 1 + 3 + 3 + 2


def test_marks_lie_where_their_numbers_say() -> None:
    svg = sweep_svg(SWEEP, "gender")
    places = [tuple(map(float, one)) for one in re.findall(r"translate\(([\d.]+),([\d.]+)\)", svg)]
    first, second, third = places[:3]
    # weights are evenly apart; .4, .2 and .05 of a height of 300 above the axis
    assert second[0] - first[0] == pytest.approx(third[0] - second[0])
    assert second[1] - first[1] == pytest.approx(300 * 0.2)
    assert third[1] - second[1] == pytest.approx(300 * 0.15)


def test_what_lies_above_one_is_drawn_at_the_edge() -> None:
    svg = sweep_svg(SWEEP, "gender")
    assert "drift of other prompts at weight 0.5: 1.300 (0.100 to 2.000)" in tips(svg)
    assert min(float(y) for _, y in re.findall(r"translate\(([\d.]+),([\d.]+)\)", svg)) == 64


def test_it_is_written_beside_the_fit(tmp_path: Path) -> None:
    cards: dict[str, Any] = {
        str(tmp_path): {"effect": {"sweep": SWEEP}, "concept": {"name": "<gender>"}},
        str(tmp_path / "other"): {"effect": {}, "concept": {"name": "gender"}},
    }
    write_sweep_plots(cards)
    assert tips((tmp_path / PLOT).read_text("utf-8"))[0] == "<gender> and content by weight of the adapter"
    assert not (tmp_path / "other").exists()


def look(**more: Any) -> dict[str, Any]:
    return {
        "step": 0,
        "deviation": 0.4,
        "upper": 0.45,
        "recognised": 1.0,
        "images": 256,
        "changes": {},
        "broken": [],
        **more,
    }


def test_a_fit_of_population_preference_is_told_in_lines() -> None:
    kept = look(step=200, deviation=0.05, upper=0.08, recognised=0.99, changes={"text_drop": 0.012}, broken=["drift"])
    effect = {
        "looks": [look()], "kept": kept, "evaluations": 12_345, "made": 800, "images": 768, "sweep": SWEEP,
        "against": {"plain": SWEEP[0]}, "failed": "",
    }  # fmt: skip
    lines = fit_lines({"method": "population-preference", "concept": {"name": "gender"}, "effect": effect})
    assert lines[0].endswith("kept at step 200: 12,345 denoiser evaluations, 800 images made for 768")
    assert lines[1].strip() == "deviation 0.400 before, 0.050 after (below 0.080, 256 images on fresh seeds)"
    assert lines[2].strip() == "recognised 1.000 before, 0.990 after; text drop 0.012"
    assert "breaks drift" in lines[3]
    assert lines[4].strip() == "deviation by weight: 0.400 at 0, 0.200 at 0.5, 0.050 at 1 (sweep.svg)"
    assert lines[5].strip() == "plain: 0.400 (0.350 to 0.450), recognised 1.000 (0.900 to 1.000)"


@pytest.mark.parametrize("method", ["noise-selection", "embedding-projection"])
def test_every_fit_has_a_line(method: str) -> None:
    assert fit_lines({"method": method, "concept": {"name": "gender"}, "effect": {"largest": 0.2}}) == [
        f"{method} of gender"
    ]
