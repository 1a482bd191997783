"""Prompts that are longer than what a text encoder reads: the pipeline cuts them, and their end is not asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evenhand.host.host import Host

_UNBOUNDED = 100_000
"""Tokenizers without a limit state a number far above any prompt."""


def cut_prompts(host: Host, prompts: Sequence[str]) -> dict[str, list[str]]:
    """For each tokenizer of the pipeline the prompts that it cuts, its limit being `model_max_length`.

    A pipeline with several text encoders may read a prompt whole with one and cut it for another. Prompts that none
    cuts give empty lists; a pipeline without a tokenizer gives an empty mapping.
    """
    found = {}
    for name, part in host.pipe.components.items():
        limit = getattr(part, "model_max_length", None)
        if name.startswith("tokenizer") and limit is not None and limit < _UNBOUNDED:
            found[name] = [prompt for prompt in dict.fromkeys(prompts) if _tokens(part, prompt) > limit]
    return found


def _tokens(tokenizer: Any, prompt: str) -> int:
    """Tokens with those of begin and end; quiet, since a tokenizer remarks on long texts."""
    return len(tokenizer(prompt, truncation=False, verbose=False)["input_ids"])
