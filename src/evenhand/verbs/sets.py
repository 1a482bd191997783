"""What a result says of the prompt sets that it was made on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..watch import Watcher
from .series import Series

if TYPE_CHECKING:
    from ..host.host import Host

CUT = "cut_prompts"
"""Key of run.json: prompt set -> tokenizer -> how many of its prompts are longer than what it reads."""


def cut_facts(host: Host, series: Sequence[Series], watcher: Watcher) -> dict[str, Any]:
    """What run.json keeps of prompts that the model's text encoders cut; tells the watcher of them."""
    from ..host.prompt_lengths import cut_prompts

    found: dict[str, dict[str, int]] = {}
    for one in series:
        cut = cut_prompts(host, [request.prompt for request in one.requests])
        counts = {name: len(prompts) for name, prompts in cut.items() if prompts}
        if counts:
            found[one.name] = counts
            most = max(counts.values())
            watcher.say(f"{one.name}: {most} prompts are longer than the text encoder reads, and are cut by the model")
    return {CUT: found} if found else {}


def describe_sets(series: Sequence[Series], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of `prompts` in result.json.

    Args:
        series: the sets that were used.
        facts: run.json.
    """
    cut = facts.get(CUT) or {}
    return [
        {
            "name": one.name,
            "rows": one.rows,
            "left_out": one.left_out,
            **({"role": one.role} if one.role != "main" else {}),
            **({"facts": dict(one.facts)} if one.facts else {}),
            **({"cut": cut[one.name]} if one.name in cut else {}),
            **({"categories": dict(one.categories)} if any(one.categories.values()) else {}),
        }
        for one in series
    ]
