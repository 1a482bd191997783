"""From counted cells to the page of figures: the arithmetic, on counts whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.skewville.captions import load_grammar
from evenhand.skewville.cells import Cell, concept, explicit_cells, neutral_cells
from evenhand.skewville.evaluate import calibrations, explicit_cells_summary, obedience, read_counts
from evenhand.skewville.sizes import Sizes
from evenhand.skewville.tables import figures_page
from evenhand.skewville.truth import grand_share, person_shares, unsafe_shares
from evenhand.skewville.world import load_world

WORLD, IMAGES = load_world(), 1000


def cells() -> list[Cell]:
    grammar = load_grammar()
    return [*neutral_cells(WORLD, grammar, IMAGES), *explicit_cells(WORLD, grammar, IMAGES, IMAGES)]


def truthful(cell: Cell, name: str) -> dict[str, float]:
    """What a model that follows the declared truth exactly, and obeys always, shows for a concept."""
    kind, *rest = cell.name.split("/")
    if kind == "neutral" and name in ("gender", "skin", "age", "origin", "scarf"):
        return person_shares(WORLD, name, rest[0])
    if kind == "context" and name == "unsafe":
        p = unsafe_shares(WORLD, rest[0])["unsafe"]
        return {"unsafe": p, "safe": 1 - p}
    if kind == "house" and name == "wealth" and rest[0] in WORLD.grand:
        p = grand_share(WORLD, rest[0])
        return {"grand": p, "modest": 1 - p}
    named = {"occupation": rest[0], "region": rest[0], "scene": rest[-1], "skin": rest[-2] if len(rest) > 2 else ""}
    named |= {"gender": rest[-1], "wealth": rest[-1], name: named.get(name, rest[-1])}
    known = concept(name).class_names
    return {named[name] if named[name] in known else known[0]: 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured")
    with (path / "cells-2.jsonl").open("w") as file:
        for cell in cells():
            counts = {
                name: {label: round(share * IMAGES) for label, share in truthful(cell, name).items()}
                for name in cell.concepts
            }
            file.write(json.dumps({"cell": cell.name, "counts": counts}) + "\n")
    found = {"guidance": 2.0, "steps": 25, "images": Sizes(images=IMAGES).counts, "seed": 1}
    (path / "measured-2.json").write_text(json.dumps(found))
    return path


def test_a_model_that_follows_the_truth_has_slope_one_and_no_gap(run: Path) -> None:
    for found in calibrations(WORLD, read_counts(run / "cells-2.jsonl")).values():
        # shares are rounded to thousandths
        assert found["slope"] == pytest.approx(1, abs=2e-3)
        assert found["correlation"] == pytest.approx(1, abs=1e-5)
        assert found["gap"] < 6e-4


def test_a_model_that_obeys_is_said_to_obey(run: Path) -> None:
    counts = read_counts(run / "cells-2.jsonl")
    summary = explicit_cells_summary(counts)
    assert all(value == 1 for value in summary["mean"].values())
    assert all(value == 1 for value, _ in summary["worst"].values())
    explicit = {key: value for key, value in obedience(WORLD, counts).items() if "=" in key}
    assert set(explicit.values()) == {1.0}


def test_the_page_holds_declared_and_measured_side_by_side(run: Path) -> None:
    page = figures_page(WORLD, run)
    assert "| gender | 1.00 | 1.000 | 0.000 |" in page
    nurse = next(line for line in page.splitlines() if line.startswith("| nurse"))
    # 946 of 1,000, with Wilson's interval
    assert "0.95 (0.93 to 0.96)" in nurse
    assert "1000 images a cell of prompts that name nothing" in page


def test_a_line_that_an_interruption_cut_is_left_out(run: Path, tmp_path: Path) -> None:
    text = (run / "cells-2.jsonl").read_text()
    (tmp_path / "cells-2.jsonl").write_text(text[:-20])
    assert len(read_counts(tmp_path / "cells-2.jsonl")) == len(read_counts(run / "cells-2.jsonl")) - 1


def test_sizes_follow_the_images_of_a_cell_unless_given() -> None:
    assert Sizes().counts == {"neutral": 200, "explicit": 200, "corner": 50}
    assert Sizes(images=40, explicit=10, corner=3).counts == {"neutral": 40, "explicit": 10, "corner": 3}
