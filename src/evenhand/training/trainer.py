"""Trains a LoRA of the denoiser on preferences between populations; the reference is the model with the LoRA off."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save

from evenhand.errors import EvenhandError, InputError
from evenhand.files import write_bytes
from evenhand.training.batch import Batch
from evenhand.training.cache import PreferenceData
from evenhand.training.denoising import Noised, distances, predictions
from evenhand.training.logs import TrainingLog
from evenhand.training.lora import add_lora, lora_of, remove_lora, set_lora
from evenhand.training.losses import LOSSES, Rewards, population_weights
from evenhand.training.rate import rate_factor
from evenhand.training.safeguards import SAFEGUARDS, clipped, clipped_losers, hold, winner_penalty
from evenhand.watch import Silent, Watcher

_STATE = "state.safetensors"


class TrainingError(EvenhandError):
    """Training went wrong; the last good adapter is kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PopulationPreferenceConfig:
    """How a LoRA is trained.

    Args:
        output_dir: where state and logs are kept; a state that lies there is continued.
        loss: one of `losses.LOSSES`.
        beta: factor on implicit rewards, which are differences of mean squared errors; above 0.
        learning_rate: of AdamW, at its highest.
        warmup: steps over which it rises; afterwards it falls linearly to 0.
        max_steps: optimiser steps.
        settle_steps: further steps at half of `learning_rate`, which falls linearly to 0 over their last quarter; 0 is
            off.
        populations_per_step: pairs of populations for each, over all processes.
        micro_batch: images of one denoiser call; a population that does not fit is taken apart for the losses that
            allow it exactly (`population`).
        rank: of the LoRA; its alpha is the same.
        targets: names of the linear layers that get one.
        max_grad_norm: gradients are clipped there.
        sft_weight: of plain training on the winners, added to the loss; 0 is off. Where the data hold lessons, it goes
            towards these and not towards the noise.
        safeguard: "penalty" or "clip" of `safeguards`, for winners whose error rises above the reference's; "off".
        prior_weight: of holding the error of further images to the reference's (`safeguards.hold`), or, where they hold
            lessons, the predictions themselves; 0 is off. Plays no part without such images.
        prior_batch: images of these for each step, over all processes.
        gradient_checkpointing: less memory for more time.
        save_every: steps between two saved states.
        tensorboard: True writes event files beside `log.jsonl`; needs tensorboard.
        seed: of the LoRA's start and of the order of the populations.
    """

    output_dir: Path
    loss: str = "population"
    beta: float = 2000.0
    learning_rate: float = 1e-4
    warmup: int = 20
    max_steps: int = 600
    settle_steps: int = 0
    populations_per_step: int = 4
    micro_batch: int = 64
    rank: int = 16
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    max_grad_norm: float = 1.0
    sft_weight: float = 0.0
    safeguard: str = "off"
    prior_weight: float = 1.0
    prior_batch: int = 8
    gradient_checkpointing: bool = False
    save_every: int = 100
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"loss={self.loss!r}, expected one of {', '.join(LOSSES)}")
        if self.safeguard not in SAFEGUARDS:
            raise InputError(f"safeguard={self.safeguard!r}, expected one of {', '.join(SAFEGUARDS)}")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)}, expected a number above 0")
        if self.settle_steps < 0:
            raise InputError(f"settle_steps={self.settle_steps}, expected 0 or more")

    @property
    def last_step(self) -> int:
        """After which training ends."""
        return self.max_steps + self.settle_steps


_POSITIVE = (
    "beta", "learning_rate", "max_steps", "populations_per_step", "micro_batch", "rank", "save_every", "prior_batch",
)  # fmt: skip


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
        self._learning = add_lora(denoiser, rank=config.rank, targets=config.targets, seed=config.seed)
        if config.gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
        self._optimiser = torch.optim.AdamW(self._learning, lr=config.learning_rate, weight_decay=0.0)
        self._prepared = self._accelerator.prepare_model(denoiser)
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
        for number, parameter in enumerate(self._learning):
            for key, value in self._optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{number}.{key}"] = value
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
        norm = float(torch.nn.utils.clip_grad_norm_(self._learning, self.config.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._fail()
        self._optimiser.step()
        self.step += 1
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
