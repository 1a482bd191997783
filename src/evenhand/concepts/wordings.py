"""One subject in several wordings, so that what is learnt or calibrated does not hang on the words around it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evenhand.concepts.prompts import PromptRow
from evenhand.errors import InputError

FRAMES = ("a photo of", "picture of", "", "an image of", "a portrait of", "photo of", "a picture of", "image of")
BARE_FRAMES = ("an image of", "a photo of", "", "a picture of", "a portrait of")
"""Frames of a subject without its article; "image of nurse" and the like are left to audits."""


def caption_of(row: PromptRow, number: int) -> str:
    """The row's own phrase, in turn in several frames; one that begins otherwise stays as it is.

    Where the row's prompts name the subject without its article ("image of nurse"), every second caption does so too.
    """
    phrase = row.phrase or row.prompt(number)
    if not phrase.startswith(f"{FRAMES[0]} "):
        return phrase
    subject = phrase.removeprefix(f"{FRAMES[0]} ")
    noun = re.sub("^an? ", "", subject)
    frames = _framed(FRAMES, subject)
    if noun != subject and not any(subject in prompt for prompt in row.templates):
        pairs = zip(frames, _framed(BARE_FRAMES, noun), strict=False)
        frames = [one for pair in pairs for one in pair]
    return frames[number % len(frames)]


def plain_caption(prompt: str) -> str:
    """A prompt in the first of the frames, whichever it stands in."""
    around = next((frame for frame in FRAMES if frame and prompt.startswith(f"{frame} ")), "")
    return f"{FRAMES[0]} {prompt.removeprefix(around).lstrip()}"


def _framed(frames: Sequence[str], subject: str) -> list[str]:
    return [f"{frame} {subject}".lstrip() for frame in frames]


def named_by(pattern: str, name: str) -> str:
    """The words for a class: "{}-skinned" makes "dark-skinned" of dark.

    Args:
        pattern: a text with one {} in it, where the name goes.
        name: of the class.

    Raises:
        InputError: a pattern that has no such place, or several, or another brace.
    """
    before, place, after = pattern.partition("{}")
    if not place or "{" in before + after or "}" in before + after:
        raise InputError(
            f"words={pattern}, expected a text with one {{}} in it, where the name of a class goes, as {{}}-skinned"
        )
    return f"{before}{name}{after}"
