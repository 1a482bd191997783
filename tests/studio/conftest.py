"""Studios whose files lie in a folder of the test."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_studio import NURSE, toy_bench

from evenhand.studio.bench import Bench
from evenhand.studio.look import Look
from evenhand.studio.session import Session


@pytest.fixture
def bench() -> Bench:
    return toy_bench()


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    monkeypatch.chdir(tmp_path)
    return Look(source="a/toy", prompt=NURSE, concepts=("gender",))


@pytest.fixture
def session(look: Look, bench: Bench) -> Session:
    """Twelve images of a nurse."""
    found = Session()
    found.begin(look)
    assert list(found.grow(bench, 12)) == [4, 8, 12]
    return found


@pytest.fixture(scope="module", autouse=True)
def left_loops() -> Iterator[None]:
    """Gradio and Playwright leave event loops to the garbage collector, whose sockets would fail whatever test runs."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
