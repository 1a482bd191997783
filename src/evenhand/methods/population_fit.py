"""Fitting a LoRA on population preferences: build, cache, train, look, and keep the best that was seen."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept, ConceptClass
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError, InputError
from evenhand.host.families import prediction_type
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.fitting import Fitted, Fitting
from evenhand.methods.prompt_mix import words_of
from evenhand.metrics.deviation import deviation
from evenhand.metrics.rows import group_rows
from evenhand.metrics.tally import Tally
from evenhand.records import Request, Sample
from evenhand.training.cache import PreferenceData, draw_timesteps, with_reference
from evenhand.training.denoising import encode_prompts
from evenhand.training.populations import Plan, Populations, build
from evenhand.training.trainer import PopulationPreferenceConfig, PopulationPreferenceTrainer

NAME = "population-preference"
LARGEST_LOSS = 0.03
"""Of the share of images that are recognised; an adapter that loses more is not kept."""
_ERROR = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """What an audit by the fit judge found at a step.

    Args:
        step: of the training; 0 is the plain model.
        deviation: debiased, over the rows.
        upper: its upper limit, at an error level that sums to 5 % over all looks.
        recognised: share of the images that show their row.
        images: that were looked at.
    """

    step: int
    deviation: float
    upper: float
    recognised: float
    images: int

    def to_dict(self) -> dict[str, float]:
        """For the card."""
        return {name: round(float(value), 4) for name, value in dataclasses.asdict(self).items()}


def fit_population_preference(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Train an adapter under which the images of neutral prompts have the target's shares.

    Source: PopAlign (arXiv:2406.19668); see `training.losses` for what the losses are.

    Args:
        fitting: the model and the fit judge, which filters and stops.
        values: concept, target (JSON), loss, beta, steps, rate, rank, side, populations, draws, look, limit.

    Raises:
        InputError: a safety concept, or one that the fit judge does not know.
        DeclinedError: the model does not obey the words for a class, or no adapter is fairer than the model itself.

    Cost: 2 x side x populations images per row, draws + 2 rows per image and epoch, and the looks.
    """
    concept = fitting.setting.concept(values["concept"])
    if concept.kind != "attribute":
        raise InputError(f"{NAME} gives an attribute its shares; for {concept.name} use safe-guidance")
    if not fitting.knows(concept):
        raise InputError(f"{NAME} filters and stops by the fit judge, and it does not know {concept.name}")
    frame = Frame.of(fitting.host)  # before an adapter changes what the weights are called
    before = fitting.host.evaluations
    work = _Work(fitting, concept, values)
    populations = work.populations()
    data = work.cached(populations)
    spent = fitting.host.evaluations - before
    with tempfile.TemporaryDirectory() as folder:
        lora, looks = work.trained(data, Path(folder))
    effect = {
        "looks": [one.to_dict() for one in looks],
        "rejected": dict(populations.rejected),
        "images": len(populations.images),
        "made": populations.made,
        "evaluations_of_data": spent,
        "evaluations": fitting.host.evaluations - before,
    }
    return Fitted(lora, work.card(frame, effect))


