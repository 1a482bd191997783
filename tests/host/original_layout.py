"""The inverse of diffusers' single-file conversion, for the tiny SD 1.x pipeline of the tests."""

from __future__ import annotations

import re

import torch
from diffusers import StableDiffusionPipeline

_LAYERS = 1 + 1  # layers per block of the tiny U-Net, and the position of its down- or upsampler

_UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def original_state_dict(pipe: StableDiffusionPipeline) -> dict[str, torch.Tensor]:
    """The weights of a pipeline under the names that SD 1.x checkpoints have."""
    weights = {f"model.diffusion_model.{_unet(name)}": value for name, value in pipe.unet.state_dict().items()}
    for name, value in pipe.vae.state_dict().items():
        original = _vae(name, len(pipe.vae.config["block_out_channels"]))
        attention = "attn_1" in original and value.ndim == 2
        weights[f"first_stage_model.{original}"] = value[:, :, None, None] if attention else value
    for name, value in pipe.text_encoder.state_dict().items():
        weights[f"cond_stage_model.transformer.text_model.{name}"] = value
    return {name: value.contiguous().clone() for name, value in weights.items()}


def _unet(name: str) -> str:
    for own, original in _UNET_TOP.items():
        if name.startswith(f"{own}."):
            return name.replace(own, original)
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        kind, index, rest = match.groups()
        place = 2 * int(index) + (kind == "attentions")
        return f"middle_block.{place}.{_resnet(rest) if kind == 'resnets' else rest}"
    match = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    assert match is not None, name
    side, block, kind, layer, rest = match.groups()
    if kind == "downsamplers":
        return f"input_blocks.{int(block) * _LAYERS + 2}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        return f"output_blocks.{int(block) * _LAYERS + 1}.{2 if block == '0' else 1}.{rest}"
    place = int(block) * _LAYERS + int(layer) + (side == "down")
    inside = f"0.{_resnet(rest)}" if kind == "resnets" else f"1.{rest}"
    return f"{'input' if side == 'down' else 'output'}_blocks.{place}.{inside}"


def _resnet(rest: str) -> str:
    layer, _, parameter = rest.partition(".")
    return f"{_UNET_RESNET[layer]}.{parameter}"


def _vae(name: str, blocks: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if match := re.search(r"mid_block\.resnets\.(\d)", name):
        return name.replace(match[0], f"mid.block_{int(match[1]) + 1}")
    if "mid_block.attentions.0" in name:
        for own, original in _VAE_ATTENTION.items():
            name = name.replace(f"attentions.0.{own}.", f"attentions.0.{original}.")
        return name.replace("mid_block.attentions.0", "mid.attn_1")
    if match := re.search(r"down_blocks\.(\d)", name):
        name = name.replace(match[0], f"down.{match[1]}")
    if match := re.search(r"up_blocks\.(\d)", name):
        name = name.replace(match[0], f"up.{blocks - 1 - int(match[1])}")
    return name.replace("resnets", "block").replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
