"""What a fit is found by, and where one that is not finished keeps its work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_pipelines import ready

from evenhand.host.host import Host
from evenhand.methods.fitting import FitPlan, Fitted, Fitting
from evenhand.methods.table import METHODS
from evenhand.verbs import fits
from evenhand.verbs.fits import Fits, fit_name
from evenhand.watch import Silent

NAME = "population-preference"


def plan(**values: str | None) -> FitPlan:
    return FitPlan(method=NAME, values={"concept": "gender", "prompts": None, "others": None, **values})


@pytest.mark.parametrize("option", ["prompts", "others"])
def test_an_edited_file_of_prompts_is_another_fit(tmp_path: Path, option: str) -> None:
    file = tmp_path / "mine.csv"
    with Host.wrap(ready("sd1")) as host:
        file.write_text("prompt\na nurse\n", encoding="utf-8")
        first = fit_name(plan(**{option: str(file)}), host)
        assert fit_name(plan(**{option: str(file)}), host) == first
        file.write_text("prompt\na baker\n", encoding="utf-8")
        assert fit_name(plan(**{option: str(file)}), host) != first
        assert fit_name(plan(**{option: "houses"}), host) == fit_name(plan(**{option: "houses"}), host)


def scratch(monkeypatch: pytest.MonkeyPatch, host: Host, judge: str) -> Path:
    """Where a fit with a judge keeps what is not finished."""
    seen: list[Path] = []

    def fit(fitting: Fitting, values: object) -> Fitted:
        assert fitting.scratch is not None
        seen.append(fitting.scratch)
        return Fitted({}, None)  # type: ignore[arg-type]

    monkeypatch.setattr(fits, "all_methods", lambda: {NAME: dataclasses.replace(METHODS[NAME], fit=fit)})
    monkeypatch.setattr(fits, "load_judge", lambda name, device: SimpleNamespace(hash=f"hash of {name}"))
    Fits(host, judge, Silent()).fit(plan())
    return seen[0]


def test_unfinished_work_is_not_taken_up_with_another_number_type_or_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = ready("sd1")
    with Host.wrap(pipe) as host:
        first = scratch(monkeypatch, host, "one")
        assert scratch(monkeypatch, host, "one") == first
        assert scratch(monkeypatch, host, "another") != first
    with Host.wrap(pipe.to(torch.bfloat16)) as host:
        assert scratch(monkeypatch, host, "one") != first
