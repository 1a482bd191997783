"""Fitting a LoRA on population preferences: build, cache, train, look, and keep the best that was seen."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept, ConceptClass
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError
from evenhand.files import read_json, write_bytes, write_json
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
from evenhand.training.population_store import PopulationStore
from evenhand.training.populations import Plan, Populations, build
from evenhand.training.trainer import PopulationPreferenceConfig, PopulationPreferenceTrainer

NAME = "population-preference"
LARGEST_LOSS = 0.03
"""Of the share of images that are recognised; an adapter that loses more is not kept."""
POPULATIONS = "populations.parquet"
_BEST = "best.safetensors"
_ERROR = 0.05
_FRESH = 1_000_000
"""Number of the look at the kept adapter, whose seeds are used for nothing else."""


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
    fitting.check_attribute(NAME, concept)
    frame = Frame.of(fitting.host)  # before an adapter changes what the weights are called
    with contextlib.ExitStack() as stack:
        folder = fitting.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return _carried_out(_Work(fitting, concept, values), frame, folder)


def _carried_out(work: _Work, frame: Frame, folder: Path) -> Fitted:
    """Everything is kept in the folder as soon as it is there, so a fit that was killed goes on."""
    host = work.fitting.host
    before = host.evaluations
    store = PopulationStore(folder / "populations", work.plan)
    populations = work.populations(store)
    data = work.cached(populations)
    spent = host.evaluations - before
    lora, looks, kept = work.trained(data, folder)
    store.export(folder / POPULATIONS)
    effect = {
        "looks": [one.to_dict() for one in looks],
        "kept": kept.to_dict(),
        "rejected": dict(populations.rejected),
        "images": len(populations.images),
        "made": populations.made,
        "evaluations_of_data": spent,
        "evaluations": host.evaluations - before,
    }
    files = {name: (folder / name).read_bytes() for name in (POPULATIONS, "log.jsonl")}
    return Fitted(lora, work.card(frame, effect), files)


class _Work:
    """One fit."""

    def __init__(self, fitting: Fitting, concept: Concept, values: Mapping[str, Any]) -> None:
        self.fitting, self._concept, self._values = fitting, concept, values
        self._target: dict[str, float] = json.loads(values["target"])
        self._rows = fitting.rows(concept)
        self._recognition = _recognition(fitting, concept, self._rows)
        self._seed = fitting.setting.seed

    @property
    def plan(self) -> Plan:
        """What is built."""
        words = {name: words_of(self._concept, name) for name in self._concept.class_names}
        return Plan(
            rows=self._rows,
            target=self._target,
            words=words,
            side=int(self._values["side"]),
            populations=int(self._values["populations"]),
            seed=self._seed,
        )

    def populations(self, store: PopulationStore) -> Populations:
        """The images of both sides; after the first ones it is said how long they all take."""
        plan, steps, watcher = self.plan, self.fitting.settings.steps, self.fitting.watcher
        watcher.say(f"populations: {plan.describe(steps)}")
        said = False

        def make(requests: Sequence[Request]) -> list[Sample]:
            nonlocal said
            started = time.monotonic()
            samples = self.fitting.make([], requests)
            if not said:
                rate = len(requests) / max(time.monotonic() - started, 1e-6)
                watcher.say(f"populations: {plan.describe(steps, rate)}")
                said = True
            return samples

        return build(plan, make, self._read, store=store)

    def cached(self, populations: Populations) -> PreferenceData:
        """Latents, prompts and the reference's errors."""
        host, images = self.fitting.host, populations.images
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

    def trained(self, data: PreferenceData, folder: Path) -> tuple[dict[str, torch.Tensor], list[Look], Look]:
        """The best adapter that was looked at, all looks, and one more at it on seeds that chose nothing."""
        host, looks = self.fitting.host, _Looks(folder, self)
        config = self._config(folder)
        every = int(self._values["look"]) or config.max_steps

        def stop(trainer: PopulationPreferenceTrainer) -> bool:
            if trainer.step % every and trainer.step != config.max_steps:
                return False
            return looks.take(trainer) <= self._values["limit"]

        looks.take(None)
        trainer = PopulationPreferenceTrainer(
            host.denoiser,
            host.pipe.scheduler,
            config,
            data,
            timesteps_per_unit=host.family.timesteps_per_unit,
            callbacks=(stop,),
            watcher=self.fitting.watcher,
        )
        try:
            # a state that was continued may lack its look, or have ended the training already
            done = (
                trainer.step > 0 and (trainer.step % every == 0 or trainer.step == config.max_steps) and stop(trainer)
            )
            if not done:
                trainer.train()
            best = looks.best()
            if not best:
                seen = ", ".join(f"{one.deviation:.2f} at step {one.step}" for one in looks.all)
                raise DeclinedError(
                    f"{NAME} declines on {host.name}: no adapter is fairer in {self._concept.name} and shows as much "
                    f"of what was asked for (deviation {seen}); take more steps=, another rate= or beta="
                )
            trainer.restore(best)
            kept = self.look(looks.step_of_best, _FRESH)
        finally:
            trainer.close()
        return best, looks.all, kept

    def _config(self, folder: Path) -> PopulationPreferenceConfig:
        values = self._values
        return PopulationPreferenceConfig(
            output_dir=folder,
            loss=values["loss"],
            beta=values["beta"],
            learning_rate=values["rate"],
            max_steps=int(values["steps"]),
            populations_per_step=int(values["batch"]),
            rank=int(values["rank"]),
            seed=self._seed,
        )

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
        seen = self._read(self.fitting.make([], requests))
        names = self._concept.class_names
        tallies = []
        for row in self._rows:
            labels = [label for request, (label, _) in zip(requests, seen, strict=True) if request.row == row.name]
            counts = tuple(labels.count(name) for name in names)
            tallies.append(Tally(row=row.name, classes=names, counts=counts, abstained=labels.count(None)))
        wanted = [self._target.get(name, 0.0) for name in names]
        place = 1 if number == _FRESH else max(number, 1)
        level = _ERROR / (place * (place + 1))
        value, (_, upper) = deviation(group_rows(tallies, "iid"), wanted, 1 - 2 * level)
        hits = [found in (None, request.row) for request, (_, found) in zip(requests, seen, strict=True)]
        return Look(step=step, deviation=value, upper=upper, recognised=sum(hits) / len(hits), images=len(requests))

    def _read(self, samples: Sequence[Sample]) -> list[tuple[str | None, str | None]]:
        if self._recognition is None:
            return [(one[0], None) for one in self.fitting.read(samples, [self._concept])]
        found = self.fitting.read(samples, [self._concept, self._recognition])
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
            judges={"fit": self.fitting.judge_hash},
            guidance=self.fitting.settings.guidance,
            steps=self.fitting.settings.steps,
            concept=self._concept.to_dict(),
            effect=effect,
        )


