"""In which words a model is told what must not appear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenhand.errors import InputError
from evenhand.methods.method import Setting


def concept_text(setting: Setting, values: Mapping[str, Any], fallback: str | None = None) -> str:
    """The text of a SPEC, else the words that the model's card has for its concept, else `fallback`.

    Raises:
        InputError: there is none.
    """
    text = values["text"] or setting.guidance_text.get(values["concept"]) or fallback
    if text is None:
        raise InputError(f"the model's card has no text for {values['concept']!r}; give one with text=")
    return text
