"""How a LoRA is trained on preferences between populations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from evenhand.errors import InputError
from evenhand.training.losses import LOSSES
from evenhand.training.safeguards import SAFEGUARDS


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
        average_steps: the adapter that is left is the mean of those after each of so many last steps; 0 is off.
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
    average_steps: int = 0
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
        for name in ("settle_steps", "average_steps"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)}, expected 0 or more")

    @property
    def last_step(self) -> int:
        """After which training ends."""
        return self.max_steps + self.settle_steps


_POSITIVE = (
    "beta", "learning_rate", "max_steps", "populations_per_step", "micro_batch", "rank", "save_every", "prior_batch",
)  # fmt: skip
