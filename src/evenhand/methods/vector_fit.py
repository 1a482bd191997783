"""Fitting a concept's vectors: texts, site, estimator, strength, and the controls that say whether to trust them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept
from evenhand.errors import DeclinedError, InputError
from evenhand.host.runs import Runs
from evenhand.host.sites import Attachable
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.class_texts import Texts, concept_of
from evenhand.methods.decision_map import decision_map
from evenhand.methods.fitting import Fitted, Fitting, Preview, Work
from evenhand.methods.vector_counters import COUNTER_IMAGES, countered
from evenhand.methods.vector_direction import NAME, SAFE, Direction, Part, StrengthOf, closed_form, tensors_of
from evenhand.methods.vector_estimators import Rounds, reconstruction, score_matching
from evenhand.methods.vector_quality import controls, leakage, split_half, verdict
from evenhand.methods.vector_runs import TRIAL_IMAGES, TextRuns, run_texts
from evenhand.methods.vector_sites import candidate_sites, modules_of
from evenhand.methods.vector_trials import (
    LATE,
    SITE_STRENGTHS,
    STRENGTHS,
    UNJUDGED,
    Trials,
    calibrate,
    latest_start,
    strength_in,
)
from evenhand.records import Sample

_WORK = 1_000  # denoiser rows per class of the closed form
_WIDENED = 3 * _WORK  # of one attribute with a class between two others
_TRIAL_ROWS = 4
_ENOUGH, _LEAST_GAIN = 0.9, 0.1


def fit_concept_vector(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Fit one concept.

    Source: Li et al., Self-Discovering Interpretable Diffusion Latent Directions (CVPR 2024, arXiv:2311.17216), whose
    loss is the estimator `reconstruction`; score matching after RespoDiff (arXiv:2509.15257); see `vector_estimators`.

    Args:
        fitting: the model and the fit judge.
        values: concept or present and absent, estimator, act, module, shape, images, calibrate, map.

    Raises:
        InputError: a safety concept without parts, or an unknown module.
        DeclinedError: at no site does the concept move.

    Cost: for the closed form at most 1,000 denoiser rows per class (images x steps), then the images of the trials.
    """
    concept = concept_of(values, fitting.setting.concept)
    texts = Texts.of(concept)
    modules = _modules(fitting, values)
    runs = _runs(fitting, concept, values)
    wanted = tuple(dict.fromkeys(module for some in modules.values() for module in some))
    seen = run_texts(fitting, concept, texts, wanted, runs, values)
    means, trials, work = seen.means, seen.trials, seen.evaluations
    safety, pin = concept.kind == "safety", values["act"] == "pin"
    directions = [
        closed_form(concept.name, site, {one: means[one] for one in some}, texts.shown, safety=safety, pin=pin)
        for site, some in modules.items()
    ]
    chosen, enough, tried = _choose(trials, texts, directions)
    if values["estimator"] != "mean-difference":
        before = fitting.host.evaluations
        chosen = _estimated(fitting, concept, texts, chosen, values["estimator"])
        work = (fitting.host.evaluations - before) / (len(texts.classes) - safety)
    begun, gentle = _begun(trials, chosen, texts.shown, enough, values)
    chosen, taken_back = _countered(begun, seen, texts.shown, runs, values)
    strengths = _strengths(trials, chosen, texts.shown, enough, values, gentle=gentle)
    cosines = [
        split_half(*({name: one.by_step(half).mean(dim=0) for name, one in means[module].items()} for half in (0, 1)))
        for module in modules[chosen.site]
    ]
    effect = {
        "sites_tried": tried,
        "evaluations_per_class": work,
        "matched": seen.matched,
        "countered": taken_back,
        **_examine(trials, seen.others, texts, chosen, strengths, min(cosines), seen.plain),
    }
    if values["map"]:
        effect["decided"] = decision_map(trials, modules, int(values["map"]))
    return Fitted(tensors_of(chosen), _card(fitting, values, texts, concept, chosen, strengths, effect, runs))


