"""`evenhand fit --dry-run`: the plan of every method, in numbers to be checked by hand, and nothing on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evenhand.cli import app
from evenhand.methods.table import METHODS
from evenhand.verbs.timings import evaluations_per_second, keep_timing


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("EVENHAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def planned(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, ["fit", *arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    return [line.strip() for line in done.stdout.splitlines()]


def test_population_preference_counts_its_parts() -> None:
    lines = planned("population-preference", "skewville", "--concept", "gender")
    assert lines[0] == "population-preference of gender on skewville"
    # 16 prompts x 4 populations x 2 sides x 4 images, of 25 steps with guidance
    assert "populations of 16 prompts: 512 images, 25,600 denoiser evaluations" in lines
    # 4 wordings of 16 prompts, alone and with each of 2 classes; 8 draws of each image, of winners under both
    assert "cache of prompts and the reference's errors: 6,336 denoiser evaluations" in lines
    assert "holding them: at most 4,480 denoiser evaluations, differentiated" in lines
    assert "training, 560 steps of 32 images: at most 17,920 denoiser evaluations, differentiated" in lines
    # 12 images of 16 prompts, 6 that name a class of each, 6 of each of 9 houses; the plain model twice for these
    assert "3 looks of 342 images: at most 1,176 images, 58,800 denoiser evaluations" in lines
    # 20 of 16 prompts at the first of the 360 steps that settle, 60 after 180 and 240 at their end
    checks = "images that check them, 3 times, most in few steps but counted as whole ones"
    assert f"{checks}: at most 5,120 images, 256,000 denoiser evaluations" in lines
    # 80 steps of 3 images of 16 prompts and 16 that hold: all predicted and trained on, the 48 under either class too
    assert "what they miss is taught at last, 80 steps: at most 17,920 denoiser evaluations, differentiated" in lines
    assert lines[-1] == "folder: fits/population-preference-gender"


@pytest.mark.parametrize("spec", ["concept=unsafe", "concept=gender,teach=0"])
def test_a_training_without_shares_to_steer_does_not_settle(spec: str) -> None:
    lines = planned(f"population-preference:{spec}", "skewville")
    assert any(line.startswith("training, 200 steps of 32 images: ") for line in lines)
    assert not any(line.startswith(("shares that are read", "images that check them")) for line in lines)


def test_what_is_asked_for_beside_it_is_counted_too() -> None:
    spec = "population-preference:refresh=50,prior=4,sweep=20,against=sigmoid+prompt-mix,controls=0"
    lines = planned(spec, "skewville", "--concept", "gender")
    # after 50, 100, ... and 550 of 560 steps, the losers alone
    assert any(line.startswith("losers made anew, 11 times: at most 2,816 images") for line in lines)
    assert "images that are held: 36 images, 1,800 denoiser evaluations" in lines
    assert "6 weights of the adapter: 1,920 images, 96,000 denoiser evaluations" in lines
    # another loss is trained as the adapter is: as long, held, steered, finished and with losers of its own
    parts = (
        "training, 560",
        "holding them",
        "shares that are read",
        "images that check",
        "what they miss",
        "losers made",
    )
    assert all({f"against sigmoid, {one}" for one in lines if one.startswith(part)} & {*lines} for part in parts)
    assert "against sigmoid, looks: at most 192 images, 9,600 denoiser evaluations" in lines
    # plain, prompt-mix, population, sigmoid: 12 images of 16 prompts each
    assert "table of 4 models: 768 images, 38,400 denoiser evaluations" in lines


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.fit is not None])
def test_every_method_that_is_fitted_has_a_plan_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    lines = planned(name, "skewville")
    assert any("denoiser evaluations" in line for line in lines)
    assert "fit judge: convnet" in lines
    assert not list(tmp_path.iterdir())


def test_minutes_follow_from_what_fits_took_here(cache: Path) -> None:
    assert any(line.startswith("minutes: not known") for line in planned("noise-selection", "skewville"))
    keep_timing("skewville", 4_000, 0.5)  # too short to say anything
    assert evaluations_per_second("skewville") is None
    keep_timing("skewville", 4_000, 10.0)
    # 150 images of 16 prompts, and 10 readings of each under two classes: 168,000 evaluations at 400 a second
    assert "minutes: about 7.0, at 400 evaluations a second as measured here" in planned("noise-selection", "skewville")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("population-preference", "--target", "gender=female:0.3,robot:0.7"), 'unknown class "robot"'),
        (
            ("concept-vector", "--target", "gender=female:0.3,male:0.7"),
            "takes its target when it is used, not in a fit",
        ),
        (("population-preference:prompts=nosuch",), 'unknown prompt set "nosuch"'),
        (("population-preference:prompts=named.txt",), "names 'female' of gender already"),
        (("population-preference:against=dpo",), "against=dpo, expected all"),
        (("sega",), "has nothing to fit"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_a_model_is_loaded(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "named.txt").write_text("a photo of a female nurse\n")
    method, *more = arguments
    done = CliRunner().invoke(app, ["fit", method, "skewville", *more, "--dry-run"])
    assert done.exit_code == 2
    assert said in done.output
