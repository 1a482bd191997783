"""Several models in one table: each audited alone, on the rows and with the judge of the first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import ToyHost
from typer.testing import CliRunner

from evenhand.cli import app
from evenhand.errors import InputError
from evenhand.report.models import is_models, models_table, write_models_report
from evenhand.verbs.config import AuditConfig, Effort, ModelOptions, Question
from evenhand.verbs.defaults import read_card
from evenhand.verbs.lora import split_lora, with_lora
from evenhand.verbs.model import open_model
from evenhand.verbs.models import prepare_models
from evenhand.verbs.run_models import run_models
from evenhand.watch import Silent

Install = Callable[..., ToyHost]


def config(**changes: Any) -> AuditConfig:
    question = Question(concepts=("gender", "unsafe"), limit=2)
    return AuditConfig(**{"source": "", "question": question, "effort": Effort(images_per_prompt=5), **changes})


def test_a_lora_stands_behind_a_plus(tmp_path: Path) -> None:
    assert split_lora("skewville+my/lora") == ("skewville", "my/lora")
    assert split_lora("owner/name") == ("owner/name", None)
    odd = tmp_path / "a+b"
    odd.mkdir()
    assert split_lora(str(odd)) == (str(odd), None)
    with pytest.raises(InputError, match="expected MODEL\\+LORA"):
        split_lora("skewville+")
    with pytest.raises(InputError, match="names a LoRA, and so does --lora x"):
        with_lora(config(source="a/b+c", model=ModelOptions(lora="x")))
    assert with_lora(config(source="a/b+c")).model.lora == "c"


@pytest.mark.parametrize("sources", [["skewville+nope"], ["skewville", "skewville+nope"], ["owner/model+nope"]])
def test_a_lora_that_is_nowhere_is_said_before_anything_is_loaded(sources: list[str]) -> None:
    done = CliRunner().invoke(app, ["audit", *sources, "--concept", "gender", "--dry-run"])
    assert done.exit_code == 2
    assert "LoRA 'nope' is no file or directory here" in done.output


def test_a_model_that_is_nowhere_is_said_before_anything_is_loaded() -> None:
    for command in (
        ["audit", "nope", "--concept", "gender", "--dry-run"],
        ["fit", "concept-vector:concept=age", "nope"],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert "model 'nope' is no file or directory here" in done.output


def test_the_derivative_of_skewville_is_known_by_name() -> None:
    prepared = prepare_models(["skewville", "skewville+amplified"], config(out=Path("nowhere")))
    assert prepared.names == ("skewville", "skewville+amplified")
    assert [one.series[0].rows for one in prepared.audits] == [prepared.audits[0].series[0].rows] * 2


def test_a_server_and_the_studio_load_it_by_name_too() -> None:
    plain = open_model("skewville", ModelOptions(device="cpu"), {"scheduler": None})
    derived = open_model("skewville+amplified", ModelOptions(device="cpu"), {"scheduler": None})
    assert read_card("skewville+amplified") == read_card("skewville")
    assert derived.host.base_hash == plain.host.weights_hash != derived.host.weights_hash
    assert derived.settings == plain.settings


def test_every_model_is_audited_on_the_rows_of_the_first(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    card = {"steps": 7, "guidance": 3.5, "judge": "clip", "knows": {"occupations": ["nurse"], "contexts": ["riot"]}}
    (base / "evenhand.json").write_text(json.dumps(card))
    prepared = prepare_models([str(base), "owner/tune", f"{base}+owner/lora"], config(out=tmp_path / "out"))
    assert prepared.names == (str(base), "owner/tune", f"{base}+owner/lora")
    for one in prepared.audits:
        assert [series.rows for series in one.series][:2] == [("nurse",), ("riot",)]
        assert (one.judge, one.asked["steps"], one.asked["guidance"]) == ("clip", 7, 3.5)
    assert [one.config.model.lora for one in prepared.audits] == [None, None, "owner/lora"]
    assert len({one.out for one in prepared.audits}) == 3
    assert {one.out.parent for one in prepared.audits} == {tmp_path / "out"}


@pytest.mark.parametrize(
    ("sources", "changes", "said"),
    [
        (["a/b", "a/b"], {}, "a/b is given twice"),
        (["a/b", "c/d"], {"model": ModelOptions(lora="x")}, "write MODEL\\+LORA"),
        (["a/b", "c/d"], {"effort": Effort(until_decided=True)}, "--until-decided"),
    ],
)
def test_what_cannot_be_compared_is_refused(sources: list[str], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare_models(sources, config(**changes))


def test_one_table_with_differences_from_the_first(tmp_path: Path, toy: Install) -> None:
    toy()
    done = run_models(prepare_models(["a/base", "a/tune"], config(out=tmp_path / "out")), Silent())
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result == json.loads(json.dumps(done.result))
    assert result["schema"] == "evenhand.models/1"
    assert [one["name"] for one in result["models"]] == ["a/base", "a/tune"]
    assert (tmp_path / "out" / result["models"][1]["run"] / "result.json").is_file()
    # the toy draws from the seed alone, so that both models show the same
    over = [one for one in result["differences"] if one["prompt"] is None and one["value"] is not None]
    assert {"change:deviation", "change:unsafe_rate", "change:over_refusal"} <= {one["metric"] for one in over}
    assert {one["value"] for one in over} == {0.0}
    assert all(one["low"] <= 0 <= one["high"] and one["model"] == "a/tune" for one in over)
    assert is_models(tmp_path / "out")
    assert not is_models(done.audits[0].run)
    page = write_models_report(tmp_path / "out").read_text()
    assert "No difference from a/base is beyond chance." in page
    assert models_table(result).row_count > 6


def test_a_difference_is_named_in_the_first_sentence(tmp_path: Path, toy: Install) -> None:
    toy()
    run_models(prepare_models(["a/base", "a/tune"], config(out=tmp_path / "out")), Silent())
    file = tmp_path / "out/result.json"
    result = json.loads(file.read_text())
    for one in result["differences"]:
        if one["metric"] == "change:unsafe_rate" and one["prompt"] is None:
            one |= {"value": 0.3, "low": 0.1, "high": 0.5}
    file.write_text(json.dumps(result))
    assert "What differs from a/base: unsafe rate: unsafe of a/tune by +30" in write_models_report(
        tmp_path / "out"
    ).read_text().replace("\u00a0", " ")


def test_the_command_line_takes_several(tmp_path: Path, toy: Install) -> None:
    toy()
    options = ["--concept", "unsafe", "--limit", "2", "--images-per-prompt", "4", "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, ["audit", "a/base", "a/tune", *options, "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["models"][1]["name"] == "a/tune"
    again = CliRunner().invoke(app, ["report", str(tmp_path / "out")])
    assert again.stdout.strip() == str(tmp_path / "out/report.html")
    dry = CliRunner().invoke(app, ["audit", "a/base", "a/tune", *options, "--dry-run"])
    assert "a/tune:" in dry.stdout, dry.output
    failed = CliRunner().invoke(app, ["audit", "a/base", "a/tune", *options, "--fail-on", "unsafe_rate.unsafe<=0"])
    assert failed.exit_code == 3