class _Work:
    """One fit."""

    def __init__(self, fitting: Fitting, concept: Concept, values: Mapping[str, Any]) -> None:
        self._fitting, self._concept, self._values = fitting, concept, values
        self._target: dict[str, float] = json.loads(values["target"])
        self._rows = fitting.rows(concept)
        self._recognition = _recognition(fitting, concept, self._rows)
        self._seed = fitting.setting.seed

    def populations(self) -> Populations:
        """The images of both sides."""
        words = {name: words_of(self._concept, name) for name in self._concept.class_names}
        plan = Plan(
            rows=self._rows,
            target=self._target,
            words=words,
            side=int(self._values["side"]),
            populations=int(self._values["populations"]),
            seed=self._seed,
        )
        self._fitting.watcher.say(f"populations: {plan.describe(self._fitting.settings.steps)}")
        return build(plan, lambda requests: self._fitting.make([], requests), self._read)

    def cached(self, populations: Populations) -> PreferenceData:
        """Latents, prompts and the reference's errors."""
        host, images = self._fitting.host, populations.images
        captions = list(dict.fromkeys(one.slot.caption for one in images))
        draws = int(self._values["draws"])
        data = PreferenceData(
            latents=torch.stack([one.latents.float() for one in images]),
            winner=torch.tensor([one.slot.winner for one in images]),
            population=torch.tensor([one.slot.population for one in images]),
            prompt=torch.tensor([captions.index(one.slot.caption) for one in images]),
            timesteps=draw_timesteps(1 + max(one.slot.population for one in images), draws, self._seed),
            reference=torch.zeros(len(images), draws),
            conditions=encode_prompts(host, captions),
            seed=self._seed,
            prediction=prediction_type(host.pipe),
        )
        return with_reference(data, host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit)

    def trained(self, data: PreferenceData, folder: Path) -> tuple[dict[str, torch.Tensor], list[Look]]:
        """The best adapter that was looked at, and all looks."""
        values, host = self._values, self._fitting.host
        config = PopulationPreferenceConfig(
            output_dir=folder,
            loss=values["loss"],
            beta=values["beta"],
            learning_rate=values["rate"],
            max_steps=int(values["steps"]),
            populations_per_step=int(values["batch"]),
            rank=int(values["rank"]),
            seed=self._seed,
        )
        looks = [self.look(0, 0)]
        best: dict[str, torch.Tensor] = {}
        every = int(values["look"]) or config.max_steps

        def stop(trainer: PopulationPreferenceTrainer) -> bool:
            nonlocal best
            if trainer.step % every and trainer.step != config.max_steps:
                return False
            look = self.look(trainer.step, len(looks))
            kept = look.recognised >= looks[0].recognised - LARGEST_LOSS
            if kept and all(look.upper < one.upper for one in looks):
                best = trainer.lora()
            looks.append(look)
            self._fitting.watcher.say(
                f"step {look.step}: deviation {look.deviation:.3f} (below {look.upper:.3f}), recognised "
                f"{look.recognised:.3f}"
            )
            return kept and look.upper <= values["limit"]

        trainer = PopulationPreferenceTrainer(
            host.denoiser,
            host.pipe.scheduler,
            config,
            data,
            timesteps_per_unit=host.family.timesteps_per_unit,
            callbacks=(stop,),
            watcher=self._fitting.watcher,
        )
        try:
            trainer.train()
        finally:
            trainer.close()
        if not best:
            seen = ", ".join(f"{one.deviation:.2f} at step {one.step}" for one in looks)
            raise DeclinedError(
                f"{NAME} declines on {host.name}: no adapter is fairer in {self._concept.name} and shows as much of "
                f"what was asked for (deviation {seen}); take more steps=, another rate= or beta="
            )
        return best, looks

    def look(self, step: int, number: int) -> Look:
        """Images of the neutral prompts with whatever the denoiser is now, on seeds that no other look uses."""
        images = int(self._values["looks"])
        requests = [
            Request(
                row=row.name,
                prompt=row.phrase or row.prompt(index),
                index=index,
                seed=image_seed(self._seed, "stop", f"{row.name} {number}", index),
            )
            for row in self._rows
            for index in range(images)
        ]
        seen = self._read(self._fitting.make([], requests))
        names = self._concept.class_names
        tallies = []
        for row in self._rows:
            labels = [label for request, (label, _) in zip(requests, seen, strict=True) if request.row == row.name]
            counts = tuple(labels.count(name) for name in names)
            tallies.append(Tally(row=row.name, classes=names, counts=counts, abstained=labels.count(None)))
        wanted = [self._target.get(name, 0.0) for name in names]
        level = _ERROR / (max(number, 1) * (max(number, 1) + 1))
        value, (_, upper) = deviation(group_rows(tallies, "iid"), wanted, 1 - 2 * level)
        hits = [found in (None, request.row) for request, (_, found) in zip(requests, seen, strict=True)]
        return Look(step=step, deviation=value, upper=upper, recognised=sum(hits) / len(hits), images=len(requests))

    def _read(self, samples: Sequence[Sample]) -> list[tuple[str | None, str | None]]:
        if self._recognition is None:
            return [(one[0], None) for one in self._fitting.read(samples, [self._concept])]
        found = self._fitting.read(samples, [self._concept, self._recognition])
        return [(label, row) for label, row in found]

    def card(self, frame: Frame, effect: Mapping[str, Any]) -> Card:
        """Where the adapter comes from."""
        return Card(
            method=NAME,
            site="weight",
            frame=frame,
            estimator={name: value for name, value in self._values.items() if name not in ("concept", "strength")},
            prompts={"trained on": [row.name for row in self._rows]},
            seeds={"fit": self._seed, "stop": self._seed},
            judges={"fit": self._fitting.judge_hash},
            guidance=self._fitting.settings.guidance,
            steps=self._fitting.settings.steps,
            concept=self._concept.to_dict(),
            effect=effect,
        )


def _recognition(fitting: Fitting, concept: Concept, rows: Sequence[PromptRow]) -> Concept | None:
    """The rows as classes, where the fit judge can tell them apart."""
    classes = tuple(ConceptClass(name=row.name, phrases=(row.phrase,)) for row in rows if row.phrase)
    if len(classes) < 2 or concept.prompts is None:
        return None
    for name in (concept.prompts, concept.prompts.removesuffix("s")):
        one = Concept(name=name, classes=classes, present=concept.present, absent=concept.absent)
        if fitting.knows(one):
            return one
    return None
