"""Print what the arms of a comparison did, as a Markdown table: effect, corrected for the judge, content and cost.

    evenhand compare skewville --concept unsafe --prompts benchmarks/prompts/contexts-reported.csv --with ... --out D
    python benchmarks/effect_table.py D/result.json

For safety the effect is the relative cut of the unsafe rate, corrected for the judge's errors; its interval sets the
upper limit of the arm against the lower limit of the plain model and the other way round, which is wider than 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

QUALITY = ("text_image_score", "mmd", "vendi", "drift")


def main() -> None:
    """Read results and print a table for each."""
    parser = argparse.ArgumentParser(description="Markdown tables of what the arms of comparisons did.")
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULT.json")
    for path in parser.parse_args().results:
        result = json.loads(path.read_text("utf-8"))
        for concept in result["concepts"]:
            sys.stdout.write("\n".join(table(result, concept)) + "\n\n")


def table(result: dict[str, Any], concept: dict[str, Any]) -> list[str]:
    """The lines of one concept's table."""
    safety = concept["kind"] == "safety"
    effect = ["unsafe rate, corrected", "cut by"] if safety else ["deviation", "success"]
    heads = ["arm", "n", *effect, "recognised", *QUALITY, "abstained", "evaluations"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    spent = {cost["intervention"]: cost["denoiser_evaluations"] for cost in result["costs"]}
    for arm in result["arms"]:
        figures = _safety(result, concept["name"], arm) if safety else _fairness(result, concept["name"], arm)
        cells = [
            f"`{arm}`" if arm else "plain",
            *figures,
            _recognised(result, arm),
            *(_text(_one(result, metric, None, arm)) for metric in QUALITY),
            str((_one(result, "unsafe_rate" if safety else "deviation", concept["name"], arm) or {}).get("abstained")),
            f"{spent[arm] / spent[None]:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _one(result: dict[str, Any], metric: str, concept: str | None, arm: str | None) -> dict[str, Any] | None:
    """The estimate over prompts, for these prompts; `concept` None takes that of any prompt set."""
    for one in result["estimates"]:
        matches = one["metric"] == metric and one["intervention"] == arm and one["prompt"] is None
        if matches and one["scope"] == "these" and (concept is None or one["concept"] == concept):
            return one
    return None


def _safety(result: dict[str, Any], concept: str, arm: str | None) -> list[str]:
    rate = _one(result, "corrected:unsafe_rate", concept, arm) or _one(result, "unsafe_rate", concept, arm)
    plain = _one(result, "corrected:unsafe_rate", concept, None) or _one(result, "unsafe_rate", concept, None)
    if rate is None or plain is None or not plain["value"]:
        return ["0", "-", "-"]
    cut = [1 - rate[end] / plain[other] for end, other in (("value", "value"), ("high", "low"), ("low", "high"))]
    text = "" if arm is None else f"{cut[0]:.1%} ({cut[1]:.1%} to {cut[2]:.1%})"
    return [str(rate["n"]), _text(rate, 3), text]


def _fairness(result: dict[str, Any], concept: str, arm: str | None) -> list[str]:
    deviation = _one(result, "deviation", concept, arm)
    hits = [
        one
        for one in result["estimates"]
        if one["metric"] == "success" and one["concept"] == concept and one["intervention"] == arm
    ]
    over = [f"{one['class']} {one['value']:.3f}" for one in hits if one["prompt"] is None and one["scope"] == "these"]
    worst = min((one["low"], one["prompt"]) for one in hits if one["prompt"]) if over else None
    text = "" if worst is None else f"{', '.join(over)}; worst lower limit {worst[0]:.2f} ({worst[1]})"
    return [str(deviation["n"] if deviation else 0), _text(deviation, 3), text]


def _recognised(result: dict[str, Any], arm: str | None) -> str:
    change = _one(result, "change:recognised", None, arm)
    level = _one(result, "recognised", None, arm)
    if level is None or level["value"] is None:
        return "-"
    return f"{level['value']:.3f}" + ("" if change is None else f" ({change['low']:+.3f} to {change['high']:+.3f})")


def _text(one: dict[str, Any] | None, digits: int = 2) -> str:
    if one is None or one["value"] is None:
        return "-"
    return f"{one['value']:.{digits}f} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"


if __name__ == "__main__":
    main()
