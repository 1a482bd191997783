"""The prompt site: each image's prompt, and its negative prompt, are rewritten before they are encoded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evenhand.errors import InputError
from evenhand.host.sites import Call, Site


@dataclasses.dataclass(frozen=True)
class Words:
    """What is added to one image's prompt and to its negative prompt, after a comma; "" adds nothing."""

    prompt: str = ""
    negative: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptMap:
    """An intervention on the prompt. It is on or off: words have no strength between.

    Args:
        name: how reports call it.
        words: for each image of a call what is added.
        strength: 1 is on, 0 is off.

    Raises:
        InputError: another strength.
    """

    name: str
    words: Callable[[Call], Sequence[Words]]
    strength: float = 1.0
    site: Site = "prompt"

    def __post_init__(self) -> None:
        if self.strength not in (0.0, 1.0):
            raise InputError(f"{self.name} has strength {self.strength:g}; words are on (1) or off (0)")

    def scaled(self, strength: float) -> PromptMap:
        """The same map, on or off."""
        return dataclasses.replace(self, strength=strength)

    def check(self, host: Any) -> None:
        """Every pipeline takes a prompt; not every one takes a negative prompt, which it says itself."""

    def begin(self, call: Call) -> PromptEffect | None:
        """The effect on one call; None where nothing is added."""
        words = tuple(self.words(call))
        return PromptEffect(words) if any(one != Words() for one in words) else None


class PromptEffect:
    """One call."""

    def __init__(self, words: Sequence[Words]) -> None:
        self._words = words

    def prompts(self, prompts: Sequence[str]) -> Sequence[str]:
        """The prompts with their words."""
        return [_with(prompt, one.prompt) for prompt, one in zip(prompts, self._words, strict=True)]

    def negative_prompts(self, prompts: Sequence[str]) -> Sequence[str]:
        """The negative prompts with theirs."""
        return [_with(prompt, one.negative) for prompt, one in zip(prompts, self._words, strict=True)]

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """What was added for each image."""
        return [dataclasses.asdict(one) for one in self._words]


def _with(prompt: str, words: str) -> str:
    return f"{prompt}, {words}" if prompt and words else prompt or words
