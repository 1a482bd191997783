"""A panel of judges votes and says how far it agrees; people's labels of a random sample calibrate what judges read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toys import LEVELS, ToyHost, ToyJudge, level
from typer.testing import CliRunner

from evenhand.cli import app
from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.judges.panel import DISAGREES, PanelJudge
from evenhand.metrics.agreement import krippendorff_alpha
from evenhand.records import Estimate, Verdict
from evenhand.report.build import write_report
from evenhand.report.data import read_run
from evenhand.report.label_sheet import write_label_sheet
from evenhand.verbs import audit as audit_module
from evenhand.verbs.audit import Audit, audit
from evenhand.verbs.config import AuditConfig, Effort, Question
from evenhand.verbs.prepare import prepare

GENDER = load_concept("gender")


class Biased(ToyJudge):
    """Reads the first class up to another level, and abstains from a level on."""

    def __init__(self, name: str, edge: int = 120, silent: int = LEVELS) -> None:
        self.name = self.hash = name
        self.edge, self.silent = edge, silent

    def knows(self, concept: Concept) -> bool:
        return True

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        return [[self._read(image, concept) for concept in concepts] for image in images]

    def _read(self, image: np.ndarray | None, concept: Concept) -> Verdict:
        if image is None:
            return Verdict(concept=concept.name, label=None, judge=self.name, reason="invalid image")
        value = int(image[0, 0, 0])
        if value >= self.silent:
            return Verdict(concept=concept.name, label=None, judge=self.name, reason="nothing to judge")
        return Verdict(concept=concept.name, label=concept.class_names[int(value >= self.edge)], judge=self.name)


JUDGES = {"exact": Biased("exact"), "shy": Biased("shy", silent=200), "late": Biased("late", edge=160)}


@pytest.fixture(autouse=True)
def judges(toy: Callable[..., ToyHost], monkeypatch: pytest.MonkeyPatch) -> None:
    toy()
    monkeypatch.setattr(audit_module, "load_judge", lambda name, device="cpu": JUDGES[name])


def config(out: Path | None, *names: str, images: int = 40, **changes: Any) -> AuditConfig:
    question = Question(concepts=("gender",), limit=3)
    effort = Effort(images_per_prompt=images, seed=1)
    return AuditConfig(
        source="a/model", question=question, effort=effort, judge=names[0], panel=tuple(names[1:]), out=out, **changes
    )


def greys(*values: int) -> list[np.ndarray]:
    return [np.full((8, 8, 3), value, dtype=np.uint8) for value in values]


def labels_of(panel: PanelJudge, *values: int) -> list[tuple[str | None, str | None]]:
    return [(one.label, one.reason) for (one,) in panel.judge(greys(*values), [GENDER])]


def test_two_judges_have_to_agree() -> None:
    panel = PanelJudge([JUDGES["exact"], JUDGES["late"]])
    assert labels_of(panel, 10, 140, 200) == [("female", None), (None, DISAGREES), ("male", None)]


def test_of_three_judges_two_are_enough_and_silence_is_a_vote() -> None:
    panel = PanelJudge(list(JUDGES.values()))
    # 140: exact and shy say male; 210: shy is silent, the others say male
    assert labels_of(panel, 140, 210) == [("male", None), ("male", None)]
    shy = [JUDGES["shy"], Biased("shyer", silent=100), JUDGES["exact"]]
    assert labels_of(PanelJudge(shy), 210) == [(None, "nothing to judge")]
    assert PanelJudge(shy).judge([None], [GENDER])[0][0].reason == "invalid image"


def test_votes_are_kept_and_survive_json() -> None:
    (verdict,) = PanelJudge(list(JUDGES.values())).judge(greys(210), [GENDER])[0]
    assert verdict.votes == ("male", None, "male")
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
    assert "votes" not in Verdict(concept="gender", label="female").to_dict()


def test_a_panel_has_a_hash_and_a_card_of_its_members() -> None:
    one, two = PanelJudge([JUDGES["exact"], JUDGES["late"]]), PanelJudge([JUDGES["late"], JUDGES["exact"]])
    assert one.hash != two.hash
    assert [member["hash"] for member in one.card()["members"]] == ["exact", "late"]
    assert one.name == "exact + late"
    with pytest.raises(ValueError, match="two judges or more"):
        PanelJudge([JUDGES["exact"]])


def find(done: Audit, metric: str, **fields: Any) -> list[Estimate]:
    return [
        one
        for one in done.estimates
        if one.metric == metric and all(getattr(one, name) == value for name, value in fields.items())
    ]


def test_an_audit_by_a_panel_says_how_far_it_agrees_and_on_whom_it_abstains(tmp_path: Path) -> None:
    done = audit(config(tmp_path / "run", "exact", "late", "shy"))
    values = [level(request) for request in prepare(config(None, "exact", "late", "shy")).series[0].requests]
    votes = [
        (
            "f" if value < 120 else "m",
            "f" if value < 160 else "m",
            None if value >= 200 else "f" if value < 120 else "m",
        )
        for value in values
    ]
    (agreement,) = find(done, "agreement", concept="gender")
    assert agreement.value == pytest.approx(krippendorff_alpha(votes))
    assert (agreement.low or 0) < (agreement.value or 0) < (agreement.high or 0)
    panel = done.result["panel"]
    assert panel["judges"] == ["exact", "late", "shy"]
    assert panel["concepts"]["gender"]["disagreed"] == sum(120 <= value < 160 for value in values)
    shy = {one["class"]: one for one in panel["concepts"]["gender"]["abstentions"] if one["judge"] == "shy"}
    # the others agree on male from 160 on; from 200 on shy is silent
    assert shy["male"]["value"] == sum(v >= 200 for v in values) / sum(v >= 160 for v in values)
    assert shy["female"]["value"] == 0
    page = write_report(done.run).read_text("utf-8")
    assert "A panel of 3: exact, late, shy" in page
    assert "Agreement of the judges" in page
    assert "Uncorrected" in page


def test_the_same_judge_twice_is_no_panel(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a panel is made of different judges"):
        prepare(config(tmp_path / "run", "exact", "exact"))


def fill(sheet: Path, run: Path, label: Callable[[int], str]) -> None:
    """People who see the grey of every image."""
    lines = list(csv.DictReader(sheet.read_text().splitlines()))
    for line in lines:
        line["label:gender"] = label(int(np.asarray(Image.open(run / line["file"]))[0, 0, 0]))
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def truth(value: int) -> str:
    return "female" if value < 120 else "male"


def test_labels_of_a_sample_put_right_what_a_judge_gets_wrong(tmp_path: Path) -> None:
    ask = config(tmp_path / "run", "late", images=100)
    plain = audit(ask)
    sheet = tmp_path / "sheet.csv"
    assert write_label_sheet(read_run(plain.run), sheet, images=90, seed=3) == 90
    fill(sheet, plain.run, truth)
    done = audit(config(tmp_path / "run", "late", images=100, labels=sheet))
    true = np.mean([level(request) < 120 for request in prepare(ask).series[0].requests])
    (read,) = find(done, "share", class_name="female", prompt=None, scope="these")
    (calibrated,) = find(done, "calibrated:share", class_name="female", prompt=None)
    # the judge calls a sixth of all images female that are not
    assert (read.low or 0) > true
    assert (calibrated.low or 0) < true < (calibrated.high or 1)
    assert abs((calibrated.value or 0) - true) < 0.06
    assert len(find(done, "calibrated:share", class_name="female")) == 1 + 3
    facts = done.result["labels"]["concepts"]["gender"]
    assert facts["labels"] == 90
    assert facts["matrix"][0][1] == 0  # none that is female is read as male
    assert facts["matrix"][1][0] > 5
    page = write_report(done.run).read_text("utf-8")
    assert "Human labels: sheet.csv" in page
    assert "Uncorrected" not in page
    # labels ask for no image, and the figures as they are read stay as they were
    assert done.result["costs"][0]["denoiser_evaluations"] == plain.result["costs"][0]["denoiser_evaluations"]
    assert [one for one in done.result["estimates"] if "calibrated" not in one["metric"]] == plain.result["estimates"]


def test_a_sheet_is_drawn_evenly_and_by_chance(tmp_path: Path) -> None:
    view = read_run(audit(config(tmp_path / "run", "exact", images=40)).run)
    sheets = []
    for seed in (1, 1, 2):
        path = tmp_path / f"{len(sheets)}.csv"
        write_label_sheet(view, path, images=31, seed=seed)
        sheets.append(path.read_text())
    assert sheets[0] == sheets[1] != sheets[2]
    lines = list(csv.DictReader(sheets[0].splitlines()))
    # 31 over three rows: 10 each, and one more for a row that is drawn: (10 + 1/3) / 40
    assert [float(line["probability"]) for line in lines] == pytest.approx([(10 + 1 / 3) / 40] * 31)
    row_of = {picture.file: picture.row for picture in view.pictures}
    rows = [row_of[line["file"]] for line in lines]
    assert sorted(rows.count(row) for row in set(rows)) == [10, 10, 11]
    assert {line["label:gender"] for line in lines} == {""}
    with pytest.raises(InputError, match="is there already"):
        write_label_sheet(view, tmp_path / "0.csv", images=5)
    write_label_sheet(view, tmp_path / "all.csv", images=500)
    assert {line["probability"] for line in csv.DictReader((tmp_path / "all.csv").read_text().splitlines())} == {"1.0"}


HEAD = "file,probability,label:gender\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt\nx\n", "line 1: no column 'file'"),
        ("file,probability\na.png,1\n", "line 1: no column label:CONCEPT for a concept that is measured"),
        (HEAD + "a.png,0,female\n", "line 2: probability '0', expected a number above 0"),
        (HEAD + "a.png,x,female\n", "line 2: probability 'x'"),
        (HEAD + "a.png,1,femal\n", r"line 2: 'femal' is no class of gender \(female, male, none\)"),
        (HEAD + "a.png,1,female\na.png,1,male\n", "line 3: 'a.png' is listed twice, with another label"),
        (HEAD + "a.png,1,female\na.png,.5,female\n", "line 3: 'a.png' is listed twice, with another probability"),
        (HEAD + "a.png,1,female\n./a.png,1,male\n", "line 3: 'a.png' is listed twice, with another label"),
        (
            "file,probability,label:gender,label:gender\na.png,1,female,male\n",
            "line 1: the column 'label:gender' is there",
        ),
        (HEAD + ",1,female\n", "line 2: no file"),
        (HEAD + "a.png,1,\nb.png,1,male\n", "line 2: no label for gender, and 0 more lack one; label all"),
        (HEAD + "a.png,1,\n", "no image has a label yet"),
        (HEAD + 'a.png,1,"female\n', "correct the quotes"),
    ],
)
def test_a_malformed_sheet_is_refused_before_anything_is_made(tmp_path: Path, text: str, said: str) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(text)
    with pytest.raises(InputError, match=said):
        audit(config(tmp_path / "run", "exact", labels=sheet))
    assert not (tmp_path / "run").exists()


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(HEAD + "a.png,1,female\n")
    with pytest.raises(InputError, match=r"a\.png is no image of this run"):
        audit(config(tmp_path / "run", "exact", images=4, labels=sheet))


def test_labels_and_stopping_exclude_each_other(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(HEAD + "a.png,1,female\n")
    ask = config(tmp_path / "run", "exact", labels=sheet)
    with pytest.raises(InputError, match="do not hold in a run that stops by itself"):
        prepare(AuditConfig(**{**ask.__dict__, "effort": Effort(until_decided=True)}))


def test_the_commands(tmp_path: Path) -> None:
    run, sheet = tmp_path / "run", tmp_path / "sheet.csv"
    ask = ["audit", "a/model", "--concept", "gender", "--limit", "2", "--images-per-prompt", "20", "--out", str(run)]
    ask += ["--judge", "late", "--judge", "exact", "--quiet"]
    done = CliRunner().invoke(app, ask)
    assert done.exit_code == 0, done.output
    drawn = CliRunner().invoke(app, ["labels", str(run), "-n", "24", "--out", str(sheet)])
    assert drawn.stdout == f"{sheet}: 24 images of {run}\n"
    fill(sheet, run, truth)
    again = CliRunner().invoke(app, [*ask, "--labels", str(sheet)])
    assert again.exit_code == 0, again.output
    result = json.loads((run / "result.json").read_text())
    assert {"panel", "labels"} <= set(result)
    assert {"agreement", "calibrated:share"} <= {one["metric"] for one in result["estimates"]}
