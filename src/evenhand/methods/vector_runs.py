"""The runs of a concept's texts, of which the closed form is made, and what reads the concept in images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import concept_names, load_concept
from evenhand.host.runs import Runs
from evenhand.methods.class_texts import Texts, in_rows
from evenhand.methods.fitting import Fitting
from evenhand.methods.latent_reader import LatentReader, latents_of
from evenhand.methods.matched_populations import Labels, matched_weights, worth
from evenhand.methods.trajectories import MeanActivation
from evenhand.methods.vector_counters import Contrasts, contrasts
from evenhand.methods.vector_sites import class_means, pictures
from evenhand.methods.vector_trials import Trials
from evenhand.records import Sample

TRIAL_IMAGES = 4
_EXAMINED_ROWS = 16
"""Rows of the controls: with fewer images a share moves by more than the 5 points that are asked for by chance."""
NEITHER = "neither"
"""Landmark of pictures that show none of the classes."""

Means = dict[str, dict[str, MeanActivation]]
"""Module -> class -> mean activations."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRuns:
    """What the runs of a concept's texts gave.

    Args:
        means: of the classes' texts, and of the neutral one where plain pictures show none of the classes: there what
            is to be undone is not the other class.
        trials: makes and reads images.
        others: attributes that should stay as they are.
        plain: images without any intervention; the controls are compared with them.
        contrasts: how classes of the other attributes differ at each module, where single images were kept.
        matched: class -> how many equally weighted images its own are worth, once their other attributes have the
            shares of the plain ones; empty where they are not weighted.
        evaluations: of the denoiser for each text.
    """

    means: Means
    trials: Trials
    others: Sequence[Concept]
    plain: Sequence[Sample]
    contrasts: Contrasts
    matched: Mapping[str, float]
    evaluations: float


def run_texts(
    fitting: Fitting, concept: Concept, texts: Texts, modules: Sequence[str], runs: Runs, values: Mapping[str, Any]
) -> TextRuns:
    """Run every text, and some plain images.

    Args:
        fitting: the model and the fit judge.
        concept: whose texts they are.
        texts: to run.
        modules: paths at which the mean activations are kept.
        runs: of each text.
        values: shape, calibrate.

    Cost: the runs of each text, once more of the neutral one where plain pictures show no class; plain images; and
    where no judge knows the concept as many pictures of each class again, about the subjects of the prompts.
    """
    host, before = fitting.host, fitting.host.evaluations
    spatial = None if values["shape"] == "auto" else values["shape"] == "spatial"
    others = other_attributes(fitting, concept)
    weigh = bool(others) and concept.kind == "attribute"
    means, made = class_means(host, texts.classes, modules, runs, spatial=spatial, each=weigh)
    evaluations = (host.evaluations - before) / len(texts.classes)
    trials = Trials.judged(fitting, concept, texts.neutral)
    requests = trials.requests(int(values["calibrate"] or TRIAL_IMAGES), trials.spread(_EXAMINED_ROWS))
    plain = fitting.make([], requests)
    if not fitting.knows(concept):
        shown = {name: latents_of(_in_rows(fitting, concept, texts, name, runs) or some) for name, some in made.items()}
        reader = LatentReader(shown, latents_of(plain))
        trials = dataclasses.replace(trials, read=reader.read)
        if reader.knows_none and texts.neutral not in texts.classes.values():
            more, neutral = class_means(host, {NEITHER: texts.neutral}, modules, runs, spatial=spatial, each=weigh)
            means = {module: {**more[module], **some} for module, some in means.items()}
            made = {**made, **neutral}
    known: Contrasts = {}
    matched: dict[str, float] = {}
    if weigh and all(one.weighable for some in means.values() for one in some.values()):
        labels = {name: fitting.read(some, others) for name, some in made.items()}
        known = contrasts(means, labels, others)
        matched = _weigh(means, labels, fitting.read(plain, others))
    return TextRuns(
        means=means,
        trials=trials,
        others=others,
        plain=plain,
        contrasts=known,
        matched=matched,
        evaluations=evaluations,
    )


def _in_rows(fitting: Fitting, concept: Concept, texts: Texts, name: str, runs: Runs) -> list[Sample]:
    """What a class looks like where it is to be read, on what nurses wear; nothing where its text names nobody else."""
    text = texts.classes[name]
    prompts = in_rows(text, texts.neutral, fitting.rows(concept), len(runs.seeds))
    return [] if set(prompts) == {text} else pictures(fitting.host, prompts, runs)


def _weigh(means: Means, labels: Mapping[str, Labels], plain: Labels) -> dict[str, float]:
    """Weighs the images of each class so that other attributes have their shares in plain images."""
    weights = matched_weights(labels, plain)
    for some in means.values():
        for name, one in some.items():
            one.weigh(torch.from_numpy(weights[name]))
    return {name: round(worth(one), 1) for name, one in weights.items()}


def other_attributes(fitting: Fitting, concept: Concept) -> list[Concept]:
    """The attributes of the same prompt set that the fit judge knows and that the concept does not speak of."""
    spoken = {word for text in (concept.name, *concept.parts) for word in text.replace("_", " ").split()}
    return [
        other
        for other in map(load_concept, concept_names())
        if other.kind == "attribute"
        and other.prompts == concept.prompts
        and spoken.isdisjoint(other.name.split("_"))
        and fitting.knows(other)
    ]
