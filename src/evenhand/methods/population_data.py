"""What a training of population preference reads: built, cached, held, refreshed; all of it goes on after a kill."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import InputError
from evenhand.host.families import prediction_type
from evenhand.methods.fitting import Fitting
from evenhand.methods.population_sides import NAME
from evenhand.records import Request, Sample
from evenhand.training.cache import (
    PreferenceData,
    draw_timesteps,
    pair_numbers,
    winners_under_own_prompts,
    with_lessons,
    with_reference,
)
from evenhand.training.denoising import encode_prompts, sampler_grid
from evenhand.training.lora import without_lora
from evenhand.training.population_store import PopulationStore
from evenhand.training.populations import Made, Plan, Populations, Read, build, naming

_PRIOR = "prior"


class DataBuilder:
    """Images and caches of one fit.

    Args:
        fitting: the model and the fit judge.
        plan: of the populations.
        read: what images show.
        values: draws, timesteps.
        folder: keeps everything as soon as it is there.
        teach: whether the reference's predictions under the winners' own prompts are cached too.
    """

    def __init__(
        self, fitting: Fitting, plan: Plan, read: Read, values: Mapping[str, Any], folder: Path, *, teach: bool
    ) -> None:
        self._fitting, self._plan, self._read, self._folder = fitting, plan, read, folder
        self._draws, self._drawn_from, self._above = int(values["draws"]), values["timesteps"], values["above"]
        self._teach = teach
        self.store = PopulationStore(folder / "populations", plan)

    def populations(self) -> Populations:
        """The images of both sides; after the first ones it is said how long they all take."""
        plan, settings, watcher = self._plan, self._fitting.settings, self._fitting.watcher
        guided = settings.guidance > 1
        watcher.say(f"populations: {plan.describe(settings.steps, guided=guided)}")
        said = False

        def make(requests: Sequence[Request]) -> list[Sample]:
            nonlocal said
            started = time.monotonic()
            samples = self._fitting.make([], requests)
            if not said:
                rate = len(requests) / max(time.monotonic() - started, 1e-6)
                watcher.say(f"populations: {plan.describe(settings.steps, rate, guided=guided)}")
                said = True
            return samples

        return build(plan, make, self._read, store=self.store)

    def cached(self, populations: Populations) -> PreferenceData:
        """Latents, prompts and the reference's errors.

        Cost: a step for each prompt, `draws` denoiser rows for each image, and as many for each winner that teaches.
        """
        images = populations.images
        own = [one.slot.prompt if self._teach and one.slot.winner else one.slot.caption for one in images]
        captions = list(dict.fromkeys(one.slot.caption for one in images))
        if self._teach:  # every class of every caption, also those that no winner was asked for
            wanted = [words for name, words in self._plan.words.items() if self._plan.target.get(name, 0) > 0]
            captions = list(dict.fromkeys([*captions, *(naming(one, words) for one in captions for words in wanted)]))
        return self._kept(
            "cache",
            latents=torch.stack([one.latents.float() for one in images]),
            winner=torch.tensor([one.slot.winner for one in images]),
            population=torch.tensor([one.slot.population for one in images]),
            prompt=torch.tensor([captions.index(one.slot.caption) for one in images]),
            own=torch.tensor([captions.index(one) for one in own]),
            captions=captions,
            teach=self._teach,
        )

    def prior(
        self, rows: Sequence[PromptRow], images: int, specific: Sequence[Made], data: PreferenceData
    ) -> PreferenceData | None:
        """Images whose error training holds to the reference's, each under the prompt that made it; None for none.

        Args:
            rows: other prompts, of which the plain model makes images.
            images: for each; 0 is off.
            specific: images that are there already, of prompts that name a class.
            data: as training reads them; the winners that teach have what is to be held there.

        Raises:
            InputError: images of no prompts.

        Cost: the images, and `draws` denoiser rows for each and for the specific ones, twice as many where they teach;
            nothing where there are specific ones alone that teach.
        """
        if images and not rows:
            raise InputError(f"{NAME}: prior={images} holds images of other prompts; name a set or file with others=")
        if not images and not specific:
            return None
        if self._teach and not images:
            return winners_under_own_prompts(data, self._fitting.host.pipe.scheduler)
        if (self._folder / _PRIOR / "conditions.safetensors").is_file():
            return PreferenceData.load(self._folder / _PRIOR)
        requests = [
            Request(
                row=row.name,
                prompt=row.prompt(index),
                index=index,
                seed=image_seed(self._plan.seed, "fit", f"{row.name} prior", index),
            )
            for row in rows
            for index in range(images)
        ]
        made = self._fitting.make([], requests) if requests else []
        held = [(one.request.prompt, torch.from_numpy(one.latents)) for one in made if one.latents is not None]
        held += [(one.slot.prompt, one.latents) for one in specific]
        captions = list(dict.fromkeys(prompt for prompt, _ in held))
        return self._kept(
            _PRIOR,
            latents=torch.stack([latents.float() for _, latents in held]),
            winner=torch.ones(len(held), dtype=torch.bool),
            population=torch.arange(len(held)),
            prompt=(prompts := torch.tensor([captions.index(prompt) for prompt, _ in held])),
            own=prompts.clone(),  # stored tensors share no memory
            captions=captions,
            teach=self._teach,
        )

    def refreshed(
        self, data: PreferenceData, populations: Populations, rounds: Sequence[int], folder: Path
    ) -> PreferenceData:
        """The data with losers from the model as it is now; the reference's errors stay the reference's.

        A loser that the model no longer gives stays what it was.

        Args:
            data: as training reads it.
            populations: in whose order its rows are.
            rounds: numbers of the refreshments, from 1 on; those that were made before are read back.
            folder: of the training whose model it is.

        Cost: a loser's images and checks for each, and `draws` denoiser rows.
        """
        latents, changed = data.latents.clone(), set()
        for number in rounds:
            plan = self._plan.refreshed(number)
            store = PopulationStore(folder / f"losers-{number}", plan)
            made = build(plan, lambda some: self._fitting.make([], some), self._read, store=store, partial=True)
            new = {(one.slot.population, one.slot.index): one.latents for one in made.images}
            for row, one in enumerate(populations.images):
                place = (one.slot.population, one.slot.index)
                if not one.slot.winner and place in new:
                    latents[row] = new[place].float()
                    changed.add(row)
        if not changed:
            return data
        host = self._fitting.host
        with without_lora(host.denoiser):
            return with_reference(
                dataclasses.replace(data, latents=latents),
                host.denoiser,
                host.pipe.scheduler,
                host.family.timesteps_per_unit,
                of=torch.tensor(sorted(changed)),
            )

    def _kept(
        self,
        name: str,
        *,
        captions: Sequence[str],
        population: torch.Tensor,
        winner: torch.Tensor,
        teach: bool = False,
        **parts: Any,
    ) -> PreferenceData:
        """A cache from the disk, else made and put there."""
        folder, host, seed = self._folder / name, self._fitting.host, self._plan.seed
        if (folder / "conditions.safetensors").is_file():
            return PreferenceData.load(folder)
        pair = pair_numbers(population, winner)
        data = PreferenceData(
            population=population,
            winner=winner,
            pair=pair,
            timesteps=self._timesteps(1 + int(pair.max()), captions[0]),
            reference=torch.zeros(len(population), self._draws),
            taught=torch.zeros(0),
            weight=torch.ones(len(population)),
            conditions=encode_prompts(host, captions),
            seed=seed,
            prediction=prediction_type(host.pipe),
            **parts,
        )
        model = (host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit)
        found = with_reference(data, *model)
        if teach:
            found = with_lessons(found, *model)
        found.save(folder)
        return found

    def _timesteps(self, pairs: int, prompt: str) -> torch.Tensor:
        host, seed = self._fitting.host, self._plan.seed
        last = int(host.pipe.scheduler.config.num_train_timesteps)
        if self._drawn_from == "grid":
            grid = sampler_grid(host, prompt, self._fitting.settings.steps)
            return draw_timesteps(pairs, self._draws, seed, grid)
        return draw_timesteps(pairs, self._draws, seed, last=last, first=int(self._above * last))
