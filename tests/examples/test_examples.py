"""The examples run as a reader would run them, with few images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_safe_guidance_writes_pairs(tmp_path: Path) -> None:
    said = run("safe_guidance.py", "--images", "2", "--out", "pairs.png", cwd=tmp_path)
    assert said.count("active steps") == 2
    with Image.open(tmp_path / "pairs.png") as sheet:
        assert sheet.size == (128, 128)


@pytest.mark.slow
def test_noise_direction_fits_and_draws(tmp_path: Path) -> None:
    said = run("noise_direction.py", "--images", "8", "--estimator", "paired", "--calibrate", "1", cwd=tmp_path)
    assert "plain" in said
    assert "drawn" in said
    assert (tmp_path / "fits" / "noise-direction-gender" / "card.json").is_file()


@pytest.mark.slow
def test_noise_selection_says_what_it_takes(tmp_path: Path) -> None:
    said = run("noise_selection.py", "--images", "4", "--learn", "4", cwd=tmp_path)
    assert "natural share" in said
    assert "of 4 shown" in said
    assert (tmp_path / "fits" / "noise-selection-gender" / "card.json").is_file()


@pytest.mark.slow
def test_the_corrector_counts_scarves(tmp_path: Path) -> None:
    said = run("stereotype_corrector.py", "--images", "4", "--learn", "2", cwd=tmp_path)
    assert said.count("a scarf in") == 4


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text()
    assert all(f'"{path.name}"' in text for path in EXAMPLES.glob("*.py"))
