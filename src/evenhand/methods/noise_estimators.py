"""Directions of the initial noise along which a concept lies.

- `paired`: the mean difference of the latents of two prompts that started from the same noise, after some steps
  (Latent Directions, arXiv:2406.06352, uses the same pairs but drops the pairing). For independent seeds the difference
  of the noises drowns what the prompts do; with the same noise it cancels.
- `svm`: the published one, the normal of a linear support vector machine between those latents.
- `prediction`: the difference of what the denoiser predicts for the two prompts at the first step.
- `labels`: the difference of the mean noises of neutral images that a judge reads as one class and as another. It asks
  for what the noise decides and not for what a prompt draws, but needs many images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.fft import dctn, idctn
from scipy.optimize import minimize

from evenhand.errors import DeclinedError, InputError
from evenhand.host.host import Host
from evenhand.host.probe import Probe
from evenhand.host.runs import Onlooker, Runs, run
from evenhand.host.sites import Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseAxis:
    """A direction and the order in which it passes the classes.

    Args:
        axis: of the shape of one image's latents, of norm 1.
        order: the classes, from its negative end to its positive one.
        agreement: cosine of the directions of two halves of the seeds.
    """

    axis: torch.Tensor
    order: tuple[str, ...]
    agreement: float


class Trajectory:
    """Keeps the latents after some steps, and the timesteps of these."""

    def __init__(self, steps: Sequence[int]) -> None:
        self._steps = frozenset(steps)
        self.latents: dict[int, list[torch.Tensor]] = {step: [] for step in steps}
        self.timesteps: dict[int, float] = {}

    def update(self, step: Step, latents: torch.Tensor) -> torch.Tensor:
        """The latents as they are."""
        if step.index in self._steps:
            self.latents[step.index].append(latents.detach().float().cpu())
            self.timesteps[step.index] = step.timestep
        return latents

    def evidence(self) -> tuple[()]:
        """Nothing to tell."""
        return ()


class FirstPredictions:
    """Keeps what the denoiser predicts for some texts at the first step."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self.found: dict[str, list[torch.Tensor]] = {name: [] for name in texts}

    def visit(self, step: Step, probe: Probe) -> None:
        """At the first step only."""
        if step.index == 0:
            for name, text in self._texts.items():
                with torch.no_grad():
                    self.found[name].append(-probe.predict(text).float().cpu())

    def evidence(self) -> tuple[()]:
        """Nothing to tell."""
        return ()


def latents_after(host: Host, texts: Mapping[str, str], steps: Sequence[int], runs: Runs) -> dict[int, dict[str, Any]]:
    """Step -> class -> latents after that step, (seeds, ...); every class from the same noise.

    Cost: the steps of the schedule for every seed and class, twice with guidance.
    """
    found: dict[int, dict[str, Any]] = {step: {} for step in steps}
    for name, text in texts.items():
        seen = Trajectory(steps)
        with host.attached(Onlooker("latent", seen)):
            run(host, text, runs)
        for step in steps:
            found[step][name] = torch.cat(seen.latents[step])
    return found


def predictions_at_first(host: Host, texts: Mapping[str, str], neutral: str, runs: Runs) -> dict[str, torch.Tensor]:
    """Class -> what takes the first step towards it, less sign and scale, (seeds, ...).

    Cost: one row per seed and class, and a run of the neutral prompt.
    """
    seen = FirstPredictions(texts)
    with host.attached(Onlooker("probe", seen)):
        run(host, neutral, runs)
    return {name: torch.cat(some) for name, some in seen.found.items()}


def paired_axis(latents: Mapping[str, torch.Tensor], keep: Keep) -> NoiseAxis:
    """The first principal axis of the classes' mean latents; of two classes it is their mean paired difference.

    Raises:
        DeclinedError: the classes' prompts make no difference.
    """
    names = list(latents)
    halves = [_principal({name: some[half::2].mean(dim=0) for name, some in latents.items()}, keep) for half in (0, 1)]
    axis, places = _principal({name: some.mean(dim=0) for name, some in latents.items()}, keep)
    order = tuple(sorted(names, key=places.__getitem__))
    agreement = abs(float(halves[0][0].flatten() @ halves[1][0].flatten()))
    return NoiseAxis(axis=axis, order=order, agreement=agreement)


