"""Concept vectors: the closed form by hand, a known vector recovered, and what each estimator costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from evenhand.host.host import Host
from evenhand.host.probe import Probe
from evenhand.host.runs import Onlooker, Runs, frozen, run
from evenhand.host.sites import Step
from evenhand.methods.vector_estimators import (
    Rounds,
    _Learning,
    mean_difference,
    reconstruction,
    score_matching,
    without_common,
)

# of a scheduler of diffusers under NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Hosts = Callable[[str], Host]
TEXTS = {"female": "a woman", "male": "a man", "other": "a person here"}
RUNS = Runs(seeds=(3, 4, 5), steps=2, batch=2)


def test_the_mean_difference_by_hand(host: Hosts) -> None:
    wrapped = host("sd1")
    means = {}
    for name, text in TEXTS.items():
        seen: list[torch.Tensor] = []
        handle = wrapped.denoiser.get_submodule("mid_block").register_forward_hook(
            lambda module, inputs, output, seen=seen: seen.append(output)
        )
        run(wrapped, text, RUNS)
        handle.remove()
        # three images, two steps each, of (32 channels, 4, 4)
        means[name] = torch.cat(seen).mean(dim=(0, 2, 3))
    common = sum(means.values()) / 3
    found = mean_difference(wrapped, TEXTS, "mid_block", RUNS)
    for name in TEXTS:
        assert torch.allclose(found[name], means[name] - common, atol=1e-6)
    spatial = mean_difference(wrapped, TEXTS, "mid_block", RUNS, spatial=True)
    for name in TEXTS:
        assert torch.allclose(spatial[name].mean(dim=(1, 2)), found[name], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "module"), [("sd1", "mid_block"), ("sdxl", "up_blocks.0"), ("sd3", "transformer_blocks.0")]
)
def test_any_module_of_any_denoiser_is_a_site(host: Hosts, family: str, module: str) -> None:
    found = mean_difference(host(family), {"one": "a woman", "two": "a man"}, module, RUNS)
    assert torch.allclose(found["one"], -found["two"], atol=1e-6)
    assert found["one"].ndim == 1
    assert found["one"].norm() > 0


def test_what_all_classes_share_is_taken_out() -> None:
    vectors = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([0.0, 3.0]), "c": torch.tensor([0.0, 0.0])}
    found = without_common(vectors)
    assert found["a"].tolist() == [2.0, -1.0]
    assert sum(found.values()).abs().max() == 0


class Asking:
    """Learns towards what the denoiser says with a known vector."""

    def __init__(self, learning: _Learning, known: torch.Tensor) -> None:
        self._learning, self._known = learning, known

    def visit(self, step: Step, probe: Probe) -> None:
        if step.index == 0:
            target = probe.predict(shift=("mid_block", self._known))
            for _ in range(300):
                self._learning.step(probe, target, None)

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        return ()


def test_a_known_vector_is_recovered(host: Hosts) -> None:
    wrapped = host("sd1")
    known = torch.randn(32, generator=torch.Generator().manual_seed(0))
    learning = _Learning(wrapped, "mid_block", spatial=False, rate=0.05)
    with frozen(wrapped.denoiser), wrapped.attached(Onlooker("probe", Asking(learning, known))):
        run(wrapped, "a cat", Runs(seeds=tuple(range(8)), steps=1, batch=8))
    assert learning.losses[-1] < 1e-3 * learning.losses[0]
    found = learning.vector.detach()
    assert torch.nn.functional.cosine_similarity(found, known, dim=0) > 0.98
    assert all(parameter.grad is None and parameter.requires_grad for parameter in wrapped.denoiser.parameters())


def test_score_matching_moves_the_neutral_prompt_towards_the_class(host: Hosts) -> None:
    wrapped = host("sd1")
    runs = Runs(seeds=tuple(range(8)), steps=6, batch=8)
    found = score_matching(wrapped, {"one": "a woman", "two": "a man"}, "a person", "mid_block", runs)
    missed: dict[str, list[float]] = {"plain": [], "with": []}

    class Comparing:
        def visit(self, step: Step, probe: Probe) -> None:
            difference = probe.predict("a woman") - probe.predict("a man")
            for name, shift in (("plain", None), ("with", ("mid_block", found["one"] - found["two"]))):
                moved = probe.predict("a man", shift=shift) - probe.predict("a man")
                missed[name].append((difference - moved).square().mean().item())

        def evidence(self) -> Sequence[Mapping[str, Any]]:
            return ()

    with wrapped.attached(Onlooker("probe", Comparing())):
        run(wrapped, "a person", Runs(seeds=(100, 101, 102, 103), steps=3, batch=4))
    assert sum(missed["with"]) < sum(missed["plain"])


def test_the_evaluations_of_each_estimator_are_counted(host: Hosts) -> None:
    wrapped = host("sd1")
    pair = {"one": "a woman", "two": "a man"}

    def spent(work: Callable[[], Any]) -> int:
        before = wrapped.evaluations
        work()
        return wrapped.evaluations - before

    runs = Runs(seeds=(1, 2, 3, 4), steps=5, batch=2)
    # per class 4 seeds x 5 steps
    assert spent(lambda: mean_difference(wrapped, pair, "mid_block", runs)) == 2 * 20
    # the run, the target, a forward and a backward; once per class a look at the shape of the module (a batch of 2)
    assert spent(lambda: score_matching(wrapped, pair, "a person", "mid_block", runs)) == 2 * (4 * 20 + 2)
    rounds = Rounds(count=6, batch=3)
    # 20 for the images; 6 rounds of 3 rows, forward and backward; the look; the one step of the call that lends inputs
    assert spent(lambda: reconstruction(wrapped, pair, "a person", "mid_block", runs, rounds)) == 2 * (20 + 36 + 3 + 3)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sd3"])
def test_the_published_loss_learns_on_every_prediction(host: Hosts, family: str) -> None:
    wrapped = host(family)
    module = "mid_block" if family != "sd3" else "transformer_blocks.1"
    found = reconstruction(
        wrapped, {"one": "a woman", "two": "a man"}, "a person", module, RUNS, Rounds(count=3, batch=2)
    )
    assert found["one"].isfinite().all()
    assert found["one"].norm() > 0
