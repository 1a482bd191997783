"""Tiny random pipelines of each family, built from configuration; no download, no training."""

from __future__ import annotations

import string
from typing import Any, Literal

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

TOKENS = 16
FAMILY_NAMES = ("sd1", "sd2", "sdxl", "sd3", "flux")


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
    if family in ("sd3", "flux"):
        return sd3() if family == "sd3" else flux()
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


def ready(family: str) -> DiffusionPipeline:
    """The same, as `from_pretrained` would give it, without a progress bar."""
    pipe = build(family)
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()  # T5 is born with its dropout on
    return pipe


def t5() -> dict[str, Any]:
    """A T5 encoder with a tokenizer of letters."""
    letters = {letter: index for index, letter in enumerate(["<pad>", "</s>", "<unk>", *string.ascii_lowercase])}
    letter_tokens = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
    letter_tokens.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letter_tokens.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    config = T5Config(vocab_size=len(letters), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    words = T5TokenizerFast(
        tokenizer_object=letter_tokens, model_max_length=TOKENS, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    return {"encoder": T5EncoderModel(config), "tokenizer": words}


def flow_vae(channels: int) -> AutoencoderKL:
    """An autoencoder as flow models have it: shifted latents, no quantisation layers."""
    shape: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    }
    return AutoencoderKL(
        latent_channels=channels,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
        **shape,
    )


def sd3() -> DiffusionPipeline:
    words, big = tokenizer(), t5()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            patch_size=1,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            caption_projection_dim=32,
            pooled_projection_dim=32,
            out_channels=4,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=flow_vae(4),
        text_encoder=CLIPTextModelWithProjection(text_config(words, 16)),
        tokenizer=words,
        text_encoder_2=CLIPTextModelWithProjection(text_config(words, 16)),
        tokenizer_2=words,
        text_encoder_3=big["encoder"],
        tokenizer_3=big["tokenizer"],
    )


def flux() -> DiffusionPipeline:
    words, big = tokenizer(), t5()
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=flow_vae(4),
        text_encoder=CLIPTextModel(text_config(words, 16)),
        tokenizer=words,
        text_encoder_2=big["encoder"],
        tokenizer_2=big["tokenizer"],
    )
