"""The numbers of every SPEC: what lies outside its range is one line when it is read, before any model is loaded."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evenhand.cli import app
from evenhand.errors import InputError
from evenhand.methods.method import STRENGTH, Parameter
from evenhand.methods.ranges import Range
from evenhand.methods.table import METHODS

NUMBERS = [
    pytest.param(name, one, id=f"{name}-{one.name}")
    for name, method in METHODS.items()
    for one in (*method.parameters, STRENGTH)
    if one.kind in ("number", "start")
]


def refusal(method: str, **given: str) -> str:
    with pytest.raises(InputError) as refused:
        METHODS[method].read(given)
    assert refused.value.exit_status == 2
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(("method", "parameter"), NUMBERS)
def test_what_is_no_finite_number_is_refused_everywhere(method: str, parameter: Parameter) -> None:
    for text in ("nan", "inf", "-inf", "1e999", "many"):
        assert refusal(method, **{parameter.name: text}).startswith(f"{method}: {parameter.name}={text}, expected ")


@pytest.mark.parametrize(("method", "parameter"), NUMBERS)
def test_a_default_is_inside_its_own_range(method: str, parameter: Parameter) -> None:
    if parameter.default is not None:
        assert math.isfinite(METHODS[method].read({})[parameter.name])


@pytest.mark.parametrize(("method", "parameter"), NUMBERS)
def test_a_number_stays_the_float_that_fits_are_stored_by(method: str, parameter: Parameter) -> None:
    value = METHODS[method].read({})[parameter.name]
    assert value is None or isinstance(value, float)


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("population-preference", "beta=0 beta=-1 rate=0", "a number above 0"),
        ("population-preference", "sft=-1 steer=-1 prior_weight=-3 limit=-.1 mmd=-1 drift=-1", "a number of 0 or more"),
        ("population-preference", "teach=2 teach=.5 specific=-1", "0 or 1"),
        ("population-preference", "steps=0 batch=0 rank=.5 side=1.5 populations=0 draws=0", "a whole number of 1 or"),
        ("population-preference", "looks=0 looks=1", "a whole number of 2 or more"),
        ("population-preference", "settle=-1 checks=.5 refresh=.5 look=-2 controls=-1 sweep=.5", "a whole number of 0"),
        ("population-preference", "above=1 above=-.1", "a number of 0 or more and below 1"),
        ("noise-direction", "sure=.5 sure=1", "a number above 0.5 and below 1"),
        ("noise-direction", "kl_budget=-1 weight=-1 projection=-1", "a number of 0 or more"),
        ("noise-direction", "lowpass=-1 step=.5", "a whole number of 0 or more"),
        ("noise-direction", "images=-1 images=0", "a whole number of 1 or more"),
        ("noise-selection", "share=0 share=1 share=-1 share=1e12", "a number above 0 and below 1"),
        ("noise-selection", "tries=-1 tries=0 images=0", "a whole number of 1 or more"),
        ("stereotype-corrector", "explicit=-1", "a whole number of 0 or more"),
        ("stereotype-corrector", "rounds=-1 rounds=0 rounds=10", "a whole number of 20 or more"),
        ("stereotype-corrector", "images=0 calibrate=0", "a whole number of 1 or more"),
        ("concept-vector", "images=-1 images=1", "a whole number of 2 or more"),
        ("concept-vector", "calibrate=-1 map=-1 map=.5", "a whole number of 0 or more"),
        ("embedding-projection", "weight=-1", "a number of 0 or more"),
        ("sega", "scale=-1", "a number of 0 or more"),
        ("sega", "quantile=1.5", "a number of 0 to 1"),
        ("sega", "warmup=-1 warmup=1.5", "a whole number of steps, or a share of them"),
        ("safe-guidance", "warmup=-1 warmup=1.5", "a whole number of steps, or a share of them"),
    ],
)
def test_a_number_outside_its_range_is_refused(method: str, given: str, expected: str) -> None:
    for one in given.split():
        name, _, text = one.partition("=")
        assert refusal(method, **{name: text}).startswith(f"{method}: {one}, expected {expected}")


@pytest.mark.parametrize("spec", ["concept-vector:map=0", "noise-direction:lowpass=0,projection=0", "sega:warmup=0"])
def test_what_turns_a_part_off_is_taken(spec: str) -> None:
    method, _, given = spec.partition(":")
    typed = dict(one.split("=") for one in given.split(","))
    read = METHODS[method].read(typed)
    assert {name: read[name] for name in typed} == dict.fromkeys(typed, 0)


def test_an_adapter_may_be_taken_back_or_overdone() -> None:
    assert [METHODS["population-preference"].read({"strength": one})["strength"] for one in ("-1", "1.25")] == [
        -1,
        1.25,
    ]


def test_a_range_says_what_it_takes() -> None:
    shares = Range(above=0, below=1)
    assert [0 in shares, 0.5 in shares, 1 in shares, math.nan in shares] == [False, True, False, False]
    assert str(shares) == "a number above 0 and below 1"
    assert str(Range(low=2, whole=True)) == "a whole number of 2 or more"
    assert str(Range(low=0, high=1)) == "a number of 0 to 1"
    assert str(Range(high=3)) == "a number of 3 or less"
    assert str(Range()) == "a number"


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "population-preference:beta=nan", "skewville", "--dry-run"),
        ("fit", "noise-direction:images=-1", "skewville", "--dry-run"),
        ("audit", "skewville", "--concept", "unsafe", "--with", "sega:scale=nan", "--out", "run"),
        ("audit", "skewville", "--concept", "gender", "--with", "noise-selection:tries=nan", "--out", "run"),
    ],
)
def test_a_command_ends_with_one_line_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENHAND_CACHE", str(tmp_path / "cache"))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "expected a" in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