def work_of_vectors(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    """The closed form and the calibration; the search for a site and the controls come on top."""
    concept = concept_of(values, preview.setting.concept)
    texts = Texts.of(concept)
    rows = len(preview.rows(concept) or (None,))
    least = 3 * int(values["calibrate"]) * rows * len(texts.shown)
    found = [Work(what="closed form", rows=_WORK * len(texts.classes), at_most=values["images"] is None)]
    if values["images"] is not None:
        found = [Work(what="closed form", images=int(values["images"]) * len(texts.classes), at_most=True)]
    if values["present"]:
        first, parts = found[0], len(texts.classes)
        more = {"rows": first.rows // parts * (parts + 1), "images": first.images // parts * (parts + 1)}
        found.append(Work(what="pictures to read by, where no judge knows the concept", **more, at_most=True))
    if least:
        found.append(Work(what="calibration, where every prompt succeeds at the first strength", images=least))
    if least and concept.kind != "safety" and values["act"] != "add" and values["estimator"] == "mean-difference":
        images = COUNTER_IMAGES * (1 + 3 * len(texts.shown))
        found.append(
            Work(what="counters, where other attributes are known", images=images, rows=_WIDENED, at_most=True)
        )
    if values["map"]:
        found.append(Work(what="map of the sites", images=int(values["map"]) * rows))
    return found


def _modules(fitting: Fitting, values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Site -> its modules, of the sites that are tried."""
    sites = candidate_sites(fitting.host) if values["module"] == "auto" else (values["module"],)
    if not sites:
        raise InputError(f"{fitting.host.name}: no module of its denoiser is known as a site; name one with module=")
    modules = {site: modules_of(fitting.host, site) for site in sites}
    if values["estimator"] != "mean-difference":
        modules = {site: some for site, some in modules.items() if len(some) == 1}
        if not modules:
            raise InputError(f"estimator={values['estimator']} fits one module, {sites[0]} are several; name one")
    return modules


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
    # vectors for each place are tied to the image size that they were fitted at
    size = fitting.host.image_size(fitting.settings) if chosen.spatial else None
    return Card(
        method=NAME,
        site="activation",
        frame=Frame.of(fitting.host, module=chosen.site, image_size=size),
        estimator={**{key: values[key] for key in decisive}, "images": len(runs.seeds), "start": chosen.start},
        prompts={"neutral": texts.neutral, "classes": dict(texts.classes), "trials": [row.name for row in rows]},
        seeds={"fit": fitting.setting.seed, "calibrate": fitting.setting.seed},
        judges={"fit": fitting.judge_hash if fitting.knows(concept) else "final latents"},
        guidance=fitting.settings.guidance,
        steps=runs.steps,
        concept=concept.to_dict(),
        calibration=strengths,
        effect=effect,
    )


def _choose(
    trials: Trials, texts: Texts, directions: Sequence[Direction]
) -> tuple[Direction, float, dict[str, dict[str, float]]]:
    """The site that shows the classes well enough at the least strength, else the best; that strength; what was seen.

    All sites are tried gently before any is pushed: what needs force at one site moves other things with it.
    """
    requests = trials.requests(TRIAL_IMAGES, trials.spread(_TRIAL_ROWS))
    tried: dict[str, dict[str, float]] = {}
    best = (-1.0, directions[0], SITE_STRENGTHS[0])
    for strength, one in itertools.product(SITE_STRENGTHS, directions):
        success = trials.success(one.show, texts.shown, strength, requests)
        tried.setdefault(one.site, {})[f"{strength:g}"] = round(success, 4)
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


def _begun(
    trials: Trials, chosen: Direction, classes: Sequence[str], enough: float, values: Mapping[str, Any]
) -> tuple[Direction, bool]:
    """The direction with the step from which on it acts, and whether less than its whole way is to be tried.

    What is pinned begins as late as still shows every class, since what has been decided by then stays as it is; where
    it must act from the first step on, less than the whole way is tried.
    """
    if not (values["calibrate"] and enough == SITE_STRENGTHS[0] and _pins(trials, values)):
        return chosen, False

    def show_from(start: float) -> Callable[[str, float], Sequence[Attachable]]:
        return dataclasses.replace(chosen, start=start).show

    latest = LATE[0] if trials.fitting.knows(trials.concept) else UNJUDGED
    begun = dataclasses.replace(chosen, start=latest_start(trials, show_from, classes, latest))
    return begun, begun.start == 0


def _countered(
    chosen: Direction, seen: TextRuns, classes: Sequence[str], runs: Runs, values: Mapping[str, Any]
) -> tuple[Direction, dict[str, Any]]:
    """With counters for what is moved beside the concept, where the fit judge knows what that could be."""
    modules = {part.module for part in chosen.parts}
    if not (values["calibrate"] and _pins(seen.trials, values) and modules <= seen.contrasts.keys()):
        return chosen, {}
    known = {module: seen.contrasts[module] for module in modules}
    return countered(seen.trials, seen.others, chosen, known, classes, runs)


def _pins(trials: Trials, values: Mapping[str, Any]) -> bool:
    return trials.concept.kind != "safety" and values["act"] == "pin"


def _strengths(
    trials: Trials,
    chosen: Direction,
    classes: Sequence[str],
    enough: float,
    values: Mapping[str, Any],
    *,
    gentle: bool,
) -> dict[str, dict[str, float]]:
    """How strongly, for each class and row."""
    if not values["calibrate"]:
        return {name: {"": enough} for name in classes}
    least = STRENGTHS[0] if enough == SITE_STRENGTHS[0] else SITE_STRENGTHS[0]
    return calibrate(trials, chosen.show, classes, int(values["calibrate"]), least, gentle=gentle)


def _estimated(fitting: Fitting, concept: Concept, texts: Texts, chosen: Direction, estimator: str) -> Direction:
    """The same site with the vectors of another estimator, which are added."""
    (part,) = chosen.parts
    module = part.module
    learnt = {name: text for name, text in texts.classes.items() if name != SAFE or concept.kind == "attribute"}
    seed, steps = fitting.setting.seed, fitting.settings.steps
    if estimator == "score-matching":
        count = max(8, 10_000 // (4 * steps) // 8 * 8)
        seeds = tuple(image_seed(seed, "fit", f"{concept.name} matching", index) for index in range(count))
        runs = Runs(seeds=seeds, steps=steps, batch=8)
        found = score_matching(fitting.host, learnt, texts.neutral, module, runs, spatial=chosen.spatial)
    else:
        seeds = tuple(image_seed(seed, "fit", f"{concept.name} pictures", index) for index in range(256))
        runs = Runs(seeds=seeds, steps=steps)
        found = reconstruction(fitting.host, learnt, texts.neutral, module, runs, Rounds(count=6_000, seed=seed))
    if concept.kind == "safety":
        found = {SAFE: -torch.stack(list(found.values())).sum(dim=0)}
    return dataclasses.replace(chosen, parts=(Part(module=module, vectors=found),))


def _examine(
    trials: Trials,
    others: Sequence[Concept],
    texts: Texts,
    chosen: Direction,
    strengths: Mapping[str, Mapping[str, float]],
    cosine: float,
    plain: Sequence[Sample],
) -> dict[str, Any]:
    """The controls of every class, at the strengths that are used, and the verdict."""
    fitting, requests = trials.fitting, [one.request for one in plain]
    per_class: dict[str, Any] = {}
    shown: list[list[Sample]] = []
    for name in texts.shown:
        doses = {dose: fitting.make(chosen.show(name, _part_of(dose, strengths, name)), requests) for dose in (0.5, 1)}
        shown.append(doses[1])
        labels = {dose: trials.read(some) for dose, some in doses.items()}
        used = _part_of(1, strengths, name)
        per_class[name] = controls(trials, requests, trials.read(plain), name, chosen, used, labels)
    return {
        "images": len(requests),
        "split_half": round(cosine, 4),
        "classes": per_class,
        "leakage": leakage(fitting.read, others, plain, shown),
        "passed": verdict(cosine, per_class),
    }


def _part_of(dose: float, strengths: Mapping[str, Mapping[str, float]], name: str) -> StrengthOf:
    """A part of the calibrated strength of each image's own prompt."""
    return lambda call, place: dose * strength_in(strengths, name, call, place)