class _Looks:
    """The looks of one training, and the best adapter; both are on the disk before the training goes on."""

    def __init__(self, folder: Path, work: _Work) -> None:
        self._folder, self._work = folder, work
        stored = read_json(folder / "looks.json") if (folder / "looks.json").is_file() else []
        self.all = [Look(**one) for one in stored]

    def take(self, trainer: PopulationPreferenceTrainer | None) -> float:
        """Look at a step, once; the upper limit of the deviation, infinity where the content suffered.

        Args:
            trainer: None looks at the plain model.
        """
        step = trainer.step if trainer else 0
        for one in self.all:
            if one.step == step:
                return self._counts(one)
        look = self._work.look(step, len(self.all))
        if trainer and self._counts(look) < min(self._counts(one) for one in self.all):
            write_bytes(self._folder / _BEST, save(trainer.lora(), metadata={"step": str(step)}))
        self.all.append(look)
        write_json(self._folder / "looks.json", [dataclasses.asdict(one) for one in self.all])
        self._work.fitting.watcher.say(
            f"step {step}: deviation {look.deviation:.3f} (below {look.upper:.3f}), recognised {look.recognised:.3f}"
        )
        return self._counts(look)

    def _counts(self, look: Look) -> float:
        plain = self.all[0].recognised if self.all else look.recognised
        return look.upper if look.recognised >= plain - LARGEST_LOSS else math.inf

    @property
    def step_of_best(self) -> int:
        """At which it was kept; there must be one."""
        with safe_open(self._folder / _BEST, framework="pt") as stored:
            return int(stored.metadata()["step"])

    def best(self) -> dict[str, torch.Tensor]:
        """The adapter; empty where none is fairer than the model."""
        return load_file(self._folder / _BEST) if (self._folder / _BEST).is_file() else {}


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
