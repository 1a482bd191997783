"""One small run directory that the tests of this folder share; a test that changes it builds its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_run import build_run, small_asks

from evenhand.report.build import render_report
from evenhand.report.data import RunView, read_run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures a row; the last of every row is abstained on, and nurse has one NaN image more."""
    return build_run(tmp_path_factory.mktemp("runs") / "small", small_asks(), abstain=1, invalid=1)


@pytest.fixture(scope="session")
def view(small_run: Path) -> RunView:
    return read_run(small_run)


@pytest.fixture(scope="session")
def page(view: RunView) -> str:
    return render_report(view)
