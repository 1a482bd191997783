"""The negative prompt as a baseline: it costs nothing, and everybody has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evenhand.errors import InputError
from evenhand.interventions.prompt_map import PromptMap, Words
from evenhand.methods.concept_text import concept_text
from evenhand.methods.method import Method, Parameter, Setting


def negative_prompt(text: str, *, wanted: Callable[[str], bool] | None = None) -> PromptMap:
    """Put `text` into the negative prompt of every image, after what stands there already.

    Source: the common practice of classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) with a text in the
    place of the unconditional one: e_S + g (e_p - e_S).

    Args:
        text: what must not appear.
        wanted: which prompts it is for; None for all.

    Raises:
        InputError: an empty text.

    Cost: none.
    """
    if not text.strip():
        raise InputError("negative-prompt has an empty text; say what must not appear")
    return PromptMap(
        name="negative-prompt",
        words=lambda call: [
            Words(negative=text if wanted is None or call.prompts is None or wanted(call.prompts[row]) else "")
            for row in range(call.images)
        ],
    )


def _build(setting: Setting, values: Mapping[str, Any]) -> PromptMap:
    return negative_prompt(concept_text(setting, values)).scaled(values["strength"])


METHOD = Method(
    name="negative-prompt",
    site="prompt",
    source="the practice of classifier-free guidance, Ho and Salimans 2022, arXiv:2207.12598",
    summary="a text in the negative prompt; the baseline that costs nothing",
    parameters=(
        Parameter(name="text", help="what must not appear; else the model's own words for the concept"),
        Parameter(name="concept", help="the concept whose words are used", default="unsafe"),
    ),
    build=_build,
)
