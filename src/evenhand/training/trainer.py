"""Trains a LoRA of the denoiser on preferences between populations; the reference is the model with the LoRA off."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save

from evenhand.errors import EvenhandError, InputError
from evenhand.files import write_bytes
from evenhand.training.averaging import LastMean
from evenhand.training.batch import Batch
from evenhand.training.cache import PreferenceData
from evenhand.training.config import PopulationPreferenceConfig
from evenhand.training.denoising import Noised, distances, predictions
from evenhand.training.logs import TrainingLog
from evenhand.training.lora import add_lora, lora_of, remove_lora, set_lora
from evenhand.training.losses import LOSSES, Rewards, population_weights
from evenhand.training.rate import rate_factor
from evenhand.training.safeguards import clipped, clipped_losers, hold, winner_penalty
from evenhand.watch import Silent, Watcher

_STATE = "state.safetensors"


class TrainingError(EvenhandError):
    """Training went wrong; the last good adapter is kept."""


Callback = Callable[["PopulationPreferenceTrainer"], bool]
"""Called after every step; True stops the training."""


class PopulationPreferenceTrainer:
    """Trains the denoiser's LoRA; the rest of the model stays as it is.

    Args:
        denoiser: of the pipeline; a LoRA is put in.
        scheduler: of the pipeline, for its noise levels.
        config: how.
        data: cached images; see `training.cache`. A callback may put others in their place, of the same shape.
        prior: cached images whose error is held to the reference's, one to a population; None for none.
        timesteps_per_unit: of the model's family.
        callbacks: called after every step.
        watcher: told of progress.

    Raises:
        InputError: the state in the output folder is of another configuration.
    """

    def __init__(
        self,
        denoiser: Any,
        scheduler: Any,
        config: PopulationPreferenceConfig,
        data: PreferenceData,
        *,
        prior: PreferenceData | None = None,
        timesteps_per_unit: float = 1.0,
        callbacks: tuple[Callback, ...] = (),
        watcher: Watcher | None = None,
    ) -> None:
        self.config, self.data = config, data
        self._prior = prior if config.prior_weight else None
        self.step = 0
        self._scheduler, self._unit = scheduler, timesteps_per_unit
        self._callbacks, self._watcher = callbacks, watcher or Silent()
        self._accelerator = Accelerator(cpu=next(denoiser.parameters()).device.type == "cpu")
        self._share = self._own_share()
        self.denoiser = denoiser
        self.learning = add_lora(denoiser, rank=config.rank, targets=config.targets, seed=config.seed)
        if config.gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
        self._optimiser = torch.optim.AdamW(self.learning, lr=config.learning_rate, weight_decay=0.0)
        self._prepared = self._accelerator.prepare_model(denoiser)
        self._mean = LastMean(self.learning, after=config.last_step - config.average_steps, last=config.last_step)
        self._load()

    def train(self) -> list[dict[str, float]]:
        """Train to the last step, or until a callback stops it; returns what was logged.

        Raises:
            TrainingError: the loss or a gradient is no number; the adapter is that of the last saved state.

        Cost: for each step a forward and a backward of every image of its populations.
        """
        config, logged = self.config, []
        first = self._accelerator.is_main_process
        log = TrainingLog(config.output_dir, step=self.step, tensorboard=config.tensorboard) if first else None
        self._watcher.start("training", total=config.last_step, done=self.step)
        while self.step < config.last_step:
            started = time.monotonic()
            facts = self._advance()
            facts["seconds"] = round(time.monotonic() - started, 4)
            logged.append(facts)
            alarm = log.write(facts) if log else None
            if alarm:
                self._watcher.say(alarm)
            self._watcher.advance()
            if self.step % config.save_every == 0:
                self.save()
            stop = [callback(self) for callback in self._callbacks]
            if any(stop):
                break
        self.save()
        if log:
            log.close()
        return logged

    def lora(self) -> dict[str, torch.Tensor]:
        """The adapter's weights, named as `load_lora_weights` expects them inside the denoiser."""
        return lora_of(self.denoiser)

    def restore(self, lora: Mapping[str, torch.Tensor]) -> None:
        """Put back weights that `lora` gave."""
        set_lora(self.denoiser, lora)

    def close(self) -> None:
        """Take the adapter out of the denoiser, which then is what it was."""
        remove_lora(self.denoiser)

    def save(self) -> None:
        """Write the adapter, the optimiser's moments and the step, at once or not at all."""
        if not self._accelerator.is_main_process:
            return
        tensors = {f"lora.{name}": value for name, value in self.lora().items()}
        for number, parameter in enumerate(self.learning):
            for key, value in self._optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{number}.{key}"] = value
        tensors |= self._mean.tensors()
        self.config.output_dir.mkdir(parents=True, exist_ok=True)
        facts = {"step": str(self.step), "config": self._mark()}
        kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        write_bytes(self.config.output_dir / _STATE, save(kept, metadata=facts))

    def _own_share(self) -> slice:
        count, processes = self.config.populations_per_step, self._accelerator.num_processes
        for name in ("populations_per_step", "prior_batch") if self._prior else ("populations_per_step",):
            if getattr(self.config, name) % processes:
                raise InputError(f"{name}={getattr(self.config, name)} does not divide over {processes} processes")
        size, rank = count // processes, self._accelerator.process_index
        return slice(rank * size, (rank + 1) * size)

    def _mark(self) -> str:
        decisive = dataclasses.asdict(self.config)
        for name in ("output_dir", "save_every", "gradient_checkpointing", "tensorboard"):
            del decisive[name]
        held = 0 if self._prior is None else len(self._prior.latents)
        facts = {"images": len(self.data.latents), "data": self.data.seed, "held": held}
        return json.dumps({**decisive, **facts}, default=str)

    def _load(self) -> None:
        file = self.config.output_dir / _STATE
        if not file.is_file():
            return
        with safe_open(file, framework="pt") as stored:
            facts = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  it is no dict
        if facts["config"] != self._mark():
            raise InputError(
                f"{self.config.output_dir} holds the training of another configuration; name another folder"
            )
        self.step = int(facts["step"])
        self.restore({name[5:]: value for name, value in tensors.items() if name.startswith("lora.")})
        self._mean.restore(tensors)
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                number, key = name.removeprefix("optimiser.").split(".", 1)
                moments.setdefault(int(number), {})[key] = value
        # puts each where its parameter is; a plain update of the state would leave them on the CPU
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": moments})

    def _drawn(self, data: PreferenceData, count: int, salt: int = 0) -> tuple[list[int], int]:
        """The populations of this step over all processes, and the draw; every epoch has an order of its own."""
        found, draw = [], 0
        for place in range(self.step * count, (self.step + 1) * count):
            epoch, within = divmod(place, data.populations)
            rng = torch.Generator("cpu").manual_seed(self.config.seed * 1_000_003 + epoch + (salt << 40))
            found.append(int(torch.randperm(data.populations, generator=rng)[within]))
            draw = epoch
        return found, draw % data.draws

    def _advance(self) -> dict[str, float]:
        config = self.config
        factor = rate_factor(self.step, warmup=config.warmup, steps=config.max_steps, settle=config.settle_steps)
        rate = config.learning_rate * factor
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        populations, draw = self._drawn(self.data, config.populations_per_step)
        rows = torch.cat([self.data.rows_of(one) for one in populations[self._share]])
        self._optimiser.zero_grad()
        loss, rewards = self._backward(rows, draw)
        held = self._backward_prior()
        loss += held.pop("prior_loss", 0.0)
        norm = float(torch.nn.utils.clip_grad_norm_(self.learning, self.config.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._fail()
        self._optimiser.step()
        self.step += 1
        self._mean.take(self.step)
        seen = self._everywhere({"loss": loss, "gradient": norm, **self._seen(rewards, rows, draw), **held})
        return {"step": self.step, "rate": rate, **seen}

    def _backward(self, rows: torch.Tensor, draw: int) -> tuple[float, Rewards]:
        """Gradients of the loss on these images; exact for any micro-batch where the loss allows it."""
        config = self.config
        if len(rows) <= config.micro_batch:
            batch = self._pass(rows, draw)
            loss = self._loss(batch)
            self._accelerator.backward(loss)
            return float(loss.detach()), batch.detached().rewards
        if config.loss != "population":
            raise InputError(
                f"micro_batch={config.micro_batch} is less than the {len(rows)} images of a step; with "
                f"loss={config.loss} a step is one batch: fewer populations_per_step, or loss=population"
            )
        parts = rows.split(config.micro_batch)
        with torch.no_grad():
            known = Batch.joined([self._pass(part, draw) for part in parts])
        weights = population_weights(known.rewards, config.beta)
        if config.safeguard == "clip":
            weights = weights * clipped_losers(known.rewards)
        populations = len(torch.unique(known.rewards.population))
        for part, weight in zip(parts, weights.split(config.micro_batch), strict=True):
            own = self._pass(part, draw)
            pull = (weight * own.rewards.values).sum()
            self._accelerator.backward(pull + self._winners(own, len(rows), populations))
        extra = self._winners(known, len(rows), populations)
        return float(LOSSES["population"](known.rewards, config.beta) + extra), known.rewards

    def _loss(self, batch: Batch) -> torch.Tensor:
        config, rewards = self.config, batch.rewards
        populations = len(torch.unique(rewards.population))
        learning = clipped(rewards) if config.safeguard == "clip" else rewards
        return LOSSES[config.loss](learning, config.beta) + self._winners(batch, len(rewards.values), populations)

    def _winners(self, batch: Batch, images: int, populations: int) -> torch.Tensor:
        """What is added for the winners, as a part of means over `images` and `populations`."""
        config, rewards = self.config, batch.rewards
        found = torch.zeros((), device=rewards.values.device)
        if config.sft_weight:
            found = found + config.sft_weight * batch.missed.sum() / max(images / 2, 1)
        if config.safeguard == "penalty":
            found = found + winner_penalty(rewards, config.beta, populations)
        return found

    def _backward_prior(self) -> dict[str, float]:
        """Gradients of holding further images to the reference; nothing where there are none."""
        prior, config = self._prior, self.config
        if prior is None:
            return {}
        places, draw = self._drawn(prior, config.prior_batch, salt=1)
        mine = places[self._accelerator.process_index :: self._accelerator.num_processes]
        rows = torch.tensor(mine)
        what = prior.noised(self._scheduler, rows, draw)
        predicted = predictions(self._prepared, prior.conditions, prior.prompt[rows], what, self._unit)
        kept = self._sided(predicted, what, rows, draw, prior).values
        held = hold(kept, config.beta)
        if len(prior.taught):
            held = config.beta * distances(predicted, prior.lessons(rows, draw)).mean()
        loss = config.prior_weight * held
        self._accelerator.backward(loss)
        reference = prior.reference[rows, draw]
        ratio = float(((reference - kept.detach().cpu()) / reference).mean())
        return {"prior_loss": float(loss.detach()), "prior_error": ratio}

    def _pass(self, rows: torch.Tensor, draw: int) -> Batch:
        data = self.data
        what = data.noised(self._scheduler, rows, draw)
        predicted = predictions(self._prepared, data.conditions, data.prompt[rows], what, self._unit)
        rewards = self._sided(predicted, what, rows, draw, data)
        missed = -rewards.values[rewards.winner]
        if len(data.taught) and self.config.sft_weight:
            missed = distances(predicted[rewards.winner], data.lessons(rows, draw))
        return Batch(rewards=rewards, missed=missed * data.weight[rows][data.winner[rows]].to(missed))

    def _sided(
        self, predicted: torch.Tensor, what: Noised, rows: torch.Tensor, draw: int, data: PreferenceData
    ) -> Rewards:
        own = distances(predicted, what.target)
        values = data.reference[rows, draw].to(own) - own
        return Rewards(
            values=values,
            winner=data.winner[rows].to(values.device),
            population=data.population[rows].to(values.device),
        )

    def _seen(self, rewards: Rewards, rows: torch.Tensor, draw: int) -> dict[str, float]:
        """Implicit accuracy (populations whose winners are preferred), and how either side's error moved."""
        error = self.data.reference[rows, draw] - rewards.values.cpu()
        reference = self.data.reference[rows, draw]
        winner = rewards.winner.cpu()
        return {
            "accuracy": float((rewards.sums() > 0).float().mean()),
            "winner_error": float((error[winner] / reference[winner]).mean()),
            "loser_error": float((error[~winner] / reference[~winner]).mean()),
            "drift": float((rewards.values.cpu().abs() / reference).mean()),
        }

    def _everywhere(self, facts: dict[str, float]) -> dict[str, float]:
        """The mean over all processes."""
        if self._accelerator.num_processes == 1:
            return facts
        values = torch.tensor(list(facts.values()), dtype=torch.float64)
        mean: Any = self._accelerator.reduce(values, reduction="mean")
        return dict(zip(facts, mean.tolist(), strict=True))

    def _fail(self) -> None:
        failed = self.step + 1
        self._optimiser.state.clear()
        self._load()
        raise TrainingError(
            f"the loss of step {failed} is no number; the adapter is that of step {self.step}: "
            "take a lower learning_rate or beta"
        )
