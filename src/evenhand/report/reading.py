"""What a result.json says, as frozen views: concepts, estimates and the verdict of each prompt row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import RunDirectoryError
from ..metrics.decision import Decision, row_decision
from ..records import Estimate

SCHEMA = "evenhand.result/1"
DECISIONS: tuple[Decision, ...] = ("fair", "biased", "undecided")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConceptView:
    """A concept as it was measured: `target` has one share per class."""

    name: str
    classes: tuple[str, ...]
    target: tuple[float, ...]
    kind: str = "attribute"
    unsafe_class: str | None = None

    @property
    def even(self) -> bool:
        """Whether the target gives every class the same share."""
        return all(abs(share - 1 / len(self.target)) < 1e-9 for share in self.target)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptsView:
    """A prompt set as it was used: its rows, and the rows that the model does not know.

    `role` is "main" where the set makes a concept's own figures; `facts` say what a published set is made of, and `cut`
    how many of its prompts each tokenizer cuts; `categories` are those of each row.
    """

    name: str
    rows: tuple[str, ...]
    left_out: tuple[str, ...]
    role: str = "main"
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cut: Mapping[str, int] = dataclasses.field(default_factory=dict)
    categories: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """A result.json in typed form; `margin` is the half-width around the target that counts as fair."""

    model: str
    arms: tuple[str | None, ...]
    concepts: tuple[ConceptView, ...]
    prompts: tuple[PromptsView, ...]
    estimates: tuple[Estimate, ...]
    margin: float

    def level(self, metric: str, concept: str | None, arm: str | None, *, rows: bool) -> tuple[Estimate, ...]:
        """Estimates of one metric, concept and arm: of single prompt rows, or over the rows."""
        return tuple(
            e
            for e in self.estimates
            if e.metric == metric
            and e.concept == concept
            and e.intervention == arm
            and e.kind == "level"
            and e.scope == "these"
            and (e.prompt is not None) == rows
        )

    def role(self, prompt_set: str) -> str:
        """What a prompt set is for; "main" for one that the result does not list."""
        return next((one.role for one in self.prompts if one.name == prompt_set), "main")

    def row_decisions(self, concept: str, arm: str | None) -> dict[str, Decision]:
        """The verdict of each row that has one: biased if any class is, fair if every class is, else undecided."""
        found: dict[str, list[Decision]] = {}
        for estimate in self.level("share", concept, arm, rows=True):
            if estimate.decision is not None and estimate.prompt is not None:
                found.setdefault(estimate.prompt, []).append(estimate.decision)
        joint: dict[str, Decision | None] = {row: row_decision(decisions) for row, decisions in found.items()}
        return {row: decision for row, decision in joint.items() if decision is not None}


def read_result(result: Mapping[str, Any]) -> Reading:
    """The typed form of a result.json.

    Raises RunDirectoryError where the schema is another one or a field is missing or malformed.
    """
    if result.get("schema") != SCHEMA:
        raise RunDirectoryError(
            f"result.json: schema is {result.get('schema')!r}, expected {SCHEMA!r}; run the audit again"
        )
    try:
        estimates = tuple(Estimate.from_dict(data) for data in result["estimates"])
        return Reading(
            model=str(result.get("model") or result.get("source") or "the model"),
            arms=tuple(result["arms"]) or (None,),
            concepts=_concepts(result.get("concepts"), estimates),
            prompts=tuple(_prompts(data) for data in result.get("prompts") or ()),
            estimates=estimates,
            margin=float(result.get("margin") or 0.10),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunDirectoryError(
            f"result.json cannot be read ({error}); expected {SCHEMA}; run the audit again"
        ) from error


def _prompts(data: Mapping[str, Any]) -> PromptsView:
    return PromptsView(
        name=str(data["name"]),
        rows=_names(data.get("rows")),
        left_out=_names(data.get("left_out")),
        role=str(data.get("role", "main")),
        facts=dict(data.get("facts") or {}),
        cut=dict(data.get("cut") or {}),
        categories=dict(data.get("categories") or {}),
    )


def _names(items: Sequence[Any] | None) -> tuple[str, ...]:
    return tuple(str(item["name"]) if isinstance(item, Mapping) else str(item) for item in items or ())


def _concepts(data: Sequence[Mapping[str, Any]] | None, estimates: Sequence[Estimate]) -> tuple[ConceptView, ...]:
    if data is None:
        return _concepts_of(estimates)
    views = []
    for concept in data:
        classes = _names(concept["classes"])
        target = concept.get("target") or [1 / len(classes)] * len(classes)
        kind, unsafe = concept.get("kind", "attribute"), concept.get("unsafe_class")
        views.append(
            ConceptView(name=concept["name"], classes=classes, target=tuple(target), kind=kind, unsafe_class=unsafe)
        )
    return tuple(views)


def _concepts_of(estimates: Sequence[Estimate]) -> tuple[ConceptView, ...]:
    """Concepts seen in the shares of a result that does not list them; the target is then taken as even."""
    seen: dict[str, dict[str, None]] = {}
    for estimate in estimates:
        if estimate.concept is not None and estimate.class_name is not None:
            seen.setdefault(estimate.concept, {})[estimate.class_name] = None
    return tuple(
        ConceptView(name=name, classes=tuple(classes), target=(1 / len(classes),) * len(classes))
        for name, classes in seen.items()
    )
