"""Directions of a joint are one fit: calibrated under the laws of all of them, since each moves the others' shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from noise_toy import SETTINGS

from evenhand.concepts.concept import Concept
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import InputError
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.interventions.noise_draw import NoiseDraw
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.interventions.text_map import TextMap
from evenhand.methods.embedding_projection import MOMENTS
from evenhand.methods.fitting import Fitted, Fitting, Labels, Preview
from evenhand.methods.method import Setting
from evenhand.methods.noise_store import factors_of, handle_of
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS, interventions, recalled
from evenhand.records import Request, Sample
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.testing.toy_fitting import toy_fitting, toy_label, toy_logits

METHOD = METHODS["noise-direction"]
JOINT = "noise-direction:concept=gender*age,images=800,draw=tilted"
ROWS = ("a photo of a nurse", "a photo of a mechanic")
CLASSES = ("female*young", "female*old", "male*young", "male*old")
# half of the nurses are young, but hardly a man among them: with as many men as women a quarter would be
CORRELATED = {ROWS[0]: (0.45, 0.45, 0.01, 0.09), ROWS[1]: (0.09, 0.01, 0.45, 0.45)}
WORDS = {
    "woman": (0.45, 0.45, 0.05, 0.05),
    "man": (0.05, 0.05, 0.45, 0.45),
    "young": (0.45, 0.05, 0.45, 0.05),
    "old": (0.05, 0.45, 0.05, 0.45),
}
TEXTS = {
    "a photo of a woman": WORDS["woman"],
    "a photo of a man": WORDS["man"],
    "a photo of a young person": WORDS["young"],
    "a photo of an old person": WORDS["old"],
}
WORLD = ToyWorld(
    classes=CLASSES,
    prompts={
        "": (0.25,) * 4,
        "a photo of a person": (0.25,) * 4,
        **CORRELATED,
        **TEXTS,
        **{f"{word} {row}": shares for row in ROWS for word, shares in WORDS.items()},
    },
)


def parts(concept: Concept) -> list[list[int]]:
    """The toy's pictures that show each class of a factor."""
    return [[place for place, one in enumerate(CLASSES) if name in one.split("*")] for name in concept.class_names]


def read(samples: Sequence[Sample], concepts: Sequence[Concept]) -> Labels:
    shown = [toy_label(one, WORLD).split("*") for one in samples]
    return [tuple(next(name for name in one.class_names if name in some) for one in concepts) for some in shown]


def logits(images: torch.Tensor, concept: Concept) -> torch.Tensor:
    found = toy_logits(images, WORLD)
    return torch.stack([found[:, some].logsumexp(dim=1) for some in parts(concept)], dim=1)


def fitting_of(host: Host) -> Fitting:
    return dataclasses.replace(
        toy_fitting(host, WORLD, rows=ROWS), read=read, logits=logits, knows=lambda concept: True
    )


def fitted(host: Host, spec: str) -> Fitted:
    (plan,) = METHOD.plans(Setting(), METHOD.read(parse_spec(spec).parameters))
    assert METHOD.fit is not None
    return METHOD.fit(fitting_of(host), plan.values)


def shares(host: Host, spec: str, fits: Sequence[Fitted], row: str) -> tuple[float, float]:
    """Of women, and of who is young."""
    requests = [Request(row=row, prompt=row, index=k, seed=10_000 + k) for k in range(400)]
    with host.attached(*interventions(parse_spec(spec), Setting(fitted=tuple(fits)))):
        made = list(sample(host, requests, SETTINGS, batch_size=50, keep_latents=True))
    shown = [toy_label(one, WORLD) for one in made]
    women, young = (float(np.mean([part in one.split("*") for one in shown])) for part in ("female", "young"))
    return women, young


@pytest.fixture(scope="module")
def both() -> Fitted:
    with toy_host(WORLD) as host:
        return fitted(host, JOINT)


