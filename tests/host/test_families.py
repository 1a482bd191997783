"""The table: every family is told from the pipeline itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, SD3Transformer2DModel

from evenhand.errors import InputError, ModelError
from evenhand.host.dtype import autocast, load_dtypes, resolve_dtype
from evenhand.host.families import (
    FALLBACKS,
    FAMILIES,
    detect_family,
    family_of_class,
    prediction_type,
)
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.host.schedulers import SCHEDULERS, make_scheduler
from evenhand.records import Request, Settings

BY_NAME = {family.name: family for family in FAMILIES}


def sd3() -> diffusers.DiffusionPipeline:
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        out_channels=4,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer,
        FlowMatchEulerDiscreteScheduler(),
        *[None] * 7,  # type: ignore[arg-type]
    )


def flux() -> diffusers.DiffusionPipeline:
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    return diffusers.FluxPipeline(FlowMatchEulerDiscreteScheduler(), *[None] * 5, transformer)  # type: ignore[arg-type]


@pytest.mark.parametrize(("build", "name"), [(sd3, "sd3"), (flux, "flux")])
def test_transformer_families(build: Callable[[], diffusers.DiffusionPipeline], name: str) -> None:
    pipe = build()
    host = Host.wrap(pipe)
    assert host.family is BY_NAME[name]
    assert host.denoiser is pipe.components["transformer"]
    assert prediction_type(pipe) == "flow"
    with pytest.raises(InputError, match="FlowMatchEulerDiscreteScheduler"):
        make_scheduler("ddim", pipe.components["scheduler"])


def test_unet_families_and_their_bottleneck(host: Host) -> None:
    assert host.family.name in ("sd1", "sd2", "sdxl")
    assert host.family.bottleneck is not None
    assert isinstance(host.denoiser.get_submodule(host.family.bottleneck), torch.nn.Module)
    config = host.pipe.components["unet"].config
    assert config["in_channels"] == host.family.latent_channels
    assert prediction_type(host.pipe) == ("v_prediction" if host.family.name == "sd2" else "epsilon")
    assert host.family.pooled == (config["addition_embed_type"] == "text_time")


def test_guidance_is_batched_as_the_table_says(host: Host) -> None:
    rows = []
    host.denoiser.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    requests = [Request(row="r", prompt="a", index=i, seed=i) for i in range(3)]
    list(sample(host, requests, Settings(steps=1, guidance=5.0)))
    assert rows == ([6] if host.family.batched_guidance else [3, 3])


def test_every_pipeline_of_the_table_exists_in_diffusers_and_stands_once() -> None:
    names = [name for family in FAMILIES if not family.linear_projection for name in family.pipelines]
    assert len(names) == len(set(names))
    assert all(issubclass(getattr(diffusers, name), diffusers.DiffusionPipeline) for name in names)
    assert all(name in names for family in FAMILIES for name in family.pipelines)


def test_an_unknown_pipeline_falls_back_by_mechanism(model_directory: Callable[[str], Path]) -> None:
    class Mine(diffusers.StableDiffusionPipeline):
        pass

    pipe = Mine.from_pretrained(model_directory("sd1"), safety_checker=None)
    assert detect_family(pipe) is FALLBACKS[0]
    assert family_of_class("Mine") is None


def test_a_pipeline_without_a_denoiser_is_refused() -> None:
    class Empty(diffusers.DiffusionPipeline):
        def __init__(self) -> None:
            super().__init__()
            self.register_to_config()

    with pytest.raises(ModelError, match="neither a unet nor a transformer"):
        detect_family(Empty())


def test_schedulers_are_classes_of_diffusers() -> None:
    start = diffusers.DDIMScheduler(beta_end=0.013, prediction_type="v_prediction")
    for name, class_name in SCHEDULERS.items():
        made = make_scheduler(name, start)
        assert type(made) is getattr(diffusers, class_name)
        assert (made.config.beta_end, made.config.prediction_type) == (0.013, "v_prediction")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "avx2": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_dtype_and_mixed_precision_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert resolve_dtype("auto", torch.device("cpu")) == expected
    with autocast(torch.device("cpu")):  # what a float32 model computes in where mixed precision is wanted
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == expected


def test_parts_in_each_number_type() -> None:
    half, full = torch.float16, torch.float32
    assert load_dtypes(BY_NAME["sd1"], half) == {"unet": half, "vae": half, "default": full}
    assert load_dtypes(BY_NAME["sdxl"], half) == {"unet": half, "vae": full, "default": full}  # its VAE overflows
    assert load_dtypes(BY_NAME["flux"], half) == {"default": half}
    assert load_dtypes(None, half) == {"default": half}
