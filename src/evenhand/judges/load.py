"""From a judge's name to a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from evenhand.errors import ModelError
from evenhand.skewville.paths import JUDGE_DIRECTORIES
from evenhand.skewville.shipped import load_clip, load_convnet

from .base import DEFAULT_JUDGE, Judge
from .classifier import ClassifierJudge
from .plugins import load_plugin, plugin_names
from .zero_shot import ZeroShotJudge

_REFUSED = ".bin and .pt weights are pickled and are refused; give a directory or Hub id with safetensors"


def judge_names() -> dict[str, str]:
    """The built-in judges with a word on each."""
    return {
        "clip": "Skewville's report judge: a small CLIP, zero-shot; makes the printed figures",
        "convnet": "Skewville's fit judge: a small classifier; for fitting, filtering and stopping",
        DEFAULT_JUDGE: "zero-shot CLIP from the Hub; the default for other models",
        **plugin_names(),
    }


def load_judge(name: str, device: torch.device | str = "cpu") -> Judge:
    """A judge by name: `clip`, `convnet`, a plug-in, the Hub id of a CLIPModel, or a local directory that holds one.

    Args:
        name: of the judge.
        device: where it reads; a plug-in decides that itself. A small judge on a CPU would be what a GPU waits for.

    Raises:
        ModelError: the judge is unknown, cannot be reached or is not a CLIPModel.
    """
    if name == "convnet":
        model, heads = load_convnet(JUDGE_DIRECTORIES["convnet"])
        return ClassifierJudge(model.to(device), heads, features=model.features, aliases={"contexts": "scene"})
    if name in JUDGE_DIRECTORIES:
        directory = JUDGE_DIRECTORIES[name]
        model, tokenizer, processor = load_clip(directory)
        torch.nn.Module.to(model, device)  # CLIPModel.to has no type of its own
        return ZeroShotJudge(model, tokenizer, processor, name=name, facts=_facts(directory))
    plugin = load_plugin(name)
    if plugin is not None:
        return plugin
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"judge {name}: the directory has no config.json; expected a CLIPModel saved by save_pretrained"
            )
        return _from_hub(name, device, local=True)
    if path.suffix or name.count("/") != 1 or name.startswith((".", "/")):
        raise ModelError(
            f"judge {name!r}: unknown; expected one of {', '.join(judge_names())}, a Hub id or a directory"
        )
    return _from_hub(name, device, local=False)


def _from_hub(name: str, device: torch.device | str, *, local: bool) -> ZeroShotJudge:
    try:
        model = CLIPModel.from_pretrained(name, local_files_only=local, use_safetensors=True, dtype="float32")
        tokenizer = CLIPTokenizer.from_pretrained(name, local_files_only=local)
        processor = CLIPImageProcessor.from_pretrained(name, local_files_only=local)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"judge {name}: no CLIPModel could be loaded ({first}); {_REFUSED}") from None
    torch.nn.Module.to(model, device)
    return ZeroShotJudge(model, tokenizer, processor, name=name, facts=_facts(Path(name)) if local else None)


def _facts(directory: Path) -> dict[str, Any]:
    """The confusion matrices that ship beside a judge, where there are any: K true classes by K + 1 answers."""
    file = directory / "confusion.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text("utf-8"))
    matrices = {name: one["matrix"] for name, one in found["concepts"].items()}
    return {"confusion": matrices, "confusion_measured_on": f"{found['pictures']} pictures: {found['how']}"}
