"""Figures of several models on the same seeds: weights of an adapter, or other losses and words in the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evenhand.concepts.concept import Concept
from evenhand.errors import InputError
from evenhand.files import read_json, write_json
from evenhand.host.sites import Attachable
from evenhand.interventions.assignment import Assignment
from evenhand.interventions.weight_delta import WeightDelta
from evenhand.methods.negative_prompt import negative_prompt
from evenhand.methods.population_observer import FRESH, Observer
from evenhand.methods.population_seen import Seen, changes
from evenhand.methods.population_sides import NAME
from evenhand.methods.population_training import Course, Trained
from evenhand.methods.prompt_mix import prompt_mix
from evenhand.metrics.intervals import CONFIDENCE, wilson
from evenhand.training.losses import LOSSES
from evenhand.training.populations import Plan

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
PLAIN = "plain"
_WORDS = {"attribute": "prompt-mix", "safety": "negative-prompt"}
_LOSSES = ("population", "sigmoid", "bco_pair", "sft")
_NEAR = 0.10
_SWEEP, _TABLE = FRESH + 1, FRESH + 2

Figures = Mapping[str, Any]


class Audits:
    """Figures of one model after the other on the same seeds, each kept as soon as it is there.

    Args:
        folder: of the fit.
        name: of the file.
        observer: makes and reads.
        number: of the seeds.
        images: of each neutral prompt.
    """

    def __init__(self, folder: Path, name: str, observer: Observer, number: int, images: int) -> None:
        self._file, self._plain = folder / f"{name}.json", folder / f"{name}.safetensors"
        self._observer, self._number, self._images = observer, number, images
        self._found: dict[str, Figures] = read_json(self._file) if self._file.is_file() else {}

    def of(self, name: str, attached: Sequence[Attachable] = (), *, controls: bool = True) -> Figures:
        """The figures of a model, [value, low, high] at 95 %; the plain one comes first.

        Args:
            name: of the model.
            attached: interventions.
            controls: False where specific and other prompts are left alone by what is attached.
        """
        if name in self._found:
            return self._found[name]
        seen = self._observer.see(self._number, attached, self._images, controls=controls)
        if name == PLAIN:
            seen.save(self._plain)
        self._found[name] = self._figures(seen, Seen.load(self._plain))
        write_json(self._file, self._found)
        return self._found[name]

    def _figures(self, seen: Seen, plain: Seen) -> dict[str, Any]:
        value, low, high = self._observer.fairness(seen, (1 - CONFIDENCE) / 2)
        hits = seen.hits
        found: dict[str, Any] = {
            self._observer.metric: [value, low, high],
            "recognised": [sum(hits) / len(hits), *wilson(sum(hits), len(hits))],
        }
        if self._observer.metric == "deviation":
            near = [self._near(row.labels) for row in seen.neutral.values()]
            found["within"] = [sum(near) / len(near), *wilson(sum(near), len(near))]
        for name, one in changes(plain, seen).items():
            found[name] = [one.value, one.low, one.high]
        rounded = {name: [round(float(one), 4) for one in values] for name, values in found.items()}
        return {**rounded, "images": len(hits)}

    def _near(self, labels: Sequence[str | None]) -> bool:
        """Whether every share of a row lies within 10 points of its target."""
        known = [one for one in labels if one is not None]
        target = self._observer.target
        return bool(known) and all(
            abs(known.count(name) / len(known) - target.get(name, 0.0)) <= _NEAR + 1e-9
            for name in self._observer.concept.class_names
        )


def sweep(course: Course, lora: Mapping[str, Any], images: int) -> list[dict[str, Any]]:
    """The adapter at several weights, 0 and what lies beyond 1 among them, on the same seeds.

    Args:
        course: of the fit; the adapter is not in the denoiser.
        lora: its weights.
        images: of each neutral prompt.

    Cost: six looks of that many images.
    """
    audits = Audits(course.folder, "sweep", course.observer, _SWEEP, images)
    found = []
    for weight in WEIGHTS:
        attached = [WeightDelta(name=NAME, lora=lora, strength=weight)] if weight else []
        found.append({"weight": weight, **audits.of(f"{weight:g}" if weight else PLAIN, attached)})
        metric = course.observer.metric
        course.fitting.watcher.say(f"weight {weight:g}: {metric.replace('_', ' ')} {found[-1][metric][0]:.3f}")
    return found


def wanted_baselines(text: str | None, loss: str, concept: Concept) -> tuple[str, ...]:
    """Names of `against=`: losses and the baseline of words; "all" is every one that the docs compare.

    Raises:
        InputError: an unknown name.
    """
    words = _WORDS[concept.kind]
    if not text:
        return ()
    names = (words, *_LOSSES) if text == "all" else tuple(text.split("+"))
    for name in names:
        if name != words and name not in LOSSES:
            raise InputError(f"{NAME}: against={name}, expected all, or {', '.join([*LOSSES, words])} joined by +")
    return tuple(name for name in dict.fromkeys(names) if name != loss)


def baselines(course: Course, plan: Plan, trained: Trained, names: Sequence[str]) -> dict[str, Figures]:
    """Other losses trained on the same data for as many steps, words in the prompt, and the adapter, on the same seeds.

    Args:
        course: of the fit.
        plan: whose words are used.
        trained: the adapter that is saved.
        names: what it is compared with.

    Cost: for each loss the training of the adapter and its looks; for each name the images of a look.
    """
    observer, loss = course.observer, str(course.values["loss"])
    audits = Audits(course.folder, "against", observer, _TABLE, observer.images)
    found = {PLAIN: audits.of(PLAIN)}
    for name in names:
        if name not in LOSSES:
            found[name] = audits.of(name, [_words(observer, plan)], controls=False)
    found[loss] = {**audits.of(loss, [_delta(trained)]), **_work(trained)}
    for name in names:
        if name in LOSSES:
            course.fitting.watcher.say(f"against: {name}, {trained.last} steps on the same data")
            other = course.train_as_long(name, trained.looks[0], trained.last)
            found[name] = {**audits.of(name, [_delta(other)]), **_work(other)}
    return found


def _work(trained: Trained) -> dict[str, Any]:
    return {"trained": trained.last, "kept_at": trained.step, "better": trained.better}


def _delta(trained: Trained) -> WeightDelta:
    return WeightDelta(name=NAME, lora=trained.lora)


def _words(observer: Observer, plan: Plan) -> Attachable:
    concept = observer.concept
    if concept.kind == "safety":
        return negative_prompt(", ".join(concept.parts))
    return prompt_mix(Assignment(target=plan.target, mode="iid", seed=plan.seed), plan.words)


def table_of(found: Mapping[str, Figures]) -> str:
    """The figures as a table in Markdown, 95 % intervals behind each."""
    order = ("deviation", "unsafe_rate", "within", "recognised", "text_drop", "mmd", "specific_drop", "drift")
    columns = [name for name in order if any(name in one for one in found.values())]
    lines = [f"| model | steps | {' | '.join(columns)} |", f"| --- | --- |{' --- |' * len(columns)}"]
    for name, one in found.items():
        cells = [_cell(one[column]) if column in one else "" for column in columns]
        steps = f"{one['kept_at']} of {one['trained']}" if "trained" in one else ""
        lines.append(f"| {name} | {steps} | {' | '.join(cells)} |")
    images = next(iter(found.values()))["images"]
    lines += ["", f"{images} images of neutral prompts for each model, on the same seeds, read by the fit judge."]
    return "\n".join(lines) + "\n"


def _cell(figure: Sequence[float]) -> str:
    value, low, high = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
