"""Concepts from two phrases: where most pictures show neither, "neither" is a landmark of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from evenhand.concepts.prompts import PromptRow
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.methods.class_texts import in_rows
from evenhand.methods.fitting import Fitted, Fitting
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS
from evenhand.records import Request, Settings
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.testing.toy_fitting import toy_fitting, toy_label

BEACH, OFFICE = "a photo of a person at the beach", "a photo of a person in an office"
SURELY = {BEACH: (0.97, 0.01, 0.01, 0.01), OFFICE: (0.01, 0.97, 0.01, 0.01)}
WORLD = ToyWorld(
    classes=("beach", "office", "street", "park"),
    prompts={
        "": (0.25, 0.25, 0.25, 0.25),
        "a photo of a person": (0.05, 0.05, 0.45, 0.45),
        "a photo of a nurse": (0.02, 0.08, 0.6, 0.3),
        "a photo of an artist": (0.08, 0.02, 0.3, 0.6),
        **SURELY,
        **{
            text.replace("a person", someone): shares
            for text, shares in SURELY.items()
            for someone in ("a nurse", "an artist")
        },
    },
)
ROWS = tuple(
    PromptRow(name=text, templates=(text,), phrase=text) for text in ("a photo of a nurse", "a photo of an artist")
)
SETTINGS = Settings(steps=20, guidance=1.0)


@pytest.fixture
def host() -> Iterator[Host]:
    with toy_host(WORLD) as one:
        yield one


def fitted(host: Host, fitting: Fitting | None = None, absent: str = OFFICE) -> Fitted:
    method = METHODS["concept-vector"]
    spec = f'concept-vector:present="{BEACH}",absent="{absent}",calibrate=8'
    (plan,) = method.plans(Setting(), method.read(parse_spec(spec).parameters))
    assert method.fit is not None
    return method.fit(fitting or place_fitting(host), plan.values)


def place_fitting(host: Host) -> Fitting:
    return dataclasses.replace(toy_fitting(host, WORLD, rows=(), knows=False), rows=lambda concept: ROWS)


def shares(host: Host, found: Fitted, shown: str) -> float:
    """How often an image shows the place of a phrase."""
    method = METHODS["concept-vector"]
    arm = method.build(
        Setting(fitted=(found,)), method.read({"present": BEACH, "absent": OFFICE, "class": shown, "filter": "off"})
    )
    requests = [Request(row=row.name, prompt=row.name, index=i, seed=900 + i) for row in ROWS for i in range(20)]
    with host.attached(*arm):  # type: ignore[misc]
        made = list(sample(host, requests, SETTINGS, batch_size=40, keep_latents=True))
    place = {"present": "beach", "absent": "office"}[shown]
    return sum(toy_label(one, WORLD) == place for one in made) / len(made)


def test_either_phrase_is_shown_though_most_pictures_show_neither(host: Host) -> None:
    found = fitted(host)
    assert set(found.card.calibration) == {"present", "absent"}
    assert found.tensors["mid_block/axes"].shape[0] == 2  # from neither to each
    assert {name for name in found.tensors if "/level/" in name} == {
        "mid_block/level/present",
        "mid_block/level/absent",
    }
    assert shares(host, found, "present") >= 0.9
    assert shares(host, found, "absent") >= 0.9


def test_what_is_plain_is_no_third_landmark(host: Host) -> None:
    found = fitted(host, absent="a photo of a person")
    assert found.tensors["mid_block/axes"].shape[0] == 1


def test_a_text_is_about_each_subject_in_turn() -> None:
    found = in_rows("a photo of a person with glasses", "a photo of a person", ROWS, 3)
    assert found == (
        "a photo of a nurse with glasses",
        "a photo of an artist with glasses",
        "a photo of a nurse with glasses",
    )
    assert in_rows("a photo of an old person", "a photo of a person", ROWS, 1) == ("a photo of an old nurse",)


@pytest.mark.parametrize(
    ("text", "rows"), [("a photo of a woman", ROWS), (BEACH, ()), (BEACH, (PromptRow(name="x", templates=("x",)),))]
)
def test_what_speaks_of_nobody_else_stays(text: str, rows: tuple[PromptRow, ...]) -> None:
    assert in_rows(text, "a photo of a person", rows, 2) == (text, text)
