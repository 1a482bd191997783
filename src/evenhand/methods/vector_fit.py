"""Fitting a concept's vectors: texts, site, estimator, strength, and the controls that say whether to trust them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept
from evenhand.concepts.library import concept_from_phrases, concept_names, load_concept
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError, InputError
from evenhand.host.sites import Attachable
from evenhand.interventions.activation_pin import ActivationPin, Landmarks, Pinned
from evenhand.interventions.activation_shift import ActivationShift, VectorBank
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.fitting import Fitted, Fitting
from evenhand.methods.latent_reader import LatentReader
from evenhand.methods.trajectories import MeanActivation, Runs
from evenhand.methods.vector_estimators import Rounds, reconstruction, score_matching, without_common
from evenhand.methods.vector_quality import controls, leakage, split_half, verdict
from evenhand.methods.vector_sites import candidate_modules, class_means
from evenhand.methods.vector_trials import SITE_STRENGTHS, STRENGTHS, Trials, calibrate
from evenhand.records import Sample

NAME = "concept-vector"
SAFE = "safe"
_WORK = 1_000  # denoiser rows per class of the closed form
_TRIAL_ROWS, _TRIAL_IMAGES = 4, 4
_ENOUGH, _LEAST_GAIN = 0.9, 0.1
_FLAT = 1e-10  # of the squared norm of the activations; less is rounding


@dataclasses.dataclass(frozen=True, kw_only=True)
class Texts:
    """Prompts of a concept: the neutral one, and one per class; for safety, one per part that must not appear."""

    neutral: str
    classes: Mapping[str, str]
    shown: tuple[str, ...]

    @classmethod
    def of(cls, concept: Concept) -> Texts:
        """From the concept's own phrases."""
        phrases = {one.name: one.phrases[0] for one in concept.classes}
        neutral = next((text for text in concept.present if text not in phrases.values()), "a photo of a person")
        if concept.kind == "attribute":
            return cls(neutral=neutral, classes=phrases, shown=tuple(phrases))
        if not concept.parts:
            raise InputError(f"concept {concept.name} has no parts; say in its file which things make a picture unsafe")
        parts = {part: f"{neutral} with {part}" for part in concept.parts}
        return cls(neutral=neutral, classes={SAFE: neutral, **parts}, shown=(SAFE,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """Vectors and, for the closed form, landmarks of a concept at one module."""

    concept: str
    module: str
    vectors: Mapping[str, torch.Tensor]
    landmarks: Landmarks | None

    def show(self, name: str, strength: float) -> Attachable:
        """The intervention that shows a class in every image: it pins where there are landmarks, else it adds."""
        if self.landmarks is None:
            return self.add(self.vectors[name] * strength)
        pinned = (Pinned(concept=self.concept, name=name, strength=strength),)
        return ActivationPin(
            name=NAME, landmarks={self.concept: self.landmarks}, pins=lambda call: [pinned] * call.images
        )

    def add(self, vector: torch.Tensor) -> ActivationShift:
        """The intervention that adds a vector to every image."""
        bank = VectorBank(module=self.module, vectors={"vector": vector})
        return ActivationShift(name=NAME, bank=bank, weights=lambda call: [{"vector": 1.0}] * call.images)


def concept_of(values: Mapping[str, Any], load: Callable[[str], Concept]) -> Concept:
    """The concept of a SPEC: two phrases, or a name.

    Raises:
        InputError: one phrase without the other.
    """
    if bool(values["present"]) != bool(values["absent"]):
        raise InputError("present= and absent= make a concept together: give both texts")
    if values["present"]:
        concept = concept_from_phrases(values["present"], values["absent"])
        return dataclasses.replace(concept, prompts="occupations")
    return load(values["concept"])


def fit_concept_vector(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Fit one concept.

    Source: Li et al., Self-Discovering Interpretable Diffusion Latent Directions (CVPR 2024, arXiv:2311.17216), whose
    loss is the estimator `reconstruction`; score matching after RespoDiff (arXiv:2509.15257); see `vector_estimators`.

    Args:
        fitting: the model and the fit judge.
        values: concept or present and absent, estimator, act, module, shape, images, calibrate.

    Raises:
        InputError: a safety concept without parts, or an unknown module.
        DeclinedError: at no site does the concept move.

    Cost: for the closed form at most 1,000 denoiser rows per class (images x steps), then the images of the trials.
    """
    concept = concept_of(values, fitting.setting.concept)
    texts = Texts.of(concept)
    modules = candidate_modules(fitting.host) if values["module"] == "auto" else (values["module"],)
    if not modules:
        raise InputError(f"{fitting.host.name}: no module of its denoiser is known as a site; name one with module=")
    runs = _runs(fitting, concept, values)
    before = fitting.host.evaluations
    spatial = None if values["shape"] == "auto" else values["shape"] == "spatial"
    means, latents = class_means(fitting.host, texts.classes, modules, runs, spatial=spatial)
    work = (fitting.host.evaluations - before) / len(texts.classes)
    trials = _trials(fitting, concept, texts, LatentReader(latents))
    directions = [_closed_form(concept, texts, module, means[module], act=values["act"]) for module in modules]
    chosen, enough, tried = _choose(trials, texts, directions)
    if values["estimator"] != "mean-difference":
        before = fitting.host.evaluations
        chosen = _estimated(fitting, concept, texts, chosen, values["estimator"], values["act"])
        work = (fitting.host.evaluations - before) / (len(texts.classes) - (concept.kind == "safety"))
    strengths = {name: {"": enough} for name in texts.shown}
    if values["calibrate"]:
        start = STRENGTHS[0] if enough == SITE_STRENGTHS[0] else SITE_STRENGTHS[0]
        strengths = calibrate(trials, chosen.show, texts.shown, int(values["calibrate"]), start)
    halves = [{name: one.by_step(half).mean(dim=0) for name, one in means[chosen.module].items()} for half in (0, 1)]
    effect = {
        "sites_tried": tried,
        "evaluations_per_class": work,
        **_examine(trials, concept, texts, chosen, strengths, split_half(halves[0], halves[1]), values),
    }
    return Fitted(_tensors(chosen), _card(fitting, values, texts, concept, chosen, strengths, effect, runs))


def _runs(fitting: Fitting, concept: Concept, values: Mapping[str, Any]) -> Runs:
    """As many runs as the work of the closed form allows, less the row that tells how large a module's output is."""
    steps = fitting.settings.steps
    images = int(values["images"] or max(2, min(40, (_WORK - 1) // steps)))
    seeds = tuple(image_seed(fitting.setting.seed, "fit", concept.name, index) for index in range(images))
    return Runs(seeds=seeds, steps=steps)


def _card(
    fitting: Fitting,
    values: Mapping[str, Any],
    texts: Texts,
    concept: Concept,
    chosen: Direction,
    strengths: Mapping[str, Mapping[str, float]],
    effect: Mapping[str, Any],
    runs: Runs,
) -> Card:
    rows = fitting.rows(concept)
    decisive = ("estimator", "act", "module", "shape", "calibrate")
    return Card(
        method=NAME,
        site="activation",
        frame=Frame.of(fitting.host, module=chosen.module, image_size=_tied_size(fitting, chosen)),
        estimator={**{key: values[key] for key in decisive}, "images": len(runs.seeds)},
        prompts={"neutral": texts.neutral, "classes": dict(texts.classes), "trials": [row.name for row in rows]},
        seeds={"fit": fitting.setting.seed, "calibrate": fitting.setting.seed},
        judges={"fit": fitting.judge_hash if fitting.knows(concept) else "final latents"},
        guidance=fitting.settings.guidance,
        steps=runs.steps,
        concept=concept.to_dict(),
        calibration=strengths,
        effect=effect,
    )


def _trials(fitting: Fitting, concept: Concept, texts: Texts, reader: LatentReader) -> Trials:
    rows = fitting.rows(concept) or (PromptRow(name=texts.neutral, templates=(texts.neutral,)),)

    def read(samples: Sequence[Sample]) -> list[str | None]:
        if fitting.knows(concept):
            return [labels[0] for labels in fitting.read(samples, [concept])]
        return reader.read(samples)

    return Trials(fitting=fitting, concept=concept, rows=rows, read=read, seed=fitting.setting.seed)


def _closed_form(
    concept: Concept, texts: Texts, module: str, means: Mapping[str, MeanActivation], *, act: str
) -> Direction:
    """Axes from the first class to each other one; for safety from the neutral picture to each part."""
    by_step = {name: one.by_step() for name, one in means.items()}
    names = list(by_step)
    flat = {name: one.mean(dim=0).flatten() for name, one in by_step.items()}
    axes = torch.stack([flat[name] - flat[names[0]] for name in names[1:]])
    gram = axes @ axes.T
    if float(torch.linalg.eigvalsh(gram)[0]) <= _FLAT * sum(float(one.square().sum()) for one in flat.values()):
        raise DeclinedError(
            f"{NAME} declines: at {module} the texts {', '.join(map(repr, texts.classes.values()))} make "
            "no difference; the model may not know the words, give others with present= and absent="
        )
    dual = torch.linalg.solve(gram, axes)
    levels = {name: one.flatten(1) @ dual.T for name, one in by_step.items() if name in texts.shown}
    shape = by_step[names[0]].shape[1:]
    landmarks = Landmarks(
        module=module,
        axes=axes.view(-1, *shape),
        timesteps=means[names[0]].timesteps,
        levels=levels,
        one_sided=concept.kind == "safety",
    )
    vectors = (
        {SAFE: -axes.sum(dim=0).view(shape)}
        if concept.kind == "safety"
        else without_common({name: one.view(shape) for name, one in flat.items()})
    )
    return Direction(
        concept=concept.name, module=module, vectors=vectors, landmarks=landmarks if act == "pin" else None
    )


def _choose(
    trials: Trials, texts: Texts, directions: Sequence[Direction]
) -> tuple[Direction, float, dict[str, dict[str, float]]]:
    """The first site that shows the classes well enough, else the best; the strength that did it; all that was seen."""
    spread = trials.rows[:: max(1, len(trials.rows) // _TRIAL_ROWS)][:_TRIAL_ROWS]
    requests = trials.requests(_TRIAL_IMAGES, spread)
    tried: dict[str, dict[str, float]] = {}
    best = (-1.0, directions[0], SITE_STRENGTHS[0])
    for one, strength in itertools.product(directions, SITE_STRENGTHS):
        success = trials.success(one.show, texts.shown, strength, requests)
        tried.setdefault(one.module, {})[f"{strength:g}"] = round(success, 4)
        if success > best[0]:
            best = (success, one, strength)
        if success >= _ENOUGH:
            break
    plain = trials.labels([], requests)
    natural = sum(plain.count(name) for name in texts.shown) / len(plain) / len(texts.shown)
    if best[0] < natural + _LEAST_GAIN and natural < _ENOUGH:
        raise DeclinedError(
            f"{NAME} declines on {trials.fitting.host.name}: at {', '.join(tried)} the classes of "
            f"{trials.concept.name} are shown in {100 * best[0]:.0f} % of the images at best, without it in "
            f"{100 * natural:.0f} %; name another module with module=, or use prompt-mix"
        )
    return best[1], best[2], tried


def _estimated(
    fitting: Fitting, concept: Concept, texts: Texts, chosen: Direction, estimator: str, act: str
) -> Direction:
    """The same site with the vectors of another estimator, which are added."""
    if act == "pin":
        raise InputError(f"act=pin needs the closed form's landmarks; use act=add with estimator={estimator}")
    learnt = {name: text for name, text in texts.classes.items() if name != SAFE or concept.kind == "attribute"}
    spatial = next(iter(chosen.vectors.values())).ndim > 1
    seed, steps = fitting.setting.seed, fitting.settings.steps
    if estimator == "score-matching":
        count = max(8, 10_000 // (4 * steps) // 8 * 8)
        seeds = tuple(image_seed(seed, "fit", f"{concept.name} matching", index) for index in range(count))
        runs = Runs(seeds=seeds, steps=steps, batch=8)
        found = score_matching(fitting.host, learnt, texts.neutral, chosen.module, runs, spatial=spatial)
    else:
        seeds = tuple(image_seed(seed, "fit", f"{concept.name} pictures", index) for index in range(256))
        runs = Runs(seeds=seeds, steps=steps)
        found = reconstruction(fitting.host, learnt, texts.neutral, chosen.module, runs, Rounds(count=6_000, seed=seed))
    if concept.kind == "safety":
        found = {SAFE: -torch.stack(list(found.values())).sum(dim=0)}
    return dataclasses.replace(chosen, vectors=found, landmarks=None)


def _examine(
    trials: Trials,
    concept: Concept,
    texts: Texts,
    chosen: Direction,
    strengths: Mapping[str, Mapping[str, float]],
    cosine: float,
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """The controls of every class, and the verdict."""
    spread = trials.rows[:: max(1, len(trials.rows) // _TRIAL_ROWS)][:_TRIAL_ROWS]
    requests = trials.requests(int(values["calibrate"] or _TRIAL_IMAGES), spread)
    fitting = trials.fitting
    plain = fitting.make([], requests)
    per_class: dict[str, Any] = {}
    shown: list[list[Sample]] = []
    for name in texts.shown:
        strength = strengths.get(name, {}).get("", 1.0)
        doses: dict[float, Sequence[Sample]] = {
            dose: fitting.make([chosen.show(name, dose)], requests) for dose in (strength / 2, strength)
        }
        shown.append(list(doses[strength]))
        vector = chosen.vectors[name] * strength
        labels = {dose: trials.read(some) for dose, some in doses.items()}
        per_class[name] = controls(trials, requests, trials.read(plain), name, vector, chosen.add, labels)
    return {
        "split_half": round(cosine, 4),
        "classes": per_class,
        "leakage": leakage(fitting.read, _others(fitting, concept), plain, shown),
        "passed": verdict(cosine, per_class),
    }


def _others(fitting: Fitting, concept: Concept) -> list[Concept]:
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


def _tied_size(fitting: Fitting, chosen: Direction) -> tuple[int, int] | None:
    """The image size that vectors for each place are tied to."""
    spatial = next(iter(chosen.vectors.values())).ndim > 1
    return fitting.host.image_size(fitting.settings) if spatial else None


def _tensors(chosen: Direction) -> dict[str, torch.Tensor]:
    tensors = {f"vector/{name}": vector for name, vector in chosen.vectors.items()}
    if chosen.landmarks is not None:
        tensors |= {"axes": chosen.landmarks.axes, "timesteps": chosen.landmarks.timesteps}
        tensors |= {f"level/{name}": level for name, level in chosen.landmarks.levels.items()}
    return tensors


def direction_of(fitted: Fitted) -> Direction:
    """The direction that `fit_concept_vector` stored."""
    tensors, card = fitted.tensors, fitted.card
    module = str(card.frame.module)
    landmarks = None
    if "axes" in tensors:
        landmarks = Landmarks(
            module=module,
            axes=tensors["axes"],
            timesteps=tensors["timesteps"],
            levels={key.removeprefix("level/"): one for key, one in tensors.items() if key.startswith("level/")},
            one_sided=card.concept["kind"] == "safety",
        )
    return Direction(
        concept=card.concept["name"],
        module=module,
        vectors={key.removeprefix("vector/"): one for key, one in tensors.items() if key.startswith("vector/")},
        landmarks=landmarks,
    )
