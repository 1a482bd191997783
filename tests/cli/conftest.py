"""A toy model in the place of a loaded one; and a real pipeline with a real CLIP, both random and tiny."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from toys import ToyHost, install_toy
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from evenhand.concepts.prompts import load_prompts


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ToyHost]:
    """Installs a toy host as the model that every name opens."""

    def install(**options: Any) -> ToyHost:
        return install_toy(monkeypatch, **options)

    return install


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a Stable Diffusion 1 pipeline that knows three occupations."""
    path = tmp_path_factory.mktemp("models") / "sd1"
    tiny_pipelines.build("sd1").save_pretrained(path)
    known = load_prompts("occupations").rows[:3]
    card = {"steps": 3, "guidance": 2.0, "knows": {"occupations": [row.name for row in known]}}
    (path / "evenhand.json").write_text(json.dumps(card))
    return path


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a CLIP model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("judges") / "clip"
    words = tiny_pipelines.tokenizer()
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 16, "patch_size": 8, "projection_dim": 16}
    text = {**tiny_pipelines.text_config(words, 16).to_dict(), "projection_dim": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(path)
    words.save_pretrained(path)
    size: Any = {"height": 16, "width": 16}
    CLIPImageProcessor(size=size, crop_size=size).save_pretrained(path)
    return path
