"""A LoRA as an intervention: what it adds, that it is given back to the bit, and that diffusers loads the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipelines import FAMILY_NAMES, ready

from evenhand.errors import InputError, ModelError
from evenhand.host.host import Host
from evenhand.interventions.weight_delta import WeightDelta, save_lora

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def lora(host: Host, rank: int = 2) -> dict[str, torch.Tensor]:
    """Random matrices for two layers of the denoiser."""
    rng = torch.Generator().manual_seed(0)
    layers = [name for name, _ in host.denoiser.named_modules() if name.endswith((".to_q", ".to_v"))][:2]
    found: dict[str, torch.Tensor] = {}
    for name in layers:
        out, into = host.denoiser.get_submodule(name).weight.shape
        found[f"{name}.lora_A.weight"] = torch.randn(rank, into, generator=rng)
        found[f"{name}.lora_B.weight"] = torch.randn(out, rank, generator=rng)
    return found


def latents(host: Host) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    given: Any = {"num_inference_steps": 3, "output_type": "latent", "return_dict": False, "generator": generators}
    return host.call(["a nurse", "a baker"], **given)[0]


@pytest.fixture(params=FAMILY_NAMES)
def host(request: pytest.FixtureRequest) -> Any:
    with Host.wrap(ready(request.param)) as one:
        yield one


def test_it_adds_b_a_and_gives_the_weights_back_to_the_bit(host: Host) -> None:
    delta = WeightDelta(name="lora", lora=lora(host), strength=0.5)
    plain, weights = latents(host), host.weights_hash
    with host.attached(delta) as pipe:
        changed = latents(host)
        (norm, *_) = (one["norm"] for one in pipe.last.evidence["lora"])
    products = [delta.lora[f"{name}.lora_B.weight"] @ delta.lora[f"{name}.lora_A.weight"] for name in delta.modules]
    assert norm == pytest.approx(0.5 * torch.cat([one.flatten() for one in products]).norm().item(), rel=1e-4)
    assert not torch.allclose(plain, changed)
    assert torch.equal(latents(host), plain)
    del host.__dict__["weights_hash"]
    assert host.weights_hash == weights


def test_diffusers_loads_the_same_file(host: Host, tmp_path: Path) -> None:
    found = lora(host)
    with host.attached(WeightDelta(name="lora", lora=found)):
        ours = latents(host)
    save_lora(tmp_path, found, host.family.denoiser)
    host.pipe.load_lora_weights(tmp_path)
    assert torch.allclose(latents(host), ours, atol=1e-4)
    host.pipe.unload_lora_weights()


def test_no_strength_is_the_plain_model(host: Host) -> None:
    plain = latents(host)
    with host.attached(WeightDelta(name="lora", lora=lora(host)).scaled(0.0)):
        assert torch.equal(latents(host), plain)


def without(lora: Mapping[str, torch.Tensor], ending: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in lora.items() if not name.endswith(ending)}


def test_what_does_not_fit_is_refused() -> None:
    with Host.wrap(ready("sd1")) as host:
        found = lora(host)
        with pytest.raises(InputError, match="has no"):
            WeightDelta(name="lora", lora=without(found, ".lora_B.weight"))
        with pytest.raises(InputError, match="no layer"):
            WeightDelta(name="lora", lora={})
        (first, *_) = WeightDelta(name="lora", lora=found).modules
        wider = {f"{first}.lora_A.weight": torch.zeros(2, 5), f"{first}.lora_B.weight": torch.zeros(7, 2)}
        with (
            pytest.raises(ModelError, match=r"layer .* of \(7, 5\), here it has"),
            host.attached(WeightDelta(name="lora", lora=wider)),
        ):
            pass
        elsewhere = {name.replace(first, "no.such"): value for name, value in found.items() if first in name}
        with pytest.raises(ModelError, match="has no module"), host.attached(WeightDelta(name="x", lora=elsewhere)):
            pass
