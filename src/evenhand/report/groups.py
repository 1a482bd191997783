"""What associations found, in a sentence."""

from __future__ import annotations

from ..records import Estimate
from .reading import Reading
from .words import interval_text, plain, role_of, value_text


def finding(reading: Reading, arm: str | None) -> str:
    """What was found in a sentence: the attributes whose difference is proven among all that were looked at."""
    tested = [e for e in reading.estimates if over_rows(e, "association", arm)]
    found = [e for e in tested if e.decision == "biased"]
    if not tested:
        return "No attribute was judged; see the typed ones below."
    count = f"{len(tested)} difference{'' if len(tested) == 1 else 's'}"
    if not found:
        return f"Of {count} none is proven at a false discovery rate of 5\u00a0%."
    named = "; ".join(
        f"{attribute_of(e)} ({plain(str(e.class_name))}): {value_text(e)}, {interval_text(e)}" for e in found
    )
    return f"Of {count} {len(found)} {'is' if len(found) == 1 else 'are'} proven: {named}."


def groups_finding(reading: Reading) -> tuple[tuple[str, ...], ...]:
    """The finding of the first arm, where an association was asked for."""
    some = any(role_of(e.metric) == "association" for e in reading.estimates)
    return ((finding(reading, reading.arms[0]),),) if some else ()


def over_rows(e: Estimate, metric: str, arm: str | None) -> bool:
    """Whether an estimate is the figure over the rows of a metric under an arm."""
    return e.metric == metric and e.intervention == arm and e.prompt is None


def attribute_of(e: Estimate) -> str:
    """The attribute of "origin:scarf"; of quality the group itself."""
    return plain(str(e.concept).partition(":")[2] or str(e.concept))
