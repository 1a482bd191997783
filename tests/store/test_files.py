"""Files are written whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import InputError, StorageError
from evenhand.files import read_image, slug, write_json, write_png


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nurse", "nurse"),
        ("crime scene", "crime_scene"),
        ("occupations-successful", "occupations-successful"),
        ("r2", "r2"),
    ],
)
def test_plain_names_stay_readable(text: str, name: str) -> None:
    assert slug(text) == name


@given(st.text())
def test_every_text_gives_a_file_name(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{1,60}", slug(text))


@given(st.text(alphabet="aA -_.é/", min_size=1, max_size=8), st.text(alphabet="aA -_.é/", min_size=1, max_size=8))
def test_different_texts_give_different_names(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


def test_json_has_no_nan_and_the_old_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_json(file, {"value": 1})
    with pytest.raises(ValueError):
        write_json(file, {"value": float("nan")})
    assert file.read_text() == '{\n  "value": 1\n}\n'
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_an_image_comes_back_bit_for_bit(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    digest = write_png(tmp_path / "a" / "b.png", image)
    assert len(digest) == 64
    assert np.array_equal(read_image(tmp_path / "a" / "b.png"), image)


def test_what_is_no_image_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(InputError, match=r"cannot read .*a\.png as an image"):
        read_image(tmp_path / "a.png")


def test_a_directory_that_went_away_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*run the same command again"):
        write_json(tmp_path / "a" / "b.json", {})
