"""Fitting noise selection: after how many steps is looked, from which log-odds on one is finished, what it costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch

from evenhand.concepts.concept import Concept
from evenhand.concepts.wordings import caption_of
from evenhand.errors import DeclinedError
from evenhand.interventions.implied_classes import ImpliedClasses, step_after
from evenhand.interventions.noise_selection import log_odds
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.class_texts import Texts, concept_of
from evenhand.methods.fitting import Fitted, Fitting, Preview, Work
from evenhand.methods.prompt_mix import words_of
from evenhand.methods.selection_cost import Bar, best_bar
from evenhand.methods.selection_joint import LEAST, NAME, SHOWN, key_at
from evenhand.methods.vector_trials import Trials
from evenhand.metrics.intervals import clopper_pearson_upper

_LOOKS = (0.08, 0.12, 0.16, 0.2, 0.28, 0.4)
"""Of the steps, after which a first look is tried; the cheapest for the concept's own target is taken."""
_CHECKS = (0.56, 0.72, 0.88, 0.96)
"""At which the class of a noise that is finished is read; the one that is right most often is taken."""
_LEAST_ACCURACY = 0.6
Shares = Mapping[str, Mapping[str, float]]
"""Row -> class -> share; the row "" stands for all others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """Neutral images: rows, chances of the classes as read at shares of the steps, and what the fit judge reads."""

    rows: tuple[str, ...]
    chances: Mapping[float, torch.Tensor]
    labels: torch.Tensor


def fit_noise_selection(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Calibrate the readings of one concept, on neutral images of every row.

    Args:
        fitting: the model and the fit judge.
        values: concept or present and absent, share, images.

    Raises:
        InputError: a safety concept, or one that the fit judge does not know.
        DeclinedError: the predictions do not tell the classes apart.

    Cost: `images` per prompt row, with a denoiser row more for each class and reading.
    """
    concept = concept_of(values, fitting.setting.concept)
    fitting.check_attribute(NAME, concept)
    before = fitting.host.evaluations
    trials = Trials.judged(fitting, concept, Texts.of(concept).neutral, words=caption_of)
    looks = _LOOKS if values["share"] is None else (values["share"],)
    seen = _seen(fitting, trials, concept, int(values["images"]), {*looks, *_CHECKS})
    natural, uppers = _natural(seen, concept)
    accuracies = {share: _accuracy(seen, concept, share) for share in seen.chances}
    check = max(_CHECKS, key=lambda share: (accuracies[share], -share))
    if accuracies[check] < _LEAST_ACCURACY:
        raise DeclinedError(
            f"{NAME} declines on {fitting.host.name}: what it predicts under prompts that name {concept.name} tells in "
            f"{accuracies[check]:.2f} of the images what they show; use concept-vector"
        )
    target = dict(zip(concept.class_names, concept.reference, strict=True))
    bars = {share: _bars(fitting, concept, seen, natural, share) for share in looks}
    costs = {share: _mean_cost(some, natural, target) for share, some in bars.items()}
    look = min(costs, key=lambda one: (costs[one], one))
    effect = {
        "accuracy": {str(share): round(one, 4) for share, one in sorted(accuracies.items())},
        "bars": {
            name: {row: dataclasses.asdict(one) for row, (one, _) in some.items()} for name, some in bars[look].items()
        },
        "expected_cost": {str(one): round(cost, 3) for one, cost in costs.items()},
        "nats": {row: round(_nats(shares, target), 4) for row, shares in natural.items() if row},
        "images": len(seen.labels),
        "evaluations": fitting.host.evaluations - before,
    }
    calibration = {
        **{f"natural {name}": {row: round(s[name], 4) for row, s in natural.items()} for name in concept.class_names},
        **{f"upper {name}": {row: round(s[name], 4) for row, s in uppers.items()} for name in concept.class_names},
        **_tables(LEAST, {share: _leasts(some) for share, some in bars.items()}, look),
        **_tables(SHOWN, {share: _shown(seen, concept, share) for share in _CHECKS}, check),
        "look": {"": look},
        "check": {"": check},
    }
    return Fitted({}, _card(fitting, concept, values, trials, calibration, effect))


