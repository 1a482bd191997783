"""Associations on judged records: the planted one is found and nothing else, and arms are told apart by group."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import ToyHost, ToyJudge

from evenhand.concepts.swap import parse_association
from evenhand.errors import ConceptError, InputError
from evenhand.metrics.association import difference_estimates, likeness_differences, unlike_changes, with_discoveries
from evenhand.records import Estimate, Request, Verdict
from evenhand.report.build import write_report
from evenhand.report.data import read_run
from evenhand.report.panels import make_panels
from evenhand.report.text import headline
from evenhand.verbs import audit as audit_module
from evenhand.verbs.audit import audit
from evenhand.verbs.config import AuditConfig, Effort, Question
from evenhand.verbs.depiction import depiction_changes, depiction_estimates
from evenhand.verbs.prepare import prepare
from evenhand.verbs.series import Series, series_of

Install = Callable[..., ToyHost]
PLANTED = {"coastal": 0.08, "inland": 0.8}


def swapped(text: str, images: int, limit: int = 8) -> Series:
    (series,) = series_of(Question(associations=(text,), limit=limit), Effort(images_per_prompt=images, seed=4), {})
    return series


def group_of(request: Request) -> str:
    return request.row.rpartition(", ")[2]


def verdicts_of(
    series: Series, shares: Mapping[str, Mapping[str, float]], seed: int = 0
) -> dict[Request, tuple[Verdict, ...]]:
    """Records in which P(first class) of a concept in a group is given, one half elsewhere; groups are obeyed."""
    rng = random.Random(seed)
    assert series.swap is not None
    group = series.swap.association.group.name
    found = {}
    for request in series.requests:
        labels = {}
        for concept in series.asked:
            share = shares.get(concept.name, {}).get(group_of(request))
            share = 1 / len(concept.classes) if share is None else share
            others = concept.class_names[1:]
            labels[concept.name] = concept.class_names[0] if rng.random() < share else rng.choice(others)
        labels[group] = group_of(request)
        if series.recognition is not None:
            labels[series.recognition.name] = request.row.rpartition(", ")[0]
        found[request] = tuple(Verdict(concept=one.name, label=labels[one.name]) for one in series.asked)
    return found


def over_rows(estimates: list[Estimate], metric: str) -> dict[str, Estimate]:
    return {f"{one.concept} {one.class_name}": one for one in estimates if one.metric == metric and one.prompt is None}


def test_prompts_name_each_group_in_turn_from_the_same_seeds() -> None:
    series = swapped("origin:scarf", 3, limit=2)
    assert series.role == "association"
    by_row = {row: [one for one in series.requests if one.row == row] for row in series.rows}
    first, second = list(by_row.values())[:2]
    assert [one.seed for one in first] == [one.seed for one in second]
    assert [one.prompt.rpartition(", ")[0] for one in first] == [one.prompt.rpartition(", ")[0] for one in second]
    assert (first[0].prompt.rpartition(", ")[2], second[0].prompt.rpartition(", ")[2]) == ("coastal", "inland")
    # every base has noises of its own, and none of those that the plain audit of the set uses
    assert len({one.seed for one in series.requests}) == 2 * 3
    (plain,) = series_of(Question(concepts=("origin",), limit=2), Effort(images_per_prompt=3, seed=4), {})
    assert not {one.seed for one in plain.requests} & {one.seed for one in series.requests}


def test_it_finds_the_planted_association_and_nothing_else() -> None:
    series = swapped("origin:scarf,glasses,gender,age,skin", 20)
    planted, held, false = "origin:scarf yes, inland over coastal", 0, 0.0
    for seed in range(40):
        found = depiction_estimates(series, verdicts_of(series, {"scarf": PLANTED}, seed))
        tested = over_rows(found, "association")
        # yes/no and two classes give one difference each, three classes three
        assert len(tested) == 4 + 3
        discoveries = [name for name, one in tested.items() if one.decision == "biased"]
        assert planted in discoveries
        false += (len(discoveries) - 1) / len(discoveries)
        scarf, levels = tested[planted], over_rows(found, "presence")
        held += (scarf.low or 0.0) <= 0.72 <= (scarf.high or 0.0)
        inland, coastal = (levels[f"origin:scarf yes, {one}"].value for one in ("inland", "coastal"))
        assert scarf.value == pytest.approx((inland or 0) - (coastal or 0))
    # the rate of false discoveries is held at 5 %, the interval at 95 %
    assert false / 40 <= 0.07
    assert held >= 36


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    base = Estimate(metric="association", value=0.0, low=0.0, high=0.0, n=1, kind="change")
    import dataclasses

    some = [dataclasses.replace(base, concept=str(k), p_value=p) for k, p in enumerate([0.01, 0.04, 0.03, 0.5])]
    found = with_discoveries([*some, dataclasses.replace(base, prompt="row", p_value=1e-9)])
    # ascending .01, .03, .04, .5 times 4 / rank: .04, .06, .0533, .5; then the running minimum from the right
    assert [one.q_value for one in found] == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5, None])
    assert [one.decision for one in found] == ["biased", None, None, None, None]


def test_abstentions_are_left_out_in_pairs() -> None:
    indicator = {"a": {"row": ["yes", "no", None, "no"]}, "b": {"row": ["yes", "yes", "yes", None]}}
    (row, over) = difference_estimates(Estimate(metric="association"), indicator, "x", [("b", "a")])
    # pairs (a, b) that both know: (yes, yes), (no, yes): 1 less 1/2
    assert (row.value, row.n, row.abstained) == (0.5, 2, 2)
    assert over.class_name == "x, b over a"


def test_quality_by_group_is_obeyed_recognised_and_free_of_artefacts() -> None:
    series = swapped("origin:scarf", 10, limit=4)
    verdicts = verdicts_of(series, {})
    place = series.asked.index(next(one for one in series.asked if one.name == "origin"))
    worse = {}
    for request, some in verdicts.items():
        broken = group_of(request) == "inland" and request.index < 5
        worse[request] = tuple(
            Verdict(concept=one.concept, label=None, reason="nothing to judge") if broken and k == place else one
            for k, one in enumerate(some)
        )
    gaps = over_rows(depiction_estimates(series, worse), "group_quality_gap")
    assert gaps["origin artefacts, inland over coastal"].value == pytest.approx(0.5)
    assert gaps["origin artefacts, inland over coastal"].decision == "biased"
    assert gaps["origin obeyed, inland over coastal"].value == 0.0  # of what can be judged
    assert gaps["origin recognised, inland over coastal"].value == 0.0


def test_an_arm_that_hits_one_group_more_is_told_from_one_that_hits_both() -> None:
    series = swapped("gender:unsafe", 40, limit=6)
    assert {one.name for one in series.concepts} == {"unsafe", "gender"}
    assert "contexts" in series.name  # where the safety concept is measured
    plain = verdicts_of(series, {"unsafe": {"female": 0.4, "male": 0.4}})
    even = verdicts_of(series, {"unsafe": {"female": 0.8, "male": 0.8}}, seed=1)
    odd = verdicts_of(series, {"unsafe": {"female": 0.9, "male": 0.5}}, seed=1)
    name = "gender:unsafe unsafe, male over female"
    both = over_rows(depiction_changes(series, plain, even, intervention="a"), "change:association")[name]
    one = over_rows(depiction_changes(series, plain, odd, intervention="a"), "change:association")[name]
    assert both.low is not None
    assert both.high is not None
    assert both.low <= 0 <= both.high
    # "safe" is the first class: unsafe falls by .5 with women and .1 with men
    assert one.value == pytest.approx(0.4, abs=0.12)
    assert one.low is not None
    assert one.low > 0


def test_the_difference_of_changes_covers_what_it_should() -> None:
    # changes .3 (+- .1) and .1 (+- .1): .2 +- sqrt(.1^2 + .1^2)
    base = Estimate(metric="change:presence", value=0.3, low=0.2, high=0.4, n=9, kind="change")
    import dataclasses

    changes = {"a": base, "b": dataclasses.replace(base, value=0.1, low=0.0, high=0.2)}
    (found,) = unlike_changes(dataclasses.replace(base, class_name="x"), changes, [("a", "b")])
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2 - 0.02**0.5, 0.2 + 0.02**0.5))
    assert found.class_name == "x, a over b"


def test_likeness_is_compared_row_by_row_from_ten_rows_on() -> None:
    rng = np.random.default_rng(0)
    rows = {f"row {k}": rng.normal(0.2, 0.05, 4).tolist() for k in range(12)}
    moved = {row: [value + 0.1 for value in some] for row, some in rows.items()}
    (found,) = likeness_differences(Estimate(metric="image_association"), {"a": rows, "b": moved}, [("b", "a")])
    assert (found.value, found.scope, found.n) == (pytest.approx(0.1), "like-these", 48)
    few = {row: rows[row] for row in list(rows)[:3]}
    (found,) = likeness_differences(Estimate(metric="image_association"), {"a": few, "b": few}, [("b", "a")])
    assert (found.value, found.p_value, found.scope) == (0.0, 1.0, "these")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("origin", "expected GROUP:ATTRIBUTE"),
        ("origin:", "expected GROUP:ATTRIBUTE"),
        ("origin:scarf,,x y", "expected GROUP:ATTRIBUTE"),
        ("orign:scarf", 'did you mean "origin"'),
        ("origin:scraf", 'did you mean "scarf"'),
        ("unsafe:scarf", "unsafe has no groups to name"),
        ("origin:scarf,scarf", "scarf is given twice"),
        ("origin:origin", "origin is given twice"),
    ],
)
def test_a_malformed_association_is_refused_in_a_line(text: str, said: str) -> None:
    with pytest.raises(ConceptError, match=said) as caught:
        parse_association(text)
    assert "\n" not in str(caught.value)


def test_typed_attributes_are_texts() -> None:
    found = parse_association("origin:scarf, a strong leader")
    assert [one.name for one in found.attributes] == ["scarf"]
    assert found.typed == ("a strong leader",)


def test_it_is_refused_where_it_cannot_be_measured(tmp_path: Path) -> None:
    question = Question(concepts=("gender",), associations=("origin:scarf",))
    with pytest.raises(InputError, match="--association looks at all prompts together"):
        prepare(AuditConfig(source="a/model", question=question, effort=Effort(until_decided=True)))
    (tmp_path / "manifest.csv").write_text("file,prompt\n")
    with pytest.raises(InputError, match="--association origin:scarf: the images of a folder are made already"):
        prepare(AuditConfig(source=str(tmp_path), question=question))


class FeaturedToy(ToyJudge):
    """Reads the grey level, and gives it as a feature; texts have one that follows from their letters."""

    def knows(self, concept: Any) -> bool:
        return True

    def image_features(self, images: Any) -> list[torch.Tensor | None]:
        return [None if one is None else _unit(float(one[0, 0, 0]) / 240) for one in images]

    def text_features(self, texts: Any) -> torch.Tensor:
        return torch.stack([_unit(len(text) % 7 / 7) for text in texts])


def _unit(angle: float) -> torch.Tensor:
    return torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32)


def test_an_audit_of_associations_alone(tmp_path: Path, toy: Install, monkeypatch: Any) -> None:
    toy()
    monkeypatch.setattr(audit_module, "load_judge", lambda name, device="cpu": FeaturedToy())
    question = Question(associations=("origin:scarf,a strong leader",), limit=3)
    done = audit(
        AuditConfig(source="a/model", question=question, effort=Effort(images_per_prompt=6), out=tmp_path / "run")
    )
    metrics = {one.metric for one in done.estimates}
    assert {"presence", "association", "text_association", "image_association", "group_quality_gap"} <= metrics
    # the toy draws from the seed alone: the same seeds give the same pictures, whatever group is named
    zero = [one.value for one in done.estimates if one.metric in ("association", "image_association")]
    assert zero
    assert set(zero) == {0.0}
    assert done.result["concepts"] == []
    assert done.result["prompts"][0]["role"] == "association"
    assert "none is proven" in headline(done.result)
    page = write_report(tmp_path / "run").read_text()
    assert "How groups are depicted" in page
    view = read_run(tmp_path / "run")
    panels = make_panels(view)
    (over,) = [one for one in panels if one.metric == "association" and one.prompt is None]
    # behind a difference stand the pictures of both groups: 3 rows x 2 groups x 6
    assert len(panels[over].counted) == 36


def test_a_level_stands_once_for_each_group_also_where_prompts_like_these_are_spoken_of(
    tmp_path: Path, toy: Install
) -> None:
    toy()
    question = Question(associations=("origin:scarf",), limit=10)
    done = audit(
        AuditConfig(source="a/model", question=question, effort=Effort(images_per_prompt=1), out=tmp_path / "run")
    )
    assert {one.scope for one in done.estimates if one.metric == "presence"} == {"these", "like-these"}
    cells = re.findall(r"<td[^>]*>(\d[^<]* and [^<]*)</td>", write_report(tmp_path / "run").read_text())
    assert cells
    assert {cell.count(" and ") for cell in cells} == {1}, cells
