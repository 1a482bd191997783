"""`evenhand fit`: what is refused, what declines, and what is saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ledgers
import pytest
import torch
from typer.testing import CliRunner, Result

from evenhand.cli import app
from evenhand.concepts.library import load_concept
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.interventions.storage import Card, Frame, save_intervention


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuch",), "there is no method 'nosuch'"),
        (("sega",), "sega has nothing to fit, use it with --with sega"),
        (("./saved",), "is saved already"),
        (("concept-vector:module=1,module=2",), "module is given twice"),
        (("concept-vector", "--concept", "nosuch"), 'unknown concept "nosuch"'),
        (("concept-vector", "--present", "a hat"), "give both texts"),
        (("concept-vector:estimator=magic",), "expected mean-difference, score-matching, reconstruction"),
        (("concept-vector:module=nowhere",), "has no module 'nowhere'"),
    ],
)
def test_unusable_input_ends_with_one_line(
    model: Path, judge: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    method, *more = arguments
    done = run("fit", method, model, *more, "--judge", judge, "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_the_judge_that_makes_the_reports_is_refused(model: Path, judge: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "model")
    card = json.loads((tmp_path / "model" / "evenhand.json").read_text())
    (tmp_path / "model" / "evenhand.json").write_text(json.dumps({**card, "judge": str(judge)}))
    done = run("fit", "concept-vector", tmp_path / "model", "--judge", judge, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "is refused for fitting" in done.output


def test_a_model_without_a_handle_is_declined(model: Path, judge: Path, tmp_path: Path) -> None:
    done = run("fit", "concept-vector:calibrate=2", model, "--judge", judge, "--out", tmp_path / "out", "--quiet")
    assert done.exit_code == 4, done.output
    assert "concept-vector declines on" in done.output
    assert "use prompt-mix" in done.output
    assert not (tmp_path / "out").exists()


def saved(host: Host, folder: Path) -> Path:
    """An intervention for the tiny model, as `fit` would write it."""
    channels = host.denoiser.config["block_out_channels"][-1]
    vectors = {name: sign * torch.ones(channels) for name, sign in (("female", 1.0), ("male", -1.0))}
    card = Card(
        method="concept-vector",
        site="activation",
        frame=Frame.of(host, module="mid_block"),
        estimator={"estimator": "score-matching"},
        prompts={},
        seeds={"fit": 0},
        judges={"fit": "the fit judge"},
        concept=load_concept("gender").to_dict(),
        effect={"evaluations_per_class": 10, "passed": True},
    )
    save_intervention(folder, {f"mid_block/vector/{name}": one for name, one in vectors.items()}, card)
    return folder


def test_what_was_saved_is_used_by_its_folder(model: Path, judge: Path, tmp_path: Path) -> None:
    with Host.wrap(load_pipeline(str(model), dtype="float32"), name="m") as host:
        folder = saved(host, tmp_path / "gender")
    done = run(
        "audit", model, "--concept", "gender", "--judge", judge, "--images-per-prompt", 4, "--limit", 2,
        "--with", folder, "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["arms"] == [str(folder)]
    (cost,) = result["fit_costs"]
    assert cost["method"] == "concept-vector"
    assert {one["class"] for one in result["estimates"] if one["metric"] == "success"} == {"female", "male"}
    line = ledgers.lines(tmp_path / "run")[0]
    assert line["evidence"]["concept-vector"]["norm"] > 0


def test_another_model_is_refused_with_what_differs(model: Path, judge: Path, tmp_path: Path) -> None:
    with Host.wrap(load_pipeline(str(model), dtype="float32"), name="m") as host:
        torch.nn.init.ones_(next(host.denoiser.parameters()))
        folder = saved(host, tmp_path / "gender")
    done = run("audit", model, "--concept", "gender", "--judge", judge, "--with", folder, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "is another model: fit it there" in done.output
