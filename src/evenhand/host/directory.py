"""Is this folder a diffusers model that can be loaded? Every reason why not is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
from diffusers import pipelines

from evenhand.errors import ModelError

INDEX_NAME = "model_index.json"


def read_index(path: Path, source: str) -> dict[str, Any]:
    """The contents of a `model_index.json`, whose pipeline class is checked.

    Args:
        path: the file.
        source: what the user typed, for messages.

    Raises:
        ModelError: not JSON, no pipeline class, or a class that diffusers does not have.
    """
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"model {source!r}: {INDEX_NAME} cannot be read ({error}); save the pipeline again") from None
    name = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(name, str):
        raise ModelError(f"model {source!r}: {INDEX_NAME} names no pipeline class (_class_name is {name!r})")
    try:
        known = isinstance(found := getattr(diffusers, name), type) and issubclass(found, diffusers.DiffusionPipeline)
    except (AttributeError, ImportError, RuntimeError):
        known = False
    if not known:
        raise ModelError(
            f"model {source!r}: pipeline class {name!r} is not one of diffusers {diffusers.__version__}; "
            "code from a model repository is never run"
        )
    return index


def check_parts(directory: Path, index: dict[str, Any], source: str) -> None:
    """Every part that the index lists must be there, with weights in safetensors.

    Raises:
        ModelError: a part is missing, has only pickled weights, or needs code of its own.
    """
    for part, value in index.items():
        if part.startswith("_") or part == "safety_checker" or not _is_component(value):
            continue
        library, name = value
        if library not in ("diffusers", "transformers") and library not in vars(pipelines):
            raise ModelError(
                f"model {source!r}: its part {part} ({name}) comes from {library!r}; "
                "code from a model repository is never run"
            )
        folder = directory / part
        if not folder.is_dir():
            raise ModelError(f"model {source!r}: its part {part} ({name}) is missing, expected the folder {folder}")
        _check_weights(folder, part, name, source)


def _is_component(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _check_weights(folder: Path, part: str, name: str, source: str) -> None:
    """A part with a `config.json` is a network and needs weights; schedulers and tokenizers have none."""
    if not (folder / "config.json").is_file() or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.ckpt") for file in folder.glob(pattern))
    if pickled:
        raise ModelError(
            f"model {source!r}: its part {part} has only {pickled[0]}, a pickle that can run code; "
            "convert it to safetensors (pipe.save_pretrained)"
        )
    raise ModelError(f"model {source!r}: its part {part} ({name}) has no weights, expected *.safetensors in {folder}")
