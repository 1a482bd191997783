"""Texts as the denoiser's own inputs, and batches with rows for further texts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evenhand.errors import EvenhandWarning
from evenhand.host.families import Family

_PER_IMAGE_IDS = frozenset({"img_ids", "txt_ids"})
"""Positions that all rows share; every other tensor among the inputs has one row per image."""


@dataclass(frozen=True)
class Conditioning:
    """A text as inputs of the denoiser: dotted name -> tensor, of one row unless it is shared by all rows."""

    inputs: Mapping[str, torch.Tensor]


def encode_text(pipe: Any, family: Family, text: str, longest: int | None = None) -> Conditioning:
    """Encode one text exactly as the pipeline encodes a prompt.

    Args:
        pipe: the pipeline.
        family: its row of the table.
        text: what to encode.
        longest: the `max_sequence_length` of the call, None where it names none.

    Warns:
        EvenhandWarning: the text is longer than the first text encoder reads.
    """
    _warn_if_cut(pipe, text)
    # where the pipeline computes, which also holds while its parts are offloaded
    arguments: dict[str, Any] = {"prompt": text, "device": pipe._execution_device, "num_images_per_prompt": 1}
    if longest is not None:
        arguments["max_sequence_length"] = longest
    if family.name == "flux":
        arguments["prompt_2"] = None
    else:
        arguments["do_classifier_free_guidance"] = False
    if family.name == "sd3":
        arguments |= {"prompt_2": None, "prompt_3": None}
    with torch.no_grad():
        encoded = pipe.encode_prompt(**arguments)
    return Conditioning({name: encoded[position] for name, position in family.text_inputs})


def _warn_if_cut(pipe: Any, text: str) -> None:
    tokenizer = pipe.components.get("tokenizer")
    if tokenizer is None:
        return
    tokens = len(tokenizer(text, truncation=False, verbose=False).input_ids)
    if tokens > tokenizer.model_max_length:
        warnings.warn(
            EvenhandWarning(
                f"the text {text[:60]!r}... has {tokens} tokens, the model reads {tokenizer.model_max_length}; "
                "its end is cut off, so shorten it"
            ),
            stacklevel=2,
        )


def rows_of(inputs: Mapping[str, Any], rows: int, chosen: torch.Tensor) -> dict[str, Any]:
    """The denoiser's inputs for the `chosen` of its `rows`; what all rows share stays as it is."""
    return {name: _map_rows(name, value, rows, lambda tensor: tensor[chosen]) for name, value in inputs.items()}


def with_texts(inputs: Mapping[str, Any], texts: Sequence[Conditioning]) -> dict[str, Any]:
    """Inputs of as many rows as there are texts, with their conditioning replaced."""
    changed = dict(inputs)
    for name in texts[0].inputs:
        parts = [text.inputs[name] for text in texts]
        value = parts[0] if name in _PER_IMAGE_IDS else torch.cat(parts)
        _put(changed, name.split("."), value)
    return changed


def joined(first: Mapping[str, Any], second: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """One batch of two: the first has `rows` rows."""
    return {name: _join(name, value, second[name], rows) for name, value in first.items()}


def _put(inputs: dict[str, Any], path: Sequence[str], value: torch.Tensor) -> None:
    """Replace a nested input; the nested dicts of the caller stay as they are."""
    name, *rest = path
    if rest:
        inputs[name] = dict(inputs[name])
        _put(inputs[name], rest, value)
    else:
        inputs[name] = value


def _map_rows(name: str, value: Any, rows: int, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, Mapping):
        return {key: _map_rows(key, one, rows, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map_rows(name, one, rows, change) for one in value)
    if _has_rows(name, value, rows):
        return change(value)
    return value


def _join(name: str, one: Any, other: Any, rows: int) -> Any:
    if isinstance(one, Mapping):
        return {key: _join(key, part, other[key], rows) for key, part in one.items()}
    if isinstance(one, list | tuple):
        return type(one)(_join(name, part, more, rows) for part, more in zip(one, other, strict=True))
    return torch.cat([one, other]) if _has_rows(name, one, rows) else one


def _has_rows(name: str, value: Any, rows: int) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) == rows and name not in _PER_IMAGE_IDS
