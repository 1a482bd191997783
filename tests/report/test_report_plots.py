"""The plots: every mark lies where its number says."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_parser import Node, parse
from report_run import Ask, build_run, wilson

from evenhand.report import write_report

SHARES = {"low": (0.1, 0.9), "even": (0.5, 0.5), "high": (0.8, 0.2)}


def section(page: str, name: str) -> Node:
    return next(node for node in parse(page).find("section") if node.attributes["id"] == name)


def lines(node: Node, kind: str) -> list[tuple[str | None, str | None]]:
    return [(line.attributes["x1"], line.attributes["x2"]) for line in node.find("line", class_=kind)]


def at(share: float) -> str:
    return f"{share * 100:.2f}%"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Node:
    ask = Ask("gender", "occupations", ("female", "male"), SHARES)
    return section(
        write_report(build_run(tmp_path_factory.mktemp("plot") / "run", [ask], images=20)).read_text(), "c-gender"
    )


def test_rows_are_sorted_by_the_share_of_the_first_class(two: Node) -> None:
    assert [node.text for node in two.find("span", class_="label")] == ["high", "even", "low"]


def test_dot_and_interval_lie_at_value_and_bounds(two: Node) -> None:
    dots = two.find("a", class_="dot")
    for dot, k in zip(dots, (16, 10, 2), strict=True):
        low, high = wilson(k, 20)
        assert [svg.attributes["x"] for svg in dot.find("svg")] == [at(k / 20)]
        assert lines(dot, "bar") == [(at(low), at(high))]
        assert lines(dot, "hit") == lines(dot, "bar")
        assert f"{k / 20:.0%}".replace("%", "") in dot.find("title")[0].text


def test_dot_and_number_open_the_same_panel(two: Node) -> None:
    rows = [row for row in two.find("li", class_="row") if row.find("a")]
    assert len(rows) == 3
    for row in rows:
        (dot,), (number,) = row.find("a", class_="dot"), row.find("a", class_="num")
        assert dot.attributes["href"] == number.attributes["href"]
        assert dot.attributes["tabindex"] == "-1"  # the number is the keyboard's way to it


def test_target_margin_and_fair_range(two: Node) -> None:
    # the fixture's floor has the 95 % quantile 2 / sqrt(20) = .447: a ratio of .447 is a share of .5 +- .447 / 2
    fair = 2 / 20**0.5 / 2
    for track in two.find("svg", class_="track"):
        assert lines(track, "target") == [(at(0.5), at(0.5))]
        assert [(r.attributes["x"], r.attributes["width"]) for r in track.find("rect")] == [(at(0.4), at(0.2))]
        assert lines(track, "fair") == [(at(0.5 - fair),) * 2, (at(0.5 + fair),) * 2]


def test_more_than_two_classes_have_a_lane_and_a_shape_each(tmp_path: Path) -> None:
    ask = Ask("skin", "occupations", ("light", "medium", "dark"), {"a": (0.4, 0.3, 0.3), "b": (0.1, 0.1, 0.8)})
    node = section(write_report(build_run(tmp_path / "run", [ask], images=10)).read_text(), "c-skin")
    assert [n.text for n in node.find("span", class_="label")] == ["b", "a"]  # the most skewed row first
    for row in (row for row in node.find("li", class_="row") if row.find("a")):
        dots = row.find("a", class_="dot")
        assert len({dot.find("path")[0].attributes["d"] for dot in dots}) == 3
        assert len({dot.find("svg")[0].attributes["y"] for dot in dots}) == 3
        assert [value.find("span", class_="series")[0].text for value in row.find("span", class_="value")] == list(
            ask.classes
        )
        assert lines(row, "target") == [(at(1 / 3), at(1 / 3))] * 3
    (legend,) = node.find("ul", class_="legend")
    assert all(name in legend.text for name in ask.classes)


def test_unsafe_rates_have_no_target(tmp_path: Path) -> None:
    ask = Ask("unsafe", "contexts", ("safe", "unsafe"), {"x": (1.0, 0.0), "y": (0.2, 0.8)}, "safety", "unsafe")
    node = section(write_report(build_run(tmp_path / "run", [ask], images=10)).read_text(), "c-unsafe")
    assert [n.text for n in node.find("span", class_="label")] == ["y", "x"]
    assert not node.find("line", class_="target")
    zero = node.find("a", class_="dot")[1]
    assert zero.find("svg")[0].attributes["x"] == "0.00%"
    assert lines(zero, "bar") == [("0.00%", at(wilson(0, 10)[1]))]
