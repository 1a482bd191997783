"""Judges of other packages: found by their entry point, and refused in a line where they are none."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType
from typing import Any

import pytest
from toys import ToyJudge

from evenhand.errors import ModelError
from evenhand.judges.load import judge_names, load_judge
from evenhand.judges.plugins import GROUP


class Detector(ToyJudge):
    """A judge of another package."""

    name = "detector"

    def knows(self, concept: Any) -> bool:
        return concept.kind == "safety"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that brings a judge, one that breaks, and one that is none."""

    def breaks() -> None:
        raise OSError("its weights are missing")

    package: Any = ModuleType("some_package")
    package.make, package.breaks, package.other = Detector, breaks, dict
    monkeypatch.setitem(sys.modules, "some_package", package)
    entries = [
        importlib.metadata.EntryPoint(name=name, value=f"some_package:{what}", group=GROUP)
        for name, what in (("detector", "make"), ("broken", "breaks"), ("other", "other"))
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **options: entries)


@pytest.mark.usefixtures("installed")
def test_an_entry_point_is_a_judge_by_its_name() -> None:
    assert isinstance(load_judge("detector"), Detector)
    assert judge_names()["detector"] == "plug-in some_package:make"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "said"), [("broken", "its weights are missing"), ("other", "AttributeError")])
def test_one_that_is_no_judge_is_refused_before_any_image(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load_judge(name)
    assert f"judge {name}: the entry point some_package:" in str(caught.value)