def work_of_selection(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    """Neutral images of every row, and the readings."""
    concept = concept_of(values, preview.setting.concept)
    rows = preview.rows(concept) or (None,)
    images = int(values["images"]) * len(rows)
    readings = len({*(_LOOKS if values["share"] is None else (values["share"],)), *_CHECKS})
    return [
        Work(what=f"images of {len(rows)} prompts", images=images),
        Work(what="readings", rows=images * readings * len(concept.classes)),
    ]


def _seen(fitting: Fitting, trials: Trials, concept: Concept, images: int, shares: set[float]) -> Seen:
    words = {name: words_of(concept, name) for name in concept.class_names}
    reading = ImpliedClasses(factors=(words,), shares=sorted(shares))
    requests = trials.requests(images)
    labels = trials.read(fitting.make([reading], requests))
    kept = [row for row, label in enumerate(labels) if label is not None]
    names = concept.class_names
    return Seen(
        rows=tuple(requests[row].row for row in kept),
        chances={share: reading.chances(share)[: len(requests)][kept] for share in sorted(shares)},
        labels=torch.tensor([names.index(str(labels[row])) for row in kept], dtype=torch.long),
    )


def _mixed(seen: Seen) -> torch.Tensor:
    """The images of rows that show two classes or more, (images,); all of them where no row does."""
    labels: dict[str, set[int]] = {}
    for row, label in zip(seen.rows, seen.labels.tolist(), strict=True):
        labels.setdefault(row, set()).add(label)
    found = torch.tensor([len(labels[row]) > 1 for row in seen.rows], dtype=torch.bool)
    return found if found.any() else ~found


def _accuracy(seen: Seen, concept: Concept, share: float) -> float:
    """Balanced accuracy of what lies above the middles of its rows, the mean over the classes; a coin is right in .5.

    Over the images of rows that show two classes or more.
    """
    kept, rates = _mixed(seen), []
    for place, name in enumerate(concept.class_names):
        middles = _middles(seen, concept, share, name)
        mine = seen.labels == place
        if (kept & mine).any() and (kept & ~mine).any():
            odds = log_odds(seen.chances[share].log(), place)
            right = (odds >= torch.tensor([middles[row] for row in seen.rows])) == mine
            rates += [float(right[kept & some].float().mean()) for some in (mine, ~mine)]
    return sum(rates) / len(rates) if rates else 0.0


def _bars(
    fitting: Fitting, concept: Concept, seen: Seen, natural: Shares, share: float
) -> dict[str, dict[str, tuple[Bar, float]]]:
    """Class -> row -> from where on a noise is finished, and the same in log-odds.

    Early on the latents of all noises are nearly alike, and so are the chances of their classes; a sampler without
    noise of its own makes much of small differences. So log-odds are measured from the row's own cut, above which as
    many of its noises lie as show the class, in units of how far they scatter; then all rows that show two classes
    count together.
    """
    kept = _mixed(seen)
    steps, classes = fitting.settings.steps, len(concept.classes)
    image = steps * (2 if fitting.settings.guidance > 1 else 1)
    look = (step_after(share, steps) + 1) / steps + classes / image
    bars: dict[str, dict[str, tuple[Bar, float]]] = {}
    for place, name in enumerate(concept.class_names):
        odds = log_odds(seen.chances[share].log(), place)
        cuts = {row: _cut(odds[_of(seen, row)], parts[name]) for row, parts in natural.items()}
        scatters = {row: _scatter(odds[_of(seen, row)]) for row in natural}
        pairs = zip(seen.rows, odds.tolist(), strict=True)
        apart = torch.tensor([(one - cuts[row]) / scatters[row] for row, one in pairs])
        bars[name] = {}
        for row, parts in natural.items():
            numbers = {number: parts[one] for number, one in enumerate(concept.class_names)}
            bar = best_bar(apart[kept], seen.labels[kept], place, numbers, look, 1 + classes / image)
            bars[name][row] = (bar, round(cuts[row] + bar.least * scatters[row], 4))
    return bars


def _leasts(bars: Mapping[str, Mapping[str, tuple[Bar, float]]]) -> Shares:
    return {name: {row: least for row, (_, least) in some.items()} for name, some in bars.items()}


def _shown(seen: Seen, concept: Concept, share: float) -> Shares:
    return {name: _middles(seen, concept, share, name) for name in concept.class_names}


def _tables(which: str, found: Mapping[float, Shares], own: float) -> dict[str, Mapping[str, float]]:
    """Those at the share that is used, and those at others, at which a joint may look or check."""
    return {
        f"{which} {name}" if share == own else key_at(which, name, share): table
        for share, tables in found.items()
        for name, table in tables.items()
    }


def _middles(seen: Seen, concept: Concept, share: float, name: str) -> dict[str, float]:
    """Row -> log-odds from which on a class is taken to be shown: between the medians of its images and of others.

    A row that shows one or the other only has those of all rows.
    """
    place = concept.class_names.index(name)
    odds, mine = log_odds(seen.chances[share].log(), place), seen.labels == place

    def middle(among: torch.Tensor) -> float | None:
        sides = [odds[among & one] for one in (mine, ~mine)]
        return sum(float(one.median()) for one in sides) / 2 if all(map(len, sides)) else None

    overall = middle(_of(seen, "")) or 0.0
    found = {row: middle(_of(seen, row)) for row in (*dict.fromkeys(seen.rows), "")}
    return {row: round(overall if one is None else one, 4) for row, one in found.items()}


def _of(seen: Seen, row: str) -> torch.Tensor:
    """The images of a row; all for the row ""."""
    return torch.tensor([row in (one, "") for one in seen.rows], dtype=torch.bool)


def _cut(odds: torch.Tensor, share: float) -> float:
    """The log-odds above which a share of them lie; 0 where all or none do, since that says nothing of the others."""
    return float(odds.quantile(1 - share)) if 0 < share < 1 else 0.0


def _scatter(odds: torch.Tensor) -> float:
    return max(float(odds.std(correction=0)), 1e-3)


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


def _mean_cost(
    bars: Mapping[str, Mapping[str, tuple[Bar, float]]], natural: Shares, target: Mapping[str, float]
) -> float:
    """Over the rows whose every wanted class has a tenth or more of the images; over all where none has."""
    wanted = [name for name, part in target.items() if part > 0]
    rows = [row for row, parts in natural.items() if row and min(parts[one] for one in wanted) >= 0.1] or [""]
    return sum(sum(target[name] * bars[name][row][0].cost for name in wanted) for row in rows) / len(rows)


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
    settings = fitting.settings
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