def test_calibrated_at_once_both_have_their_shares(both: Fitted) -> None:
    with toy_host(WORLD) as host:
        alone = [fitted(host, f"noise-direction:concept={name},images=200,draw=tilted") for name in ("gender", "age")]
        for row in ROWS:
            assert shares(host, JOINT, [both], row) == pytest.approx((0.5, 0.5), abs=0.08)
        # fitted alone, age has nothing to do, and loses its shares where gender acts
        apart = [shares(host, JOINT, alone, row) for row in ROWS]
    assert min(abs(young - 0.5) for _, young in apart) > 0.12


def test_a_joint_has_one_plan_and_its_work_is_that_of_one_calibration(both: Fitted) -> None:
    (plan,) = METHOD.plans(Setting(), METHOD.read(parse_spec(JOINT).parameters))
    assert plan.values["concept"] == "gender*age"
    protected = METHOD.plans(Setting(), METHOD.read({"concept": "gender*age", "protect": "skin"}))
    assert [one.values["concept"] for one in protected] == ["gender*age", "skin"]
    rows = tuple(PromptRow(name=row, templates=(row,)) for row in ROWS)
    assert METHOD.work is not None
    ascents, calibration = METHOD.work(Preview(setting=Setting(), rows=lambda concept: rows), plan.values)
    assert ascents.what == "ascents of 2 prompts for each of 2 concepts"
    # 8 neutral images of each row, and the work of 800, from which both concepts are read
    assert calibration.images == 2 * 808
    images = calibration.evaluations(SETTINGS.steps, guided=False)
    spent = both.card.effect["evaluations"]
    assert 0.9 * images < spent <= ascents.evaluations(SETTINGS.steps, guided=False) + images


def test_saved_it_is_one_folder_that_holds_every_factor(both: Fitted, tmp_path: Path) -> None:
    assert both.card.concept["name"] == "gender*age"
    gender, age = factors_of(both)
    assert [one.card.concept["name"] for one in (gender, age)] == ["gender", "age"]
    assert [handle_of(one)[1] for one in (gender, age)] == [("female", "male"), ("young", "old")]
    assert gender.card.effect["natural"][ROWS[0]]["female"] == pytest.approx(0.9, abs=0.08)
    assert factors_of(gender) == [gender]
    save_intervention(tmp_path / "both", both.tensors, both.card)
    with toy_host(WORLD) as host:
        again = Fitted(*load_intervention(tmp_path / "both", host))
    assert [handle_of(one) for one in factors_of(again)] == [handle_of(one) for one in (gender, age)]
    assert recalled(parse_spec(f"{tmp_path}/both"), [again]).parameters["concept"] == "gender*age"


def test_one_factor_of_it_is_refused_alone(both: Fitted) -> None:
    said = "this direction of gender was calibrated together with age, which does not act here; leave concept= out"
    with pytest.raises(InputError, match=said):
        interventions(parse_spec("noise-direction"), Setting(fitted=(both,)))


def test_the_projections_of_all_factors_act_in_the_fit_and_in_use(both: Fitted) -> None:
    spec = f"{JOINT},projection=1"
    with toy_host(WORLD) as host:
        one = fitted(host, spec)
        mapped, draw = interventions(parse_spec(spec), Setting(fitted=(one,)))
        projected = shares(host, spec, [one], ROWS[0])
    # less is left to move than without them
    under, plain = (factors_of(some)[0].card.effect["natural"][ROWS[0]]["female"] for some in (one, both))
    assert 0.5 < under < plain - 0.03
    moments = sum(some.tensors[MOMENTS].double() for some in factors_of(one))
    assert isinstance(mapped, TextMap)
    assert isinstance(draw, NoiseDraw)
    assert torch.allclose(mapped.matrix.double(), torch.linalg.inv(moments + torch.eye(4)), atol=1e-6)
    assert projected == pytest.approx((0.5, 0.5), abs=0.08)
