"""Three ways to find a concept's vector at a module of the frozen denoiser; none needs an image or a label.

`mean_difference`   closed form: the module's mean output for the class's prompt, less the mean over all classes.
`score_matching`    the vector with which the neutral prompt predicts what the class's prompt predicts:
                    min_c E || e(x_t, neutral; h + c) - e(x_t, class) ||^2 on latents of the neutral prompt.
`reconstruction`    the published loss (Li et al., CVPR 2024, arXiv:2311.17216): the vector with which the neutral
                    prompt denoises noised latents of the class's prompt:
                    min_c E || target - e(x_t, neutral; h + c) ||^2.

Only what follows the module is differentiated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.host.carrier import channel_axis
from evenhand.host.host import Host
from evenhand.host.noise_level import noise_level
from evenhand.host.probe import Probe
from evenhand.host.runs import Onlooker, Runs, frozen, run
from evenhand.host.sites import Step
from evenhand.methods.trajectories import MeanActivation


def mean_difference(
    host: Host, texts: Mapping[str, str], module: str, runs: Runs, *, spatial: bool = False
) -> dict[str, torch.Tensor]:
    """One vector per class, (channels,) or with `spatial` (channels, height, width).

    Cost: steps denoiser rows per seed and class (twice with guidance).
    """
    means: dict[str, torch.Tensor] = {}
    for name, text in texts.items():
        seen = MeanActivation(module, spatial=spatial)
        with host.attached(Onlooker("activation", seen)):
            run(host, text, runs)
        means[name] = seen.mean
    return without_common(means)


def without_common(vectors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The vectors less their mean: what all classes share says nothing about any of them."""
    common = torch.stack(list(vectors.values())).mean(dim=0)
    return {name: vector - common for name, vector in vectors.items()}


class _Learning:
    """Adam on one vector, in units of the module's own output, so that one rate fits every model."""

    def __init__(self, host: Host, module: str, *, spatial: bool, rate: float) -> None:
        self._host, self._module, self._spatial, self._rate = host, module, spatial, rate
        self._optimiser: torch.optim.Adam | None = None
        self.vector = torch.zeros(0)
        self.losses: list[float] = []

    def step(self, probe: Probe, target: torch.Tensor, text: str | None, **at: Any) -> None:
        """One step towards `target`, with the prompt `text` (None: the images' own)."""
        if self._optimiser is None:
            self._start(probe)
        with torch.enable_grad():
            predicted = probe.predict(text, shift=(self._module, self.vector), **at)
            loss = (predicted.float() - target.float()).square().mean()
            self._optimiser.zero_grad()  # type: ignore[union-attr]
            loss.backward()
        self._host.count_backward(probe.images)
        self._optimiser.step()  # type: ignore[union-attr]
        self.losses.append(loss.item())

    def _start(self, probe: Probe) -> None:
        """The vector has the shape, and its rate the scale, of what the module gives."""
        output = probe.output_of(self._module)
        channels = output.shape[channel_axis(output)]
        shape = output.shape[1:] if self._spatial else (channels,)
        self.vector = torch.zeros(shape, device=output.device, requires_grad=True)
        scale = output.float().square().mean().sqrt().item()
        self._optimiser = torch.optim.Adam([self.vector], lr=self._rate * scale)


class _Matching:
    """At every step of a neutral run: predict for the class, and move the vector towards it."""

    def __init__(self, learning: _Learning, text: str) -> None:
        self._learning, self._text = learning, text

    def visit(self, step: Step, probe: Probe) -> None:
        target = probe.predict(self._text)
        self._learning.step(probe, target, None)

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        return ()


def score_matching(
    host: Host,
    texts: Mapping[str, str],
    neutral: str,
    module: str,
    runs: Runs,
    *,
    rate: float = 0.02,
    spatial: bool = False,
) -> dict[str, torch.Tensor]:
    """One vector per class, (channels,) or with `spatial` (channels, height, width).

    Args:
        host: the frozen model.
        texts: class -> the prompt that names it.
        neutral: the prompt that the vectors are added to.
        module: path of the module inside the denoiser.
        runs: neutral runs, at every step of which the vector learns.
        rate: of Adam, in units of the root mean square of the module's output.
        spatial: a vector for each place of the module's output; it is tied to the image size.

    Cost: four denoiser evaluations per seed, step and class (the run itself, the target, a forward, a backward).
    """
    found: dict[str, torch.Tensor] = {}
    for name, text in texts.items():
        learning = _Learning(host, module, spatial=spatial, rate=rate)
        with frozen(host.denoiser), host.attached(Onlooker("probe", _Matching(learning, text))):
            run(host, neutral, runs)
        found[name] = learning.vector.detach().cpu()
    return without_common(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounds:
    """How `reconstruction` learns.

    Args:
        count: steps of Adam; the paper takes 10,000.
        batch: noised latents of each.
        rate: of Adam, in units of the root mean square of the module's output.
        seed: of noise and levels.
    """

    count: int = 10_000
    batch: int = 8
    rate: float = 0.02
    seed: int = 0


class _Reconstructing:
    """At the first step of a neutral call, which lends its inputs: denoise the class's latents at random levels."""

    def __init__(self, learning: _Learning, host: Host, clean: torch.Tensor, rounds: Rounds) -> None:
        self._learning, self._host, self._clean, self._rounds = learning, host, clean, rounds
        self._rng = torch.Generator("cpu").manual_seed(rounds.seed)

    def visit(self, step: Step, probe: Probe) -> None:
        if step.index > 0:
            return
        family = self._host.family
        for _ in range(self._rounds.count):
            rows = torch.randint(len(self._clean), (probe.images,), generator=self._rng)
            clean = self._clean[rows]
            noise = torch.randn(clean.shape, generator=self._rng).to(clean)
            time = torch.randint(1, 1000, (1,), generator=self._rng).item()
            level = noise_level(self._host.pipe.scheduler, time, step.level.prediction)
            self._learning.step(
                probe,
                level.target(clean, noise),
                None,
                sample=level.alpha * clean + level.sigma * noise,
                timestep=torch.tensor(time / family.timesteps_per_unit),
            )

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        return ()


def reconstruction(
    host: Host,
    texts: Mapping[str, str],
    neutral: str,
    module: str,
    runs: Runs,
    rounds: Rounds,
) -> dict[str, torch.Tensor]:
    """One vector of the module's full output (channels, height, width) per class, by the published loss.

    Args:
        host: the frozen model.
        texts: class -> the prompt that names it.
        neutral: the prompt that the vectors are added to.
        module: path of the module inside the denoiser.
        runs: of each class's prompt; their final latents are what is noised.
        rounds: of Adam.

    Cost: steps per seed and class, and then two denoiser evaluations per row of each round.
    """
    found: dict[str, torch.Tensor] = {}
    for name, text in texts.items():
        clean = run(host, text, runs)
        learning = _Learning(host, module, spatial=True, rate=rounds.rate)
        effect = _Reconstructing(learning, host, clean, rounds)
        with frozen(host.denoiser), host.attached(Onlooker("probe", effect)):
            run(host, neutral, Runs(seeds=tuple(range(rounds.batch)), steps=1, batch=rounds.batch))
        found[name] = learning.vector.detach().cpu()
    return without_common(found)
