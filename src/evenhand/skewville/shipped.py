"""How the weights of Skewville's judges are read."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from evenhand.errors import ModelError
from evenhand.host.quiet import without_loading_bars

from .convnet import ConvNet


def load_clip(directory: Path) -> tuple[CLIPModel, CLIPTokenizer, CLIPImageProcessor]:
    """A CLIPModel with its tokenizer and processor from a local directory, in float32."""
    with without_loading_bars():
        model = CLIPModel.from_pretrained(directory, local_files_only=True, dtype="float32")
    tokenizer = CLIPTokenizer.from_pretrained(directory, local_files_only=True)
    return model, tokenizer, CLIPImageProcessor.from_pretrained(directory, local_files_only=True)


def load_convnet(directory: Path) -> tuple[ConvNet, dict[str, list[str]]]:
    """The fit judge's network and the class names of its heads."""
    try:
        heads = json.loads((directory / "config.json").read_text("utf-8"))["heads"]
        weights = load_file(directory / "model.safetensors")
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"judge {directory}: cannot be read ({error}); expected config.json and model.safetensors"
        ) from None
    model = ConvNet({name: len(classes) for name, classes in heads.items()})
    model.load_state_dict(weights)
    return model, heads
