"""A run in forms that other programs read: a fragment of a model card, `.eval_results` of the Hub, JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..concepts.concept import Concept, ConceptClass
from ..errors import InputError, RunDirectoryError
from ..files import write_bytes
from ..records import Estimate
from ..store import PARQUET
from ..verbs.thresholds import Threshold, parse_threshold
from .data import RunView
from .measured import PERCEIVED, warnings
from .text import headline_sentences
from .words import HEADLINES, interval_text, metric_of, plain, value_text

EXPORTS = {"card": "model-card.md", "eval-results": "eval_results.yaml", "junit": "junit.xml", "parquet": PARQUET}
"""Kind -> file in the run directory."""


def write_export(run: Path, kind: str, text: str) -> Path:
    """Write an export into the run directory and return its path. Raises: StorageError when the disk fails."""
    path = run / EXPORTS[kind]
    write_bytes(path, text.encode())
    return path


def parse_thresholds(view: RunView, texts: Sequence[str]) -> list[Threshold]:
    """The conditions of `--fail-on`, of what a finished audit measured.

    Raises: InputError for a malformed one, or for a comparison, whose arms are not one result.
    """
    if not texts:
        return []
    if view.result.get("verb") == "compare":
        raise InputError(f"--fail-on: {view.path} compares arms; give the run of an audit of the arm that is released")
    try:
        concepts = [Concept.from_dict(one) for one in view.result["concepts"]]
    except (KeyError, TypeError) as error:
        raise RunDirectoryError(f"{view.path / 'result.json'}: malformed concepts; run the audit again") from error
    sets = [one.name for one in view.reading.prompts]
    recognised = dict.fromkeys(str(one.concept) for one in view.reading.estimates if one.metric == "recognised")
    pair = tuple(ConceptClass(name=name, phrases=(name,)) for name in ("shown", "not shown"))
    return [
        parse_threshold(text, concepts, [Concept(name=n, classes=pair) for n in recognised], sets) for text in texts
    ]


def model_card(view: RunView) -> str:
    """A section for the README of a model: what was found, in words and as a table, and how it was measured."""
    run, result = view.run, view.result
    lines = ["## Bias and safety", ""]
    lines += [" ".join(sentences) for sentences in headline_sentences(view.reading)]
    lines += ["", "| measure | value | 95 % interval | n |", "|---|---|---|---|"]
    lines += [
        f"| {_named(one)} | {value_text(one)} | {interval_text(one)} | {one.n:,} |".replace("\u00a0", " ")
        for one in _headline_figures(view)
    ]
    judge = (result.get("judge") or {}).get("name") or "labels"
    status = (result.get("registration") or {}).get("status")
    how = [
        f"Measured with Evenhand {(run.get('versions') or {}).get('evenhand', '')}".rstrip() + f", judge {judge}",
        f"run {str(run.get('config_hash') or '')[:12]}",
        f"begun {run.get('started')}",
        *([status] if status else []),
    ]
    lines += ["", ", ".join(how) + ".", PERCEIVED, *(f"{text}" for text in warnings(view))]
    return "\n".join(line.replace("\u00a0", " ") for line in lines) + "\n"


def eval_results(view: RunView, *, dataset: str | None, source_url: str | None = None) -> str:
    """The figures over prompts as YAML for `.eval_results/` of a model's repository on the Hub.

    An entry holds one number; its interval, n and what it is stand in `notes`.

    Args:
        view: of a finished run.
        dataset: Hub id of the benchmark's dataset, which the Hub needs.
        source_url: where the report can be read; None for nowhere.

    Raises: InputError without a dataset, or where no figure is defined.
    """
    if not dataset or dataset.count("/") != 1:
        raise InputError("--export eval-results: the Hub files results under a benchmark; give --dataset NAME/ID")
    entries: list[dict[str, Any]] = []
    for one in _headline_figures(view):
        if one.value is None or one.low is None or one.high is None:
            continue
        parts = [one.concept, one.class_name, one.metric.replace(":", "_")]
        entry: dict[str, Any] = {
            "dataset": {"id": dataset, "task_id": "_".join(str(part).replace("*", "_") for part in parts if part)},
            "value": round(one.value, 6),
        }
        if view.run.get("started"):
            entry["date"] = str(view.run["started"])[:10]
        if source_url:
            entry["source"] = {"url": source_url, "name": "Evenhand"}
        entry["notes"] = (
            f"95 % interval {one.low:.4f} to {one.high:.4f}, n = {one.n}; {metric_of(one.metric).title} over prompts"
        )
        entries.append(entry)
    if not entries:
        raise InputError(f"{view.path} states no figure over prompts that could be exported")
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000)


def junit(view: RunView, outcomes: Mapping[str, str | None]) -> str:
    """JUnit XML: a test case for each condition; without conditions one for each prompt's verdict.

    A prompt that is biased is a failure, an undecided one is skipped.

    Args:
        view: of a finished run.
        outcomes: condition -> why it fails, None where it holds.
    """
    cases = list(_conditions(outcomes)) if outcomes else list(_verdicts(view))
    failures = sum(case.find("failure") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}
    root = ElementTree.Element("testsuites", {"name": "evenhand", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": view.reading.model, **counts})
    suite.extend(cases)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _conditions(outcomes: Mapping[str, str | None]) -> Iterator[ElementTree.Element]:
    for text, reason in outcomes.items():
        case = ElementTree.Element("testcase", {"classname": "thresholds", "name": text})
        if reason is not None:
            ElementTree.SubElement(case, "failure", {"message": reason})
        yield case


def _verdicts(view: RunView) -> Iterator[ElementTree.Element]:
    arm = view.reading.arms[0]
    for concept in view.reading.concepts:
        shares = {one.prompt: one for one in reversed(view.reading.level("share", concept.name, arm, rows=True))}
        for row, decision in view.reading.row_decisions(concept.name, arm).items():
            case = ElementTree.Element("testcase", {"classname": concept.name, "name": row})
            one = shares[row]
            said = f"{decision}: {plain(one.class_name or '')} {value_text(one)} ({interval_text(one)}), n = {one.n}"
            if decision == "biased":
                ElementTree.SubElement(case, "failure", {"message": said.replace("\u00a0", " ")})
            elif decision == "undecided":
                ElementTree.SubElement(case, "skipped", {"message": said.replace("\u00a0", " ")})
            yield case


def _headline_figures(view: RunView) -> list[Estimate]:
    reading, arm = view.reading, view.reading.arms[0]
    names = [concept.name for concept in reading.concepts]
    names += dict.fromkeys(str(one.concept) for one in reading.estimates if one.concept not in names and one.concept)
    metrics = (*HEADLINES, "refusal_rate")
    return [one for name in names for metric in metrics for one in reading.level(metric, name, arm, rows=False)]


def _named(one: Estimate) -> str:
    parts = [metric_of(one.metric).title, plain(one.concept or ""), plain(one.class_name or "")]
    return ", ".join(part for part in parts if part)
