"""How much signal and how much noise a latent holds, and what a prediction means there.

A latent is x = alpha * x0 + sigma * noise. A difference D of two predictions at the same x becomes a difference of
noise predictions by one factor:

    prediction      D in noise
    epsilon         D
    v_prediction    alpha * D            v = alpha * noise - sigma * x0, alpha^2 + sigma^2 = 1
    flow            alpha * D            v = noise - x0, alpha = 1 - sigma
    sample          -(alpha / sigma) * D
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from evenhand.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """Signal `alpha` and noise `sigma` of a latent, and what the denoiser predicts ("epsilon", ...)."""

    alpha: float
    sigma: float
    prediction: str

    @property
    def to_noise(self) -> float:
        """Factor from a difference of two predictions to the difference of the noise that they mean.

        It is 0 for a velocity at a latent without any signal: there the velocity says nothing about the noise.
        """
        if self.prediction == "epsilon":
            return 1.0
        if self.prediction in ("v_prediction", "flow"):
            return self.alpha
        return -self.alpha / self.sigma

    def target(self, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the denoiser should predict at alpha * clean + sigma * noise."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "v_prediction":
            return self.alpha * noise - self.sigma * clean
        return noise - clean if self.prediction == "flow" else clean


def noise_level(scheduler: Any, timestep: float, prediction: str) -> NoiseLevel:
    """The noise level of a training timestep, which may lie between two.

    Args:
        scheduler: of the pipeline; its `alphas_cumprod` are read, for a flow its number of training timesteps.
        timestep: in units of the scheduler, 0 to about 1000.
        prediction: as `families.prediction_type` says it.

    Raises:
        ModelError: a scheduler of another kind.
    """
    if prediction == "flow":
        sigma = timestep / scheduler.config.num_train_timesteps
        return NoiseLevel(alpha=1 - sigma, sigma=sigma, prediction=prediction)
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None or prediction not in ("epsilon", "v_prediction", "sample"):
        raise ModelError(
            f"the noise level of {type(scheduler).__name__} with prediction {prediction!r} is not known; "
            "use another --scheduler"
        )
    low = min(max(math.floor(timestep), 0), len(table) - 1)
    high = min(low + 1, len(table) - 1)
    share = min(max(timestep - low, 0.0), 1.0)
    signal = (1 - share) * float(table[low]) + share * float(table[high])
    return NoiseLevel(alpha=math.sqrt(signal), sigma=math.sqrt(1 - signal), prediction=prediction)


def timestep_after(scheduler: Any, timestep: float) -> float:
    """The timestep of the latents that a step at `timestep` leaves: the schedule's next one, 0 behind its last.

    Args:
        scheduler: whose timesteps are set.
        timestep: one of them.
    """
    times = [float(one) for one in scheduler.timesteps]
    place = min(range(len(times)), key=lambda k: abs(times[k] - timestep))
    return times[place + 1] if place + 1 < len(times) else 0.0
