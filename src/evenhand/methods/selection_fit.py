"""Fitting noise selection: two small judges of latents, after how many steps the first one looks, and what it costs."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from evenhand.concepts.concept import Concept
from evenhand.concepts.wordings import caption_of
from evenhand.errors import DeclinedError, InputError
from evenhand.host.runs import Onlooker
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.class_texts import Texts, concept_of
from evenhand.methods.fitting import Fitted, Fitting, Preview, Work
from evenhand.methods.noise_estimators import Trajectory
from evenhand.methods.noise_fit import NoiseRecorder
from evenhand.methods.selection_cost import Bar, best_bar
from evenhand.methods.selection_reader import LatentJudge, balanced_accuracy, tensors_of, train_judge
from evenhand.methods.vector_trials import Trials
from evenhand.metrics.intervals import clopper_pearson_upper
from evenhand.records import Settings

NAME = "noise-selection"
EARLY, LATE = "early", "late"
_SHARES = (0.12, 0.2, 0.32, 0.48)
"""Of the steps, after which a first look is tried; the cheapest for the concept's own target is taken."""
_HELD = 3
"""Every third image of a row says how well the judges read, and trains none."""
_LEAST_ACCURACY = 0.6
_FEW = 4
"""Images of a class in a row below which it is drawn less often than others: single images are not to count most."""
Shares = Mapping[str, Mapping[str, float]]
"""Row -> class -> share; the row "" stands for all others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """Neutral images: rows, noises, latents after some steps, and the class that the fit judge reads at the end."""

    rows: tuple[str, ...]
    noise: torch.Tensor
    latents: Mapping[int, torch.Tensor]
    labels: torch.Tensor
    held: torch.Tensor


def fit_noise_selection(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Fit the two judges of one concept, on neutral images of every row.

    Args:
        fitting: the model and the fit judge.
        values: concept or present and absent, share, images.

    Raises:
        InputError: a safety concept, or one that the fit judge does not know.
        DeclinedError: the latents do not tell the classes apart before the end.

    Cost: `images` per prompt row.
    """
    concept = concept_of(values, fitting.setting.concept)
    fitting.check_attribute(NAME, concept)
    given = values["share"]
    if given is not None and not 0 < given < 1:
        raise InputError(f"{NAME}: share={given:g}, expected a share of the steps above 0 and below 1")
    before = fitting.host.evaluations
    trials = Trials.judged(fitting, concept, Texts.of(concept).neutral, words=caption_of)
    last = fitting.settings.steps
    looks = {share: step_after(share, last) for share in (_SHARES if given is None else (given,))}
    seen = _seen(fitting, trials, concept, int(values["images"]), {*looks.values(), last - 1})
    judges = {step: _train(concept, seen, step, fitting.setting.seed) for step in seen.latents}
    natural, uppers = _natural(seen, concept)
    target = dict(zip(concept.class_names, concept.reference, strict=True))
    bars = {share: _bars(judges[step], seen, step, natural, share) for share, step in looks.items()}
    costs = {share: _mean_cost(some, natural, target) for share, some in bars.items()}
    share = min(costs, key=lambda one: (costs[one], one))
    chosen = {EARLY: judges[looks[share]], LATE: judges[last - 1]}
    accuracies = {name: _accuracy(judges[step], seen, step) for name, step in ((EARLY, looks[share]), (LATE, last - 1))}
    if accuracies[LATE] < _LEAST_ACCURACY:
        raise DeclinedError(
            f"{NAME} declines on {fitting.host.name}: a small judge of latents reads {concept.name} right in "
            f"{accuracies[LATE]:.2f} of the finished images that it did not learn from; use concept-vector"
        )
    effect = {
        "early_accuracy": round(accuracies[EARLY], 4),
        "late_accuracy": round(accuracies[LATE], 4),
        "bars": {
            name: {row: dataclasses.asdict(one) for row, one in some.items()} for name, some in bars[share].items()
        },
        "expected_cost": {str(one): round(cost, 3) for one, cost in costs.items()},
        "nats": {row: round(_nats(shares, target), 4) for row, shares in natural.items() if row},
        "images": len(seen.labels),
        "held_images": int(seen.held.sum()),
        "evaluations": fitting.host.evaluations - before,
    }
    calibration = {
        **{f"natural {name}": {row: round(s[name], 4) for row, s in natural.items()} for name in concept.class_names},
        **{f"upper {name}": {row: round(s[name], 4) for row, s in uppers.items()} for name in concept.class_names},
        **{f"least {name}": {row: one.least for row, one in some.items()} for name, some in bars[share].items()},
        "share": {"": share},
    }
    return Fitted(tensors_of(chosen), _card(fitting, concept, values, trials, calibration, effect))


