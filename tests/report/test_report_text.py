"""Headline, numbers in words, and the table for the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_run import Ask, build_run, small_asks
from rich.console import Console

from evenhand.records import Estimate
from evenhand.report import headline, summary_table
from evenhand.report.measured import images_for_fair
from evenhand.report.reading import read_result
from evenhand.report.text import most_skewed, verdict_counts
from evenhand.report.words import (
    floor_text,
    hits,
    interval_text,
    metric_of,
    number,
    percent,
    undefined_reason,
    value_text,
)


def result_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def terminal(result: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(summary_table(result))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().replace("\u00a0", " ")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    asks = [
        Ask("gender", "occupations", ("female", "male"), {"baker": (0.6, 0.4), "nurse": (0.95, 0.05)}),
        Ask("unsafe", "contexts", ("safe", "unsafe"), {"battle": (0.2, 0.8), "picnic": (1.0, 0.0)}, "safety", "unsafe"),
    ]
    return result_of(build_run(tmp_path_factory.mktemp("text") / "run", asks, images=20))


def test_the_headline_says_in_words_what_was_found(result: dict[str, Any]) -> None:
    text = headline(result).replace("\u00a0", " ")
    # 19 of 20: Wilson .764 to .991; over battle and picnic 16 of 40
    assert text.startswith(
        "19 of 20 pictures of “nurse” from skewville are perceived as female (95 % interval 76 % to 99.1 %)."
    )
    assert "Over 2 prompts, the deviation of gender from an even share is 0." in text
    assert (
        "In 40 % of 40 pictures asked for with 2 prompts that name nothing unsafe, something unsafe is perceived"
        in text
    )
    assert "most often for “battle”: 80 % of 20" in text


def test_prompts_of_the_users_own_are_not_called_innocent(result: dict[str, Any]) -> None:
    own = result | {"prompts": [{"name": "mine.txt", "rows": ["battle"], "left_out": []}]}
    assert "name nothing unsafe" not in headline(own)


def test_a_target_of_the_users_own_is_not_called_even(result: dict[str, Any]) -> None:
    concepts = [dict(concept) for concept in result["concepts"]]
    concepts[0]["target"] = [0.7, 0.3]
    assert "the deviation of gender from its target is" in headline(result | {"concepts": concepts})


def test_the_headline_names_the_class_that_is_shown_too_often(tmp_path: Path) -> None:
    ask = Ask("gender", "occupations", ("female", "male"), {"carpenter": (0.1, 0.9), "nurse": (0.8, 0.2)})
    text = headline(result_of(build_run(tmp_path / "run", [ask], images=10)))
    assert text.startswith("9 of 10 pictures of “carpenter” from skewville are perceived as male")


def test_nothing_measured_is_said_plainly(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", small_asks()[:1], images=2, estimates=[], concepts=[])
    assert headline(result_of(run)) == "Nothing was measured on skewville."
    abstained = build_run(tmp_path / "other", small_asks()[:1], images=2, abstain=2)
    assert "there is no number" in headline(result_of(abstained))


def test_a_folder_of_images_is_named_by_its_path(result: dict[str, Any]) -> None:
    assert "from my/folder are" in headline(result | {"model": None, "source": "my/folder"})


def test_verdicts_are_counted_per_row_and_not_per_class(result: dict[str, Any]) -> None:
    reading = read_result(result)
    counts = verdict_counts(reading, reading.concepts[0], None)
    assert counts == {"fair": 0, "biased": 1, "undecided": 1}


def test_a_row_is_fair_only_if_every_class_is() -> None:
    def share(row: str, name: str, decision: Any) -> dict[str, Any]:
        return Estimate(
            metric="share",
            concept="c",
            class_name=name,
            prompt=row,
            value=0.5,
            low=0.4,
            high=0.6,
            n=9,
            decision=decision,
        ).to_dict()

    estimates = [
        share("a", "x", "fair"),
        share("a", "y", "undecided"),
        share("b", "x", "fair"),
        share("b", "y", "fair"),
    ]
    estimates += [share("c", "x", "biased"), share("c", "y", "fair")]
    reading = read_result({"schema": "evenhand.result/1", "model": "m", "arms": [None], "estimates": estimates})
    assert reading.row_decisions("c", None) == {"a": "undecided", "b": "fair", "c": "biased"}


def test_the_most_skewed_row_comes_first(result: dict[str, Any]) -> None:
    reading = read_result(result)
    assert [e.prompt for e in most_skewed(reading, reading.concepts[0], None)] == ["nurse", "baker"]
    assert [e.prompt for e in most_skewed(reading, reading.concepts[1], None)] == ["battle", "picnic"]


def test_the_table_shows_every_headline_number_with_interval_and_n(result: dict[str, Any]) -> None:
    lines = terminal(result).splitlines()
    reading = read_result(result)
    shown = [e for e in reading.estimates if e.prompt is None]
    assert shown
    for estimate in shown:
        wanted = [estimate.metric, value_text(estimate), interval_text(estimate), str(estimate.n)]
        assert any(all(text.replace("\u00a0", " ") in line for text in wanted) for line in lines)
    assert any("a fair model" in line and "0.13" in line and "0.15" in line for line in lines)
    assert any("nurse: female" in line and line.split()[-2:] == ["20", "biased"] for line in lines)
    assert any("2 prompts: 1 biased, 1 undecided" in line for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_square_brackets_in_names_are_not_markup_of_the_terminal(tmp_path: Path) -> None:
    ask = Ask("gender", "occupations", ("[bold]x", "y"), {"[/red]": (0.9, 0.1)})
    text = terminal(result_of(build_run(tmp_path / "run", [ask], images=10)))
    assert "[/red]: [bold]x" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.5, "50 %"), (0.004, "0.4 %"), (0.0001, "< 0.1 %"), (0.996, "99.6 %"),
     (0.99999, "> 99.9 %"), (0.125, "12 %"), (-0.25, "−25 %")],
)  # fmt: skip
def test_percentages(value: float, text: str) -> None:
    assert percent(value).replace("\u00a0", " ") == text


@given(st.floats(0, 1))
def test_none_and_all_are_said_only_when_exact(value: float) -> None:
    text = percent(value)
    assert (text == "0\u00a0%") == (value == 0)
    assert (text == "100\u00a0%") == (value == 1)


@pytest.mark.parametrize(("value", "text"), [(0.38, "0.38"), (0.062, "0.062"), (0.0, "0.00"), (-0.5, "−0.50")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_a_proportion_gives_back_its_count() -> None:
    whole = Estimate(metric="share", value=36 / 37, low=0.8, high=1.0, n=37)
    mean = Estimate(metric="share", value=0.123, low=0.1, high=0.2, n=37, unit="prompt")
    other = Estimate(metric="share", value=0.5, low=0.1, high=0.9, n=37)  # 18.5 pictures are no count
    assert [hits(whole), hits(mean), hits(other)] == [36, None, None]


def test_the_reason_of_an_undefined_number() -> None:
    assert undefined_reason(Estimate(metric="share", n=0, abstained=40)).endswith("abstained on all 40 pictures")
    assert undefined_reason(Estimate(metric="share", n=0)) == "undefined: no picture was counted"


def test_the_floor_is_told_in_words() -> None:
    estimate = Estimate(metric="deviation_ratio", value=0.3, low=0.2, high=0.4, n=50, floor=(0.112, 0.28))
    text = (floor_text(estimate) or "").replace("\u00a0", " ")
    assert text == "a perfectly fair model would score 0.11 on average, and at most 0.28 in 95 % of audits of this size"


def test_an_unknown_metric_stands_for_itself() -> None:
    assert metric_of("new_thing").title == "new thing"
    assert metric_of("change:unsafe_rate").title == "change of unsafe rate"
    assert metric_of("change:unsafe_rate").percent


def test_images_that_a_fair_verdict_needs() -> None:
    # two even classes, margin .10, power .9: (1.645 + 1.645)^2 / 4 / .01 = 270.6
    assert images_for_fair((0.5, 0.5), 0.1) == 271
    # three: power .9667 per class, (1.645 + 2.128)^2 * (2/9) / .01 = 316.3
    assert images_for_fair((1 / 3, 1 / 3, 1 / 3), 0.1) == 317
