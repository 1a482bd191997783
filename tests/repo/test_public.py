"""What the package offers: one sorted list, documented, and cheap to import."""

from __future__ import annotations

import inspect
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import evenhand

ROOT = Path(__file__).parents[2]


def test_the_list_is_sorted_and_complete() -> None:
    assert evenhand.__all__ == sorted(evenhand.__all__)
    assert dir(evenhand) == evenhand.__all__
    assert sorted(evenhand._HOMES) == evenhand.__all__


@pytest.mark.parametrize("name", evenhand.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(getattr(evenhand, name))


def test_the_version_is_that_of_the_package() -> None:
    assert evenhand.__version__ == version("evenhand")


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = evenhand.nothing


def test_the_import_is_quick_and_brings_no_torch() -> None:
    program = (
        "import sys, evenhand; sys.exit(sum(name in sys.modules for name in ('torch', 'diffusers', 'transformers')))"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_the_changelog_knows_the_version() -> None:
    try:
        installed = version("evenhand")
    except PackageNotFoundError:
        pytest.skip("the package is not installed")
    assert f"## [{installed}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