def work_of_selection(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    """Neutral images of every row, of which the judges of latents learn."""
    rows = preview.rows(concept_of(values, preview.setting.concept)) or (None,)
    return [Work(what=f"images of {len(rows)} prompts", images=int(values["images"]) * len(rows))]


def step_after(share: float, steps: int) -> int:
    """The number of the step after which a share of them is made; as a run that is stopped there counts."""
    return max(1, round(share * steps)) - 1


def _seen(fitting: Fitting, trials: Trials, concept: Concept, images: int, steps: set[int]) -> Seen:
    noises, latents = NoiseRecorder(), Trajectory(sorted(steps))
    requests = trials.requests(images)
    samples = fitting.make([Onlooker("initial noise", noises), Onlooker("latent", latents)], requests)
    labels = trials.read(samples)
    kept = [row for row, label in enumerate(labels) if label is not None]
    names = concept.class_names
    return Seen(
        rows=tuple(requests[row].row for row in kept),
        noise=torch.cat(noises.noises)[: len(requests)][kept],
        latents={step: torch.cat(some)[: len(requests)][kept] for step, some in latents.latents.items()},
        labels=torch.tensor([names.index(str(labels[row])) for row in kept], dtype=torch.long),
        held=torch.tensor([requests[row].index % _HELD == 0 for row in kept], dtype=torch.bool),
    )


def _train(concept: Concept, seen: Seen, step: int, seed: int) -> LatentJudge:
    weights = _draws(seen)
    return train_judge(
        concept.class_names, seen.noise, seen.latents[step], seen.labels, seen.held, weights=weights, seed=seed
    )


def _mixed(seen: Seen) -> torch.Tensor:
    """The images of rows that show two classes or more, (images,); all of them where no row does."""
    labels: dict[str, set[int]] = {}
    for row, label in zip(seen.rows, seen.labels.tolist(), strict=True):
        labels.setdefault(row, set()).add(label)
    found = torch.tensor([len(labels[row]) > 1 for row in seen.rows], dtype=torch.bool)
    return found if found.any() else ~found


def _draws(seen: Seen) -> torch.Tensor:
    """How often each image is learnt from: the classes of a row alike, a class of a few images less.

    Drawn as they come, most women would be nurses and most men mechanics, and the judge would learn to tell these
    prompts apart, which says nothing about two noises of one prompt.
    """
    cells = [(row, label) for row, label in zip(seen.rows, seen.labels.tolist(), strict=True)]
    counts = Counter(cell for cell, held in zip(cells, seen.held.tolist(), strict=True) if not held)
    draws = torch.tensor([1 / max(counts[cell], _FEW) for cell in cells])
    mixed = _mixed(seen)
    return draws * mixed if (mixed & ~seen.held).any() else draws


def _accuracy(judge: LatentJudge, seen: Seen, step: int) -> float:
    held = seen.held
    return balanced_accuracy(judge, seen.noise[held], seen.latents[step][held], seen.labels[held])


def _bars(judge: LatentJudge, seen: Seen, step: int, natural: Shares, share: float) -> dict[str, dict[str, Bar]]:
    """Class -> row -> from where on a noise is finished; over the held images of rows that show two classes."""
    mixed = seen.held & _mixed(seen)
    held = mixed if mixed.any() else seen.held
    judge.eval()
    with torch.no_grad():
        chances = judge(seen.noise[held], seen.latents[step][held])
    labels = seen.labels[held]
    own = {row: {place: parts[name] for place, name in enumerate(judge.classes)} for row, parts in natural.items()}
    return {
        name: {row: best_bar(chances, labels, place, parts, share) for row, parts in own.items()}
        for place, name in enumerate(judge.classes)
    }


def _natural(seen: Seen, concept: Concept) -> tuple[Shares, Shares]:
    """Natural shares and their one-sided upper limits."""
    shares: dict[str, dict[str, float]] = {}
    uppers: dict[str, dict[str, float]] = {}
    for row in (*dict.fromkeys(seen.rows), ""):
        own = [int(label) for one, label in zip(seen.rows, seen.labels, strict=True) if row in (one, "")]
        counts = [own.count(place) for place in range(len(concept.classes))]
        shares[row] = {name: k / len(own) for name, k in zip(concept.class_names, counts, strict=True)}
        uppers[row] = {
            name: clopper_pearson_upper(k, len(own)) for name, k in zip(concept.class_names, counts, strict=True)
        }
    return shares, uppers


def _mean_cost(bars: Mapping[str, Mapping[str, Bar]], natural: Shares, target: Mapping[str, float]) -> float:
    """Over the rows whose every wanted class has a tenth or more of the images; over all where none has."""
    wanted = [name for name, part in target.items() if part > 0]
    rows = [row for row, parts in natural.items() if row and min(parts[one] for one in wanted) >= 0.1] or [""]
    return sum(sum(target[name] * bars[name][row].cost for name in wanted) for row in rows) / len(rows)


def _nats(natural: Mapping[str, float], target: Mapping[str, float]) -> float:
    """KL of the target from the natural shares: the least that any method pays for these shares."""
    wanted = [(share, natural[name]) for name, share in target.items() if share > 0]
    return sum(share * math.log(share / own) for share, own in wanted) if all(own for _, own in wanted) else 1e6


def _card(
    fitting: Fitting,
    concept: Concept,
    values: Mapping[str, Any],
    trials: Trials,
    calibration: Mapping[str, Mapping[str, float]],
    effect: Mapping[str, Any],
) -> Card:
    settings: Settings = fitting.settings
    return Card(
        method=NAME,
        site="selection",
        frame=Frame.of(fitting.host, image_size=fitting.host.image_size(settings)),
        estimator={"share": values["share"], "images": values["images"]},
        prompts={"trials": [row.name for row in trials.rows]},
        seeds={"calibrate": fitting.setting.seed},
        judges={"fit": fitting.judge_hash},
        guidance=settings.guidance,
        steps=settings.steps,
        concept=concept.to_dict(),
        calibration=calibration,
        effect=effect,
    )
