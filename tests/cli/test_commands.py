"""The command line: exit statuses, one line for bad input, JSON and nothing else, reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint, serving
from toys import ToyHost
from typer.testing import CliRunner, Result

from evenhand.cli import app
from evenhand.concepts.library import concept_names
from evenhand.methods.table import METHODS

Install = Callable[..., ToyHost]
AUDIT = ("audit", "a/model", "--concept", "gender", "--limit", "2", "--images-per-prompt", "6")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str) -> str:
    """The one line on standard error of a command that ends with 2."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("evenhand: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_an_audit_prints_a_sentence_a_table_and_where_the_report_is(tmp_path: Path, toy: Install) -> None:
    toy()
    result = run(*AUDIT, "--out", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert "gender" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("report: ")
    assert (tmp_path / "run/report.html").read_text().startswith("<!")


def test_json_prints_the_result_and_nothing_else(tmp_path: Path, toy: Install) -> None:
    toy()
    result = run(*AUDIT, "--out", str(tmp_path / "run"), "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert json.loads(result.stdout) == json.loads((tmp_path / "run/result.json").read_text())


def test_quiet_prints_the_report_only(tmp_path: Path, toy: Install) -> None:
    toy()
    result = run(*AUDIT, "--out", str(tmp_path / "run"), "--quiet")
    assert (result.stdout, result.stderr) == (f"{tmp_path / 'run' / 'report.html'}\n", "")


def test_a_failed_threshold_is_three_after_everything_is_written(tmp_path: Path, toy: Install) -> None:
    toy()
    result = run(*AUDIT, "--out", str(tmp_path / "run"), "--quiet", "--fail-on", "deviation_ratio.gender<0")
    assert result.exit_code == 3
    assert result.stderr.startswith("evenhand: threshold failed: deviation_ratio.gender<0 (it is ")
    assert result.stderr.count("\n") == 1
    assert (tmp_path / "run/report.html").exists()
    passed = run(*AUDIT, "--out", str(tmp_path / "run"), "--quiet", "--fail-on", "deviation_ratio.gender<=1")
    assert passed.exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--concept", "gendre"), 'did you mean "gender"'),
        (("--concept", "gender", "--prompts", "ocupations"), "ocupations"),
        (("--concept", "gender", "--images-per-prompt", "0"), "--images-per-prompt 0: expected"),
        (("--concept", "gender", "--images-per-prompt", "ten"), "Invalid value for '--images-per-prompt'"),
        (("--concept", "gender", "--precision", "2"), "--precision 2.0"),
        (("--concept", "gender", "--target", "gender=female:0.5,male:0.6"), "1.1"),
        (("--concept", "gender", "--target", "gender=female:0.5,female:0.5"), "twice"),
        (("--concept", "gender", "--size", "64"), "--size 64: expected width x height"),
        (("--concept", "gender", "--fail-on", "deviation.skin<=1"), "skin is not measured here"),
        (("--concept", "gender", "--with", "safe-guidence"), 'did you mean "safe-guidance"'),
        (("--concept", "gender", "--with", "safe-guidance:prest=max"), 'did you mean "preset"'),
        (("--concept", "gender", "--with", "safe-guidance:preset=mild"), "expected weak, weak-diffusers"),
        (("--concept", "gender", "--with", "sega"), "no text for 'unsafe'; give one with text="),
        (("--present", "a hat"), "give both texts"),
        ((), "nothing to measure"),
        (("--colour", "red"), "No such option"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    assert message in refused("audit", "a/model", "--out", str(tmp_path / "run"), *options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.txt", "", "holds no prompt"),
        ("bad.csv", "group\nx\n", "prompt"),
        ("bad.csv", 'prompt\n"x\n', "line 2, column"),
    ],
)
def test_bad_prompt_files_are_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    assert message in refused("audit", "a/model", "--concept", "gender", "--prompts", str(tmp_path / name))


def test_bad_toml_names_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "hat.toml").write_text('name = "hat"\nkind = \n')
    assert "line 2, column" in refused("audit", "a/model", "--concept", str(tmp_path / "hat.toml"))


def test_an_out_that_is_taken_is_refused(tmp_path: Path, toy: Install) -> None:
    toy()
    (tmp_path / "thesis.tex").write_text("important")
    assert "not empty and not a run" in refused(*AUDIT, "--out", str(tmp_path))
    run(*AUDIT, "--out", str(tmp_path / "run"), "--quiet")
    assert "they differ in prompts, seed)" in refused(*AUDIT, "--out", str(tmp_path / "run"), "--seed", "5")


def test_unknown_commands_are_one_line() -> None:
    assert "bogus" in refused("bogus")
    assert "expected methods, models, judges, concepts, prompts" in refused("list", "bogus")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "is no file or directory here"),
        (lambda path: path.mkdir(), "has no model_index.json"),
        (lambda path: path.write_bytes(b""), "model"),
    ],
)
def test_an_unknown_model_is_one_line_and_leaves_nothing(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    model, out = tmp_path / "model", tmp_path / "run"
    make(model)
    for command in (("audit", str(model), "--concept", "gender"), ("generate", str(model), "a photo")):
        line = refused(*command, "--out", str(out))
        assert message in line
        assert str(model) in line
        assert not out.exists()


def test_an_interruption_is_130_and_says_how_to_go_on(
    tmp_path: Path, toy: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evenhand.verbs.audit.observe", interrupted)
    result = run(*AUDIT, "--out", str(tmp_path / "run"), "--quiet")
    assert result.exit_code == 130
    assert result.stderr == "evenhand: interrupted; run the same command to continue\n"


def test_an_internal_error_is_one_line_and_its_details_are_kept(
    tmp_path: Path, toy: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no\nway")

    monkeypatch.setattr("evenhand.verbs.audit.observe", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run(*AUDIT, "--out", str(tmp_path / "run"), "--quiet")
    assert result.exit_code == 1
    (details,) = tmp_path.glob("evenhand-*.txt")
    assert result.stderr == f"evenhand: internal error, ZeroDivisionError: no way (details in {details})\n"
    assert "Traceback" in details.read_text()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    result = run(*AUDIT, "--out", str(tmp_path / "run"), "--dry-run", "--steps", "25", "--guidance", "2")
    assert result.exit_code == 0
    assert "12 images x 25 steps x 2 rows = 600" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_built_again_from_its_run(tmp_path: Path, toy: Install) -> None:
    toy()
    run(*AUDIT, "--out", str(tmp_path / "run"), "--quiet")
    report = tmp_path / "run/report.html"
    text = report.read_text()
    report.unlink()
    assert run("report", str(tmp_path / "run")).stdout == f"{report}\n"
    assert report.read_text() == text


def test_a_directory_that_is_no_run_has_no_report(tmp_path: Path) -> None:
    assert str(tmp_path) in refused("report", str(tmp_path / "nothing"))


def test_generate_writes_images_and_says_where(tmp_path: Path, toy: Install) -> None:
    toy()
    out = str(tmp_path / "out")
    result = run("generate", "a/model", "a photo of a nurse", "-n", "2", "--seed", "4", "--out", out, "--quiet")
    assert (result.exit_code, result.stdout) == (0, out + "\n")
    listing = run("generate", "a/model", "a photo of a nurse", "-n", "2", "--seed", "4", "--out", out, "--json")
    assert json.loads(listing.stdout)["samples"][1]["seed"] == 5


def test_lists_name_what_there_is() -> None:
    listed = run("list", "concepts").stdout
    assert all(name in listed for name in concept_names())
    assert "occupations" in run("list", "prompts").stdout
    assert "clip" in run("list", "judges").stdout
    listing = run("list", "methods").stdout
    assert all(name in listing for name in METHODS)


@pytest.mark.parametrize("arguments", [["--help"], ["audit", "--help"], ["list", "concepts"], ["audit", "x"]])
def test_help_and_refusals_come_without_torch(arguments: list[str]) -> None:
    program = (
        "import sys; from evenhand.cli import app\n"
        f"try: app({arguments!r}, prog_name='evenhand')\n"
        "except SystemExit: pass\n"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'diffusers', 'transformers')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "options",
    [["--concept", "unsafe", "--no-benign"], ["--concept", "gender", "--any-time"], ["--association", "origin:scarf"]],
)
def test_whatever_decides_figures_can_be_planned(tmp_path: Path, toy: Install, options: list[str]) -> None:
    toy()
    ask, lock = ["a/model", *options, "--limit", "2", "--images-per-prompt", "2"], tmp_path / "plan.json"
    planned = run("plan", *ask, "--no-timing", "--lock", str(lock))
    assert planned.exit_code == 0, planned.output
    done = run("audit", *ask, "--plan", str(lock), "--out", str(tmp_path / "run"), "--json")
    assert json.loads(done.stdout)["registration"]["status"] == "pre-registered"


def test_a_plan_prints_goals_and_locks(tmp_path: Path, toy: Install) -> None:
    toy()
    lock = tmp_path / "plan.json"
    ask = ("a/model", "--concept", "gender", "--limit", "2", "--images-per-prompt", "6")
    result = run("plan", *ask, "--lock", str(lock))
    assert result.exit_code == 0, result.output
    assert "a fair prompt is called fair" in result.stdout
    assert result.stdout.splitlines()[-1] == str(lock)
    assert run("audit", *ask, "--plan", str(lock), "--out", str(tmp_path / "run"), "--quiet").exit_code == 0
    assert json.loads((tmp_path / "run/result.json").read_text())["registration"]["status"] == "pre-registered"
    found = json.loads(run("plan", *ask, "--no-timing", "--json").stdout)
    assert (found["images"], found["minutes"]) == (12, None)
    assert "expected a half-width" in refused("plan", *ask[:5], "--precision", "2")


def test_an_endpoint_is_audited_from_the_command_line(tmp_path: Path, toy: Install) -> None:
    toy()
    ask = ("--concept", "gender", "--limit", "2", "--images-per-prompt", "4", "--out", str(tmp_path / "run"), "--quiet")
    fake = FakeEndpoint()
    with serving(fake) as url:
        assert "--endpoint-model NAME" in refused("audit", url, *ask)
        named = ("audit", url, "--endpoint-model", "m", "--image-price", "0.1", *ask)
        assert "8 images at 0.1 cost 0.80" in refused(*named, "--max-cost", "0.5")
        assert run(*named, "--max-cost", "1", "--fail-on", "refusal_rate.occupations<=0").exit_code == 0
    assert len(fake.bodies) == 8


def test_conditions_on_a_run_that_stops_are_those_that_it_states(tmp_path: Path, toy: Install) -> None:
    toy()
    ask = ("audit", "a/model", "--concept", "gender", "--limit", "2", "--out", str(tmp_path / "run"), "--quiet")
    assert "--until-decided states none" in refused(*ask, "--until-decided", "--fail-on", "deviation.gender<=1")
    wide = (*ask, "--precision", "0.3")
    assert "--fail-on with --precision: expected deviation, share, unsafe_rate" in refused(
        *wide, "--fail-on", "kl.gender<=1"
    )
    assert run(*wide, "--fail-on", "deviation.gender.high<=0.9").exit_code == 0
