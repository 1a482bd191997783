"""One subject in several wordings, so that what is learnt or calibrated does not hang on the words around it."""

from __future__ import annotations

from evenhand.concepts.prompts import PromptRow

FRAMES = ("a photo of", "picture of", "", "an image of", "a portrait of", "photo of", "a picture of", "image of")


def caption_of(row: PromptRow, number: int) -> str:
    """The row's own phrase, in turn in several frames; one that begins otherwise stays as it is."""
    phrase = row.phrase or row.prompt(number)
    if not phrase.startswith(f"{FRAMES[0]} "):
        return phrase
    return phrase.replace(FRAMES[0], FRAMES[number % len(FRAMES)], 1).lstrip()


def plain_caption(prompt: str) -> str:
    """A prompt in the first of the frames, whichever it stands in."""
    around = next((frame for frame in FRAMES if frame and prompt.startswith(f"{frame} ")), "")
    return f"{FRAMES[0]} {prompt.removeprefix(around).lstrip()}"
