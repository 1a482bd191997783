"""The page: complete, one file, well formed, safe, the same for the same run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import ledgers
import pytest
from page_parser import embedded, parse
from PIL import Image
from report_run import Ask, build_run, small_asks

from evenhand.errors import StorageError
from evenhand.records import Estimate
from evenhand.report import write_report
from evenhand.report.build import render_report
from evenhand.report.data import RunView, read_run
from evenhand.report.thumbnails import data_uri
from evenhand.report.words import interval_text, sample_size, value_text

HOSTILE = "<script>alert(1)</script>&\"'</script>"


def test_the_page_is_well_formed_and_ids_are_unique(page: str) -> None:
    tree = parse(page)
    ids = [node.attributes["id"] for node in tree.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    assert [node.tag for node in tree.children] == ["html"]


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert "@import" not in page
    tree = parse(page)
    assert not tree.find("link")
    assert not tree.find("iframe")
    assert all(not node.attributes.get("src") for node in tree.find("script"))
    assert all((node.attributes["src"] or "").startswith("data:image/") for node in tree.find("img"))
    (policy,) = (n.attributes["content"] for n in tree.find("meta") if "http-equiv" in n.attributes)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy


def test_every_link_leads_somewhere_on_the_page(page: str) -> None:
    tree = parse(page)
    ids = {node.attributes.get("id") for node in tree.walk()}
    links = [node.attributes["href"] or "" for node in tree.find("a")]
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)


def test_every_number_stands_with_interval_and_n_and_opens_its_panel(page: str, view: RunView) -> None:
    tree = parse(page)
    rows = [tr for table in tree.find("details", class_="numbers") for tr in table.find("tbody")[0].find("tr")]
    cells = [[cell.text for cell in tr.children] for tr in rows]
    panels = embedded(page)["panels"]
    assert len(cells) == len(view.reading.estimates)
    for estimate in view.reading.estimates:
        wanted = [value_text(estimate), interval_text(estimate), sample_size(estimate).removeprefix("n\u00a0= ")]
        assert [re.sub(r"\s", " ", text) for text in wanted] in [row[3:6] for row in cells]
    for tr in rows:
        (link,) = tr.find("a", class_="num")
        identifier = (link.attributes["href"] or "").removeprefix("#")
        assert panels[identifier][1].startswith(link.texts[0])


def test_every_plotted_value_carries_its_interval_and_size(page: str) -> None:
    values = parse(page).find("span", class_="value")
    assert len(values) == 2 + 2 * 3 + 2  # two rows of gender, of skin with three classes each, of unsafe
    for value in values:
        assert value.find("span", class_="ci")[0].text
        assert re.fullmatch(r"\d+ of \d+", value.find("span", class_="n")[0].text)


def test_the_sections_stand_in_their_order(page: str) -> None:
    names = [node.attributes.get("id") for node in parse(page).find("section")]
    assert names == ["c-gender", "c-skin", "c-unsafe", "pictures", "measured", "cost"]


def test_exactly_the_unsafe_and_the_unjudged_pictures_are_blurred(page: str, view: RunView) -> None:
    tree = parse(page)
    veiled = {
        int((figure.attributes["id"] or "i-1")[1:])
        for figure in tree.find("figure")
        if figure.find("label", class_="veiled")
    }
    # battle: 9 of 12 drawn unsafe; the last image of battle and of picnic is abstained on, which is never clean
    wanted = {p.number for p in view.pictures if p.prompt_set == "contexts" and p.label("unsafe") in ("unsafe", None)}
    assert len(wanted) in (10, 11)
    assert veiled == wanted
    for label in tree.find("label", class_="veiled"):
        (box,) = label.find("input", type="checkbox")  # works without scripts, and with a keyboard
        assert box.attributes["aria-label"]
    assert len(tree.find("input", class_="show-all")) == 1


def test_without_a_safety_concept_nothing_is_blurred(tmp_path: Path) -> None:
    tree = parse(write_report(build_run(tmp_path / "run", small_asks()[:2])).read_text())
    assert not tree.find("label", class_="veiled")
    assert not tree.find("input", class_="show-all")


def test_each_picture_is_captioned_with_prompt_seed_and_verdicts(page: str, view: RunView) -> None:
    figures = {node.attributes["id"]: node for node in parse(page).find("figure")}
    assert len(figures) == len(view.pictures) == 48
    for p in view.pictures:
        text = figures[f"i{p.number}"].text
        assert p.prompt in text
        assert f"seed {p.seed}" in text
        labels = [verdict.label for verdict in p.verdicts.values() if verdict.label is not None]
        assert all(label in text for label in labels)
        assert ("abstained" in text) == (p.valid and not labels)
        assert ("NaN" in text) == (not p.valid)


def test_only_the_first_grid_is_open(page: str) -> None:
    grids = parse(page).find("details", class_="pictures")
    assert ["open" in node.attributes for node in grids] == [True, False, False, False]


def test_text_of_the_run_is_never_markup(tmp_path: Path) -> None:
    asks = [Ask(HOSTILE, HOSTILE.replace("/", ""), (HOSTILE, "b"), {HOSTILE.replace("/", ""): (0.5, 0.5)})]
    run = build_run(tmp_path / "run", asks, images=4, model=HOSTILE)
    facts = json.loads((run / "run.json").read_text()) | {"command": HOSTILE, "model": {"name": HOSTILE}}
    (run / "run.json").write_text(json.dumps(facts))
    page = write_report(run).read_text()
    tree = parse(page)
    assert len(tree.find("script")) == 2  # the data and the page's own
    assert "<script>alert" not in page
    assert tree.find("pre")[0].text == HOSTILE
    assert embedded(page)["pictures"][0][0] == HOSTILE.replace("/", "")


def test_the_data_block_cannot_be_closed_from_inside(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", [Ask("a", "s", ("</script>", "<!--"), {"r": (0.5, 0.5)})], images=2)
    page = write_report(run).read_text()
    (block,) = re.findall(r'id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert "<" not in block
    assert embedded(page)["classes"] == {"a": ["</script>", "<!--"]}


def test_seeds_keep_all_their_63_bits(page: str, view: RunView) -> None:
    assert [row[2] for row in embedded(page)["pictures"]] == [str(p.seed) for p in view.pictures]
    assert max(p.seed for p in view.pictures) > 2**53  # more than a script's numbers hold


def test_equal_runs_give_equal_bytes(small_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_run, tmp_path / "copy"))
    assert write_report(copy).read_bytes() == write_report(small_run).read_bytes()
    assert write_report(copy).read_bytes() == write_report(copy).read_bytes()


def test_nothing_but_the_page_is_left_behind(small_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_run, tmp_path / "copy"))
    before = {path.name for path in copy.iterdir()} | {"report.html"}
    assert write_report(copy) == copy / "report.html"
    assert {path.name for path in copy.iterdir()} == before


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(small_run, tmp_path / "copy"))
    old = write_report(copy).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StorageError, match=r"report\.html"):
        write_report(copy)
    assert (copy / "report.html").read_bytes() == old


def test_pictures_over_the_cap_stay_in_the_run_directory(small_run: Path) -> None:
    page = render_report(read_run(small_run), images_per_row=5)
    tree = parse(page)
    assert len(tree.find("img")) == 4 * 5
    notes = [node.text for node in tree.find("details", class_="pictures")]
    assert all("of 12 pictures are embedded" in text for text in notes)
    pictures = embedded(page)["pictures"]
    assert sum(row[6] for row in pictures) == 4 * 5
    assert all(row[5].startswith("images/") for row in pictures if row[5])  # the panels still list every picture


def test_missing_broken_and_foreign_files_are_said_to_be_so(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1], images=3)
    lines = ledgers.lines(run)
    (run / lines[0]["file"]).unlink()
    (run / lines[1]["file"]).write_bytes(b"no image")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    ledgers.change(run, "UPDATE images SET sha256 = 'ab/../../secret' WHERE number = 3")
    tree = parse(write_report(run).read_text())
    assert len(tree.find("img")) == 3
    assert [n.text for n in tree.find("div", class_="missing")] == ["the file is missing or broken"] * 3


def test_small_images_are_exact_and_large_ones_small(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (200, 10, 30)).save(tmp_path / "small.png")
    Image.effect_noise((1024, 768), 80).convert("RGB").save(tmp_path / "large.png")
    small, large = data_uri(tmp_path, "small.png"), data_uri(tmp_path, "large.png")
    assert small is not None
    assert small.startswith("data:image/png;base64,")
    assert large is not None
    assert large.startswith("data:image/webp;base64,")
    assert len(large) < 100_000


def test_estimates_without_a_value_show_a_dash_and_the_reason(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1], images=3, abstain=3)
    page = write_report(run).read_text()
    tree = parse(page)
    values = tree.find("span", class_="value")
    assert [value.find("a")[0].text for value in values] == ["–", "–"]
    assert all("the judge abstained on all 3 pictures" in value.text for value in values)
    assert not tree.find("a", class_="dot")
    assert "nan" not in page.lower().replace("nan or infinity", "")


def test_a_concept_without_any_estimate_is_said_to_have_none(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1], images=2, estimates=[])
    (section,) = [n for n in parse(write_report(run).read_text()).find("section") if n.attributes["id"] == "c-gender"]
    assert "no number" in section.text


def test_a_run_without_pictures_still_gives_a_page(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1], images=2)
    ledgers.change(run, "DELETE FROM verdicts", "DELETE FROM images")
    assert parse(write_report(run).read_text()).find("h1")


def test_method_names_judge_seeds_margin_left_out_and_what_a_class_is(page: str) -> None:
    (section,) = [n for n in parse(page).find("section") if n.attributes.get("id") == "measured"]
    for text in (
        "Classes are what a judge perceives, never who someone is.",
        "StableDiffusionPipeline",
        "cd" * 32,
        "run seed 0",
        "± 10 points",
        "chemist, clerk",
        "i.i.d.",
        "Wilson",
        "Clopper-Pearson",
    ):
        assert text in section.text


def test_the_confusion_matrix_of_the_judge_has_headings(page: str) -> None:
    (section,) = [n for n in parse(page).find("section") if n.attributes.get("id") == "measured"]
    rows = [[cell.text for cell in tr.children] for tr in section.find("table")[0].find("tr")]
    assert rows == [
        ["true / perceived", "female", "male", "abstained"],
        ["female", "0.99", "0.01", "0"],
        ["male", "0.01", "0.98", "0.01"],
    ]


def test_abstentions_come_with_worst_case_bounds(page: str, view: RunView) -> None:
    (section,) = [n for n in parse(page).find("section") if n.attributes.get("id") == "measured"]
    rows = [[cell.text for cell in tr.children] for tr in section.find("table")[-1].find("tr")]
    assert rows[0] == ["concept", "prompt", "pictures", "abstained", "invalid", "worst-case bounds"]
    # nurse: 12 pictures, 1 invalid, 1 abstained; of the other ten k are female: k / 12 to (k + 2) / 12
    nurse = next(row for row in rows if row[:2] == ["gender", "nurse"])
    k = sum(p.label("gender") == "female" for p in view.pictures if p.row == "nurse")
    assert nurse[2:5] == ["12", "1", "1"]
    assert nurse[5].startswith(f"female {k / 12:.0%} to {(k + 2) / 12:.0%}; male".replace("%", " %"))


def test_warnings_name_small_samples_broken_pictures_and_circular_judges(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1], invalid=1)
    result = json.loads((run / "result.json").read_text())
    result["estimates"][0]["circular"] = True
    (run / "result.json").write_text(json.dumps(result))
    warnings = " ".join(node.text for node in parse(write_report(run).read_text()).find("p", class_="warning"))
    assert "cannot be reached with 12 pictures per prompt" in warnings
    assert "271 for gender" in warnings
    assert "1 of 24 requests" in warnings
    assert "Circular" in warnings


@pytest.mark.parametrize(
    ("judge", "loud"),
    [
        ({"name": "labels of the manifest"}, False),
        ({"hash": "1"}, True),
        ({"hash": "1", "confusion": {"skin": [[9, 1, 0, 0]] * 3}}, True),
        ({"hash": "1", "confusion": {"gender": [[9, 1, 0], [0, 9, 1]]}}, False),
    ],
)
def test_a_judge_whose_errors_nobody_measured_is_named_loudly(
    tmp_path: Path, judge: dict[str, Any], loud: bool
) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1], judge=judge)
    lines = [node.text for node in parse(write_report(run).read_text()).find("p", class_="warning")]
    assert any("Uncorrected" in line and "gender" in line for line in lines) == loud


def test_cost_and_the_exact_command(page: str) -> None:
    (section,) = [n for n in parse(page).find("section") if n.attributes.get("id") == "cost"]
    assert [cell.text for cell in section.find("tbody")[0].find("td")] == ["plain", "48", "2,400", "88.4", "0.5"]
    assert section.find("code")[0].text.startswith("evenhand audit skewville --concept gender")


def test_measures_of_no_concept_have_their_own_section(tmp_path: Path) -> None:
    extra = [
        Estimate(metric="recognised", concept="row of occupations", prompt=row, value=0.75, low=0.5, high=0.9, n=12)
        for row in ("nurse", "farmer")
    ]
    run = build_run(tmp_path / "run", small_asks()[:1])
    result = json.loads((run / "result.json").read_text())
    result["estimates"] += [estimate.to_dict() for estimate in extra]
    (run / "result.json").write_text(json.dumps(result))
    (section,) = [n for n in parse(write_report(run).read_text()).find("section") if n.attributes["id"] == "others"]
    assert [node.text for node in section.find("span", class_="label")] == ["nurse", "farmer"]
    assert "9 of 12" in section.text


def test_pictures_that_no_worker_could_make_are_said_at_the_head(tmp_path: Path) -> None:
    images = [{"row": "nurse", "index": k, "seed": k} for k in range(4)]
    unit = {"unit": "u", "intervention": None, "set": "occupations", "images": images, "tries": 3, "error": "Oops: no"}
    run = build_run(tmp_path / "run", small_asks()[:1], images=3, quarantined=[unit])
    page = write_report(run).read_text()
    assert "4 pictures could not be made: 1 unit of work failed 3 times each (the last: Oops: no)." in page
