"""What people are given to label: images of equal bytes are one file, and its chance is that of all of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from report_run import Ask, build_run

from evenhand.errors import InputError
from evenhand.report.data import read_run
from evenhand.report.label_sheet import write_label_sheet


def test_images_of_equal_bytes_are_drawn_unless_none_of_them_is(tmp_path: Path) -> None:
    """Of 4 images, three equal, two are drawn: the odd one by 2 of 4, one of the three always, as 1 - (1/4 x 0/3)."""

    def painter(row: str, prompt_set: str, labels: Mapping[str, str], index: int) -> Image.Image:
        return Image.new("RGB", (8, 8), (9, 9, 255 if index == 0 else 0))

    ask = Ask("gender", "occupations", ("female", "male"), {"nurse": (0.5, 0.5)})
    view = read_run(build_run(tmp_path / "run", [ask], images=4, painter=painter))
    odd = next(picture.file for picture in view.pictures if picture.index == 0)
    chances = {}
    for seed in range(12):
        write_label_sheet(view, tmp_path / f"{seed}.csv", images=2, seed=seed)
        lines = csv.DictReader((tmp_path / f"{seed}.csv").read_text().splitlines())
        chances |= {line["file"] == odd: float(line["probability"]) for line in lines}
    assert chances == {True: pytest.approx(0.5), False: pytest.approx(1.0)}


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_is_none_writes_no_sheet(tmp_path: Path, seed: int) -> None:
    ask = Ask("gender", "occupations", ("female", "male"), {"nurse": (0.5, 0.5)})
    view = read_run(build_run(tmp_path / "run", [ask], images=2))
    with pytest.raises(InputError, match=rf"^--seed {seed}: expected a whole number from 0 to 2\^63$"):
        write_label_sheet(view, tmp_path / "sheet.csv", images=2, seed=seed)
    assert not (tmp_path / "sheet.csv").exists()
