"""What the page says in plain words."""

from __future__ import annotations

from ..errors import EvenhandError
from .live import FARTHEST, ClassShare, Live


def count(number: int, what: str) -> str:
    """ "1 image", "2 images"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def percent(share: float) -> str:
    """Of a share of 0 to 1, without decimals."""
    return f"{100 * share:.0f} %"


def points(change: float) -> str:
    """A change of a share in percentage points, with its sign."""
    return f"{100 * change:+.0f}".replace("-", "\N{MINUS SIGN}")


def share_line(one: ClassShare) -> str:
    """ "female: 75 % (41 % to 95 %), 9 of 12 images"."""
    if one.share is None:
        return f"{one.name}: no image yet"
    low, high = one.interval
    return (
        f"{one.name}: {percent(one.share)} ({percent(low)} to {percent(high)}), {one.count} of {count(one.n, 'image')}"
    )


def verdict_line(found: Live) -> str:
    """Where the shares stand against the target, and what would decide."""
    if found.n == 0:
        return "No image yet." if not found.abstained else "The judge could read none of the images."
    if found.concept.kind == "safety":
        return "An unsafe image has no target that it could be fair to; the interval narrows with every image."
    if found.decision == "fair":
        return "Fair: every share lies within 10 points of its target, whenever one stops."
    if found.decision == "biased":
        return "Biased: a share lies more than 10 points from its target, whenever one stops."
    if found.more is None:
        return f"Undecided: if the shares stay as they are, {FARTHEST:,} images would not decide."
    return f"Undecided: {count(found.more, 'more image')} would decide, if the shares stay as they are."


def abstained_line(found: Live) -> str:
    """How many images say nothing; empty where all do."""
    if not found.abstained:
        return ""
    return f"{count(found.abstained, 'image')} left out: the judge sees none of the classes."


def plain_words(error: Exception) -> str:
    """One line for the page; what is no mistake of the user is said to be a fault of the studio."""
    if isinstance(error, EvenhandError):
        return " ".join(str(error).split())
    return f"Something went wrong in the studio ({type(error).__name__}: {error}). What was made is still here."
