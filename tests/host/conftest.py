"""Tiny random pipelines of each family, built from configuration and saved; no download, no training."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import diffusers
import pytest
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.records import Request

TOKENS = 16
FAMILY_NAMES = ("sd1", "sd2", "sdxl")


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """No progress bars in the log of the tests, as `--quiet` has it; one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    diffusers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    yield
    torch.set_num_threads(threads)
    diffusers.utils.logging.enable_progress_bar()
    transformers.utils.logging.enable_progress_bar()


def tokenizer() -> CLIPTokenizer:
    """Every letter is a token, once inside and once at the end of a word."""
    letters = string.ascii_lowercase + string.digits + ",.-'*"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=TOKENS)


def text_config(words: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def vae() -> AutoencoderKL:
    shape: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }
    return AutoencoderKL(latent_channels=4, norm_num_groups=4, **shape)


def scheduler(prediction: Literal["epsilon", "v_prediction"] = "epsilon") -> Any:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )


def unet(context: int, **more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=context,
        attention_head_dim=4,
        norm_num_groups=4,
        **more,
    )


def build(family: str) -> DiffusionPipeline:
    """A random pipeline of a family: 16 x 16 images from latents of 8 x 8."""
    torch.manual_seed(FAMILY_NAMES.index(family))
    words = tokenizer()
    euler: Any = EulerDiscreteScheduler.from_config(scheduler().config)
    if family == "sdxl":
        return StableDiffusionXLPipeline(
            vae=vae(),
            text_encoder=CLIPTextModel(text_config(words, 16)),
            text_encoder_2=CLIPTextModelWithProjection(text_config(words, 24)),
            tokenizer=words,
            tokenizer_2=words,
            unet=unet(
                16 + 24,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=24 + 6 * 8,
                use_linear_projection=True,
            ),
            scheduler=euler,
        )
    without_checker: Any = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=CLIPTextModel(text_config(words, 32)),
        tokenizer=words,
        unet=unet(32, use_linear_projection=family == "sd2"),
        scheduler=scheduler("v_prediction" if family == "sd2" else "epsilon"),
        **without_checker,
    )


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family name -> a directory that `save_pretrained` wrote."""
    root = tmp_path_factory.mktemp("models")

    def directory(family: str) -> Path:
        path = root / family
        if not path.exists():
            build(family).save_pretrained(path)
        return path

    return directory


@pytest.fixture(params=FAMILY_NAMES)
def host(request: pytest.FixtureRequest, model_directory: Callable[[str], Path]) -> Iterator[Host]:
    """A host of each family in float32."""
    with Host.wrap(load_pipeline(model_directory(request.param), device="cpu", dtype="float32")) as host:
        yield host


@pytest.fixture
def sd1(model_directory: Callable[[str], Path]) -> Iterator[Host]:
    with Host.wrap(load_pipeline(model_directory("sd1"), device="cpu", dtype="float32")) as host:
        yield host


@pytest.fixture(scope="session")
def make_requests() -> Callable[..., list[Request]]:
    """n requests with prompts and seeds of their own."""

    def requests(n: int, negative: str | None = None) -> list[Request]:
        return [
            Request(row="r", prompt=f"photo of a cat {i}", index=i, seed=100 + 7 * i, negative_prompt=negative)
            for i in range(n)
        ]

    return requests