def svm_axis(latents: Mapping[str, torch.Tensor], keep: Keep, penalty: float = 1.0) -> NoiseAxis:
    """The normal of a linear support vector machine with squared hinge loss, between two classes.

    Raises:
        InputError: more than two classes.
    """
    names = list(latents)
    if len(names) != 2:
        raise InputError(f"estimator=svm separates two classes, here are {len(names)}; use estimator=paired")
    halves = [_svm([latents[name][half::2] for name in names], penalty) for half in (0, 1)]
    axis = kept(_svm([latents[name] for name in names], penalty), keep)
    agreement = abs(float(torch.cosine_similarity(halves[0].flatten(), halves[1].flatten(), dim=0)))
    return NoiseAxis(axis=axis, order=tuple(names), agreement=agreement)


def label_axis(noises: torch.Tensor, labels: Sequence[int], names: Sequence[str], keep: Keep) -> NoiseAxis:
    """The difference of the mean noises of the images that are read as the last class and as the first.

    Args:
        noises: of neutral images, (images, ...).
        labels: number of the class that was read.
        names: the classes in the direction's order.
        keep: channels and frequencies.

    Raises:
        DeclinedError: one of the two classes is read nowhere.
    """
    read = torch.tensor(labels)
    first, last = noises[read == 0].float(), noises[read == len(names) - 1].float()
    if min(len(first), len(last)) < 2:
        raise DeclinedError(
            f"noise-direction declines: among {len(labels)} neutral images fewer than two show "
            f"{names[0] if len(first) < 2 else names[-1]}; use estimator=paired"
        )
    halves = [kept(last[half::2].mean(dim=0) - first[half::2].mean(dim=0), keep) for half in (0, 1)]
    axis = kept(last.mean(dim=0) - first.mean(dim=0), keep)
    return NoiseAxis(axis=axis, order=tuple(names), agreement=abs(float(halves[0].flatten() @ halves[1].flatten())))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keep:
    """What of a direction is kept.

    Args:
        lowpass: cosine modes along each side, from the lowest on; 0 keeps all.
        channels: of the latents; empty keeps all.
    """

    lowpass: int = 0
    channels: tuple[int, ...] = ()


def _principal(means: Mapping[str, torch.Tensor], keep: Keep) -> tuple[torch.Tensor, dict[str, float]]:
    """The axis, pointing from the first class to the last, and where on it each class lies."""
    names = list(means)
    stacked = torch.stack([one.double().flatten() for one in means.values()])
    centred = stacked - stacked.mean(dim=0)
    if float(centred.norm()) <= 1e-6 * max(1.0, float(stacked.norm())):
        raise DeclinedError(
            f"noise-direction declines: the texts of {', '.join(names)} make no difference; the model may not know the "
            "words, give others with present= and absent="
        )
    first = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    if float(first @ (centred[-1] - centred[0])) < 0:
        first = -first
    places = {name: float(row @ first) for name, row in zip(names, centred, strict=True)}
    return kept(first.view(next(iter(means.values())).shape), keep), places


def _svm(sides: Sequence[torch.Tensor], penalty: float) -> torch.Tensor:
    values = torch.cat([one.flatten(1) for one in sides]).double().numpy()
    signs = np.repeat([-1.0, 1.0], [len(one) for one in sides])
    # the normal is a sum of the examples, so that there are as many unknowns as examples
    kernel = values @ values.T

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        alpha, bias = weights[:-1], weights[-1]
        slack = np.maximum(0, 1 - signs * (kernel @ alpha + bias))
        pull = -2 * penalty * slack * signs
        value = alpha @ kernel @ alpha / 2 + penalty * (slack**2).sum()
        return float(value), np.append(kernel @ (alpha + pull), pull.sum())

    found = minimize(loss, np.zeros(len(values) + 1), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    return torch.from_numpy(found.x[:-1] @ values).view(sides[0].shape[1:])


def kept(axis: torch.Tensor, keep: Keep) -> torch.Tensor:
    """A direction's channels and frequencies that are kept, of norm 1.

    Raises:
        InputError: there is no such channel, or latents without sides.
    """
    found = axis.double().clone()
    if keep.channels:
        missing = [one for one in keep.channels if not 0 <= one < len(found)]
        if missing:
            raise InputError(f"the latents have channels 0 to {len(found) - 1}, not {missing[0]}")
        gone = [one for one in range(len(found)) if one not in keep.channels]
        found[gone] = 0
    if keep.lowpass:
        if found.ndim != 3:
            raise InputError("lowpass= needs latents with height and width; these are packed into tokens")
        modes = np.asarray(dctn(found.numpy(), axes=(1, 2), norm="ortho"))
        modes[:, keep.lowpass :, :] = 0
        modes[:, :, keep.lowpass :] = 0
        found = torch.from_numpy(np.asarray(idctn(modes, axes=(1, 2), norm="ortho")))
    return (found / found.norm().clamp(min=1e-12)).float()
