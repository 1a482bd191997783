"""One training with its looks: of the adapter that is saved, or of a loss that it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evenhand.errors import DeclinedError
from evenhand.methods.fitting import Fitting
from evenhand.methods.population_checks import Counts, worth_of
from evenhand.methods.population_data import DataBuilder
from evenhand.methods.population_finish import asked_of, finish, take_up
from evenhand.methods.population_looks import Limits, Look, Looks, look_at
from evenhand.methods.population_observer import CHECKS, FRESH, Observer
from evenhand.methods.population_seen import Seen
from evenhand.methods.population_sides import NAME, settling_steps
from evenhand.methods.population_steering import EVERY, Steering, check_sizes, readable
from evenhand.methods.quick_images import QuickPlan
from evenhand.methods.spent import Spent
from evenhand.training.cache import PreferenceData
from evenhand.training.config import PopulationPreferenceConfig
from evenhand.training.implied_shares import ImpliedShares
from evenhand.training.lora import without_lora
from evenhand.training.populations import Plan, Populations
from evenhand.training.rate import settling_part
from evenhand.training.trainer import PopulationPreferenceTrainer, TrainingError

_SAVE_EVERY = 100
_AVERAGED = 4
"""The adapter is the mean of those over the last of so many parts of settling, in which its rate falls."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gave.

    Args:
        lora: the best adapter that was seen; the last one where none is better than the model.
        better: whether it is better than the model.
        looks: all of them; the first is at the plain model.
        step: at which the adapter was kept.
        last: step at which the training ended.
        kept: one more look at the adapter, on seeds that chose nothing; None where none was asked for.
        failed: why the training ended early, "" where it did not.
    """

    lora: Mapping[str, torch.Tensor]
    better: bool
    looks: list[Look]
    step: int
    last: int
    kept: Look | None = None
    failed: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """Everything that the trainings of one fit share.

    Args:
        fitting: the model and the fit judge.
        values: of the method's parameters.
        plan: of the populations.
        observer: makes and reads the images of looks.
        limits: of what may be lost.
        builder: of the data.
        populations: that were built.
        data: as training reads them.
        prior: images that are held; None for none.
        folder: of the fit.
        spent: counts what it costs.
    """

    fitting: Fitting
    values: Mapping[str, Any]
    plan: Plan
    observer: Observer
    limits: Limits
    builder: DataBuilder
    populations: Populations
    data: PreferenceData
    prior: PreferenceData | None
    folder: Path
    spent: Spent

    def train(self) -> Trained:
        """The training of the adapter that is saved; it stops where a look is good enough.

        Raises:
            DeclinedError: no adapter is better than the model itself.
            TrainingError: the loss became no number before any was.
        """
        looks = Looks(self.folder, self.observer, self.limits, self.folder)
        looks.take(0)
        found = self._run(self.folder, self.values["loss"], looks, None)
        if not found.better:
            if found.failed:
                raise TrainingError(found.failed)
            raise DeclinedError(self._why(found))
        return found

    def train_as_long(self, loss: str, plain: Look, steps: int) -> Trained:
        """Another loss on the same data for as many steps, whatever its looks say.

        Args:
            loss: one of `losses.LOSSES`.
            plain: the look at the plain model that the fit has.
            steps: after which it ends.

        Raises:
            TrainingError: the loss became no number.
        """
        folder = self.folder / "against" / loss
        looks = Looks(folder, self.observer, self.limits, self.folder)
        looks.begin_with(plain)
        return self._run(folder, loss, looks, steps)

    def _run(self, folder: Path, loss: str, looks: Looks, until: int | None) -> Trained:
        host, config, steering = self.fitting.host, self._config(folder, loss), self._steering(folder)
        trainer = PopulationPreferenceTrainer(
            host.denoiser,
            host.pipe.scheduler,
            config,
            self.data,
            prior=self.prior,
            timesteps_per_unit=host.family.timesteps_per_unit,
            callbacks=(self._after_step(looks, config, until, steering),),
            watcher=self.fitting.watcher,
        )
        failed = ""
        try:
            try:
                self._go_on(trainer, config, looks, until, steering)
            except TrainingError as error:
                failed = str(error)
                self.fitting.watcher.say(failed)
                if trainer.step:
                    looks.take(trainer.step, trainer.lora)  # the adapter that was good last
            best = looks.best()
            if best:
                trainer.restore(best)
            return Trained(
                lora=best or trainer.lora(),
                better=bool(best),
                looks=looks.all,
                step=looks.step_of_best if best else trainer.step,
                last=trainer.step,
                kept=self._audited(looks) if best and until is None else None,
                failed=failed,
            )
        finally:
            trainer.close()

    def _after_step(
        self, looks: Looks, config: PopulationPreferenceConfig, until: int | None, steering: Steering | None
    ) -> Callable[[PopulationPreferenceTrainer], bool]:
        """Looks, steers, and refreshes the losers; True where the training is to end."""
        end = config.last_step if until is None else until
        every = int(self.values["look"]) or config.last_step
        refresh = int(self.values["refresh"])

        def after(trainer: PopulationPreferenceTrainer) -> bool:
            good = False
            self.spent.keep()
            if steering:
                self._steer(steering, trainer)
                if trainer.step == config.last_step and self.values["checks"]:
                    self._finish(steering, trainer)
            if trainer.step % every == 0 or trainer.step == end:
                limit = looks.take(trainer.step, trainer.lora)
                good = until is None and limit <= self.values["limit"]
            if good or trainer.step >= end:
                return True
            if refresh and trainer.step % refresh == 0:
                trainer.save()  # before the images: a kill among them goes on with this adapter
                number = trainer.step // refresh
                trainer.data = self._refreshed(trainer, [number])
            return False

        return after

    def _go_on(
        self,
        trainer: PopulationPreferenceTrainer,
        config: PopulationPreferenceConfig,
        looks: Looks,
        until: int | None,
        steering: Steering | None,
    ) -> None:
        """Train from the state that lies in the folder, which may lack the look or the losers of its last step."""
        refresh = int(self.values["refresh"])
        if trainer.step:
            if refresh and trainer.step > refresh:
                done = range(1, (trainer.step - 1) // refresh + 1)
                trainer.data = self._refreshed(trainer, done)
            if steering:
                trainer.data = self._steered(steering, trainer)
            if self._after_step(looks, config, until, steering)(trainer):
                return
        trainer.train()

    def _refreshed(self, trainer: PopulationPreferenceTrainer, rounds: Sequence[int]) -> PreferenceData:
        return self.builder.refreshed(trainer.data, self.populations, rounds, trainer.config.output_dir)

    def _steering(self, folder: Path) -> Steering | None:
        """What reads and steers a training that settles; None where winners teach nothing, or it is off."""
        values, host = self.values, self.fitting.host
        if not (settling_steps(self.observer.concept, values) and values["steer"]) or len(self.observer.target) < 2:
            return None
        images = self.populations.images
        reading = ImpliedShares(
            self.data, readable(self.data, images, self.plan), host.pipe.scheduler, host.family.timesteps_per_unit
        )
        return Steering(folder, reading, images, self.plan.target, values["steer"])

    def _steer(self, steering: Steering, trainer: PopulationPreferenceTrainer) -> None:
        """Read the shares where it is time, and weight the winners accordingly."""
        settled = trainer.step - trainer.config.max_steps
        if settled >= 0 and settled % EVERY == 0 and trainer.step < trainer.config.last_step:
            missed = steering.take(trainer.step, self.fitting.host.denoiser, self._check(settled))
            self.fitting.watcher.say(f"step {trainer.step}: the predictions imply shares that miss by {missed:.3f}")
            trainer.data = self._steered(steering, trainer)

    def _finish(self, steering: Steering, trainer: PopulationPreferenceTrainer) -> None:
        """Teach what images of the trained adapter say that shares still miss; once, also after a kill."""
        if take_up(trainer):
            return
        host, watcher = self.fitting.host, self.fitting.watcher
        missed = steering.take(trainer.step, host.denoiser, self._check(trainer.config.settle_steps))
        watcher.say(f"step {trainer.step}: images say that shares miss by {missed:.3f}; this is taught at last")
        asked = asked_of(steering.missing(trainer.step), self.data, self.populations.images, self.plan)
        finish(trainer, asked, host.pipe.scheduler, host.family.timesteps_per_unit, watcher)

    def _steered(self, steering: Steering, trainer: PopulationPreferenceTrainer) -> PreferenceData:
        """The data with the weights that the last reading asks for, at the rate that the model had there."""
        read = (trainer.step - trainer.config.max_steps) // EVERY * EVERY
        part = settling_part(max(read, 0), trainer.config.settle_steps)
        return steering.steered(trainer.data, trainer.step, part or 1.0)  # 0 where the training has ended

    def _check(self, settled: int) -> Callable[[], Counts] | None:
        """Counts the classes in some images, where it is time."""
        place = -(-settled // EVERY)
        settle = settling_steps(self.observer.concept, self.values)
        sizes = check_sizes(settle, int(self.values["checks"]))
        if place not in sizes:
            return None

        def look() -> Counts:
            plan, number = QuickPlan.of(sizes[place], self.fitting.settings.steps), CHECKS + list(sizes).index(place)
            whole = self.observer.labels(number, plan.whole)
            quick = self.observer.labels(number, plan.whole + plan.quick, plan.steps) if plan.quick else {}
            return worth_of(quick, whole, self.observer.concept.class_names)

        return look

    def _audited(self, looks: Looks) -> Look:
        """The kept adapter, which the denoiser has now, on seeds that are used for nothing else."""
        with without_lora(self.fitting.host.denoiser):
            controls = Seen(neutral={}, recognised={}, **self.observer.see_controls(FRESH))
        look, _ = look_at(self.observer, self.limits, looks.step_of_best, FRESH, looks.plain, controls)
        return look

    def _config(self, folder: Path, loss: str) -> PopulationPreferenceConfig:
        values, settling = self.values, settling_steps(self.observer.concept, self.values)
        return PopulationPreferenceConfig(
            output_dir=folder,
            loss=loss,
            beta=values["beta"],
            learning_rate=values["rate"],
            max_steps=int(values["steps"]),
            settle_steps=settling,
            average_steps=settling // _AVERAGED,
            populations_per_step=int(values["batch"]),
            micro_batch=_micro_batch(loss, 2 * int(values["side"]) * int(values["batch"])),
            rank=int(values["rank"]),
            sft_weight=0.0 if loss == "sft" else values["sft"],
            safeguard=values["safeguard"],
            prior_weight=values["prior_weight"],
            save_every=min(int(values["look"]) or _SAVE_EVERY, _SAVE_EVERY),
            seed=self.fitting.setting.seed,
        )

    def _why(self, found: Trained) -> str:
        better = "safer" if self.observer.metric == "unsafe_rate" else "fairer"
        name = self.observer.metric.replace("_", " ")
        lost = {one.step: f" but {' and '.join(one.broken)} broken" if one.broken else "" for one in found.looks}
        seen = ", ".join(f"{one.value:.2f} at step {one.step}{lost[one.step]}" for one in found.looks)
        return (
            f"{NAME} declines on {self.fitting.host.name}: no adapter is {better} in {self.observer.concept.name} and "
            f"shows as much of what was asked for ({name} {seen}); take more steps=, another rate= or beta="
        )


def _micro_batch(loss: str, images: int) -> int:
    """A step of most losses is one batch, however large; the loss over populations is exact in parts."""
    usual = PopulationPreferenceConfig.micro_batch
    return usual if loss == "population" else max(usual, images)
