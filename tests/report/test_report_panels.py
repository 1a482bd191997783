"""A click on a number shows exactly the pictures that it counts."""

from __future__ import annotations

import json
from pathlib import Path

import ledgers
import pytest
from page_parser import embedded
from report_run import build_run, small_asks

from evenhand.records import Estimate
from evenhand.report.data import RunView, read_run
from evenhand.report.panels import Panel, make_panels


@pytest.fixture(scope="module")
def panels(view: RunView) -> dict[Estimate, Panel]:
    return make_panels(view)


def test_a_rate_counts_exactly_its_n_pictures_and_lists_its_hits_first(
    view: RunView, panels: dict[Estimate, Panel]
) -> None:
    by_number = {p.number: p for p in view.pictures}
    checked = 0
    for estimate, panel in panels.items():
        if estimate.prompt is None or estimate.class_name is None or estimate.value is None:
            continue
        assert estimate.concept is not None
        wanted = {p.number for p in view.pictures if p.row == estimate.prompt and p.label(estimate.concept) is not None}
        assert set(panel.counted) == wanted
        assert len(panel.counted) == estimate.n
        hits = [n for n in panel.counted if by_number[n].label(estimate.concept) == estimate.class_name]
        assert len(hits) / estimate.n == pytest.approx(estimate.value)
        assert list(panel.counted[: len(hits)]) == hits
        checked += 1
    assert checked == 2 * 2 + 2 * 3 + 2


def test_abstained_and_invalid_pictures_are_listed_apart(view: RunView, panels: dict[Estimate, Panel]) -> None:
    for estimate, panel in panels.items():
        if estimate.prompt is None:
            continue
        sizes = {g.kind: len(g.pictures) for g in panel.groups if g.kind != "counted"}
        lost = {"abstained": 1, "invalid": 1} if estimate.prompt == "nurse" else {"abstained": 1}
        assert sizes == lost
        assert sum(sizes.values()) == estimate.abstained


def test_a_number_over_prompts_counts_the_pictures_of_all_rows(view: RunView, panels: dict[Estimate, Panel]) -> None:
    over = next(e for e in panels if e.metric == "deviation" and e.concept == "gender")
    groups = [(g.title, g.kind, len(g.pictures)) for g in panels[over].groups]
    assert groups[:2] == [("nurse", "counted", 10), ("farmer", "counted", 11)]
    assert [size for _, kind, size in groups[2:]] == [2, 1]
    assert [kind for _, kind, _ in groups[2:]] == ["abstained", "invalid"]


def test_the_page_carries_the_same_lists(page: str, view: RunView) -> None:
    data = embedded(page)
    for panel in make_panels(view).values():
        title, number, note, concept, position = data["panels"][panel.identifier]
        assert (title, number, note, concept) == (panel.title, panel.number, panel.note, panel.concept)
        groups = [[g.title, g.kind, list(g.pictures)] for g in panel.groups]
        assert data["sets"][position] == groups


def test_labels_and_probabilities_of_every_verdict_are_on_the_page(page: str, view: RunView) -> None:
    for p, row in zip(view.pictures, embedded(page)["pictures"], strict=True):
        assert {name: v[0] for name, v in row[8].items()} == {name: v.label for name, v in p.verdicts.items()}
        assert {name: tuple(v[1]) for name, v in row[8].items()} == {n: v.probabilities for n, v in p.verdicts.items()}
        assert all(v[2] for v in row[8].values() if v[0] is None)  # an abstention has its reason


def test_success_counts_the_pictures_that_were_assigned_the_class(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1])
    ledgers.change(run, """UPDATE images SET assigned = iif("index" < 5, 'female', 'male')""")
    estimate = Estimate(
        metric="success", concept="gender", class_name="female", prompt="nurse", value=0.8, low=0.3, high=1.0, n=5
    )
    result = json.loads((run / "result.json").read_text()) | {"estimates": [estimate.to_dict()]}
    (run / "result.json").write_text(json.dumps(result))
    view = read_run(run)
    (panel,) = make_panels(view).values()
    assert sorted(view.pictures[n].index for n in panel.counted) == [0, 1, 2, 3, 4]


def test_two_sets_with_a_row_of_the_same_name_do_not_mix(tmp_path: Path) -> None:
    gender, _, unsafe = small_asks()
    other = type(unsafe)("unsafe", "contexts", ("safe", "unsafe"), {"nurse": (0.5, 0.5)}, "safety", "unsafe")
    view = read_run(build_run(tmp_path / "run", [gender, other]))
    for estimate, panel in make_panels(view).items():
        sets = {view.pictures[n].prompt_set for n in panel.counted}
        assert sets == {"occupations" if estimate.concept == "gender" else "contexts"}


def test_a_result_that_disagrees_with_the_files_says_so(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1])
    ledgers.change(run, "DELETE FROM verdicts WHERE image = 1")
    view = read_run(run)
    share = next(e for e in view.reading.estimates if e.metric == "share" and e.prompt == "nurse")
    assert "the result counts 12, the files of this run hold 11" in make_panels(view)[share].note
