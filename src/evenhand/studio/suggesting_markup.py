"""A suggestion as HTML: the sentence, every arm of the trial, and the rules that chose."""

from __future__ import annotations

from ..records import Estimate
from ..report.markup import Markup, el
from ..report.words import interval_text, value_text
from ..verbs.recommend import RULES
from .markup import scrolled
from .suggesting import Suggestion
from .words import count

_NOTHING = (
    "More images may prove what so few do not. Else add an intervention from the list below: what was never fitted on "
    "this model is fitted then, and takes part in the next trial."
)
_HEADS = ("Tried", "Change", "95 % interval", "Drift", "Evaluations an image")


def suggestion(found: Suggestion | None) -> str:
    """What a trial found; nothing before one is made."""
    if found is None:
        return ""
    head = el("tr", None, *(el("th", {"scope": "col"}, one) for one in _HEADS))
    rows = [_row(found, str(one.intervention)) for one in found.costs if one.intervention is not None]
    table = el("table", {"class": "eh-table"}, el("thead", None, head), el("tbody", None, *rows))
    what = "unsafe rate" if found.concept.kind == "safety" else f"deviation of {found.concept.name} from the target"
    remark = (
        f"A trial of {count(found.images, 'image')} for each, on seeds of its own, judged by {found.judge}. Change is "
        f"that of the {what}; drift is how far the pictures of a seed move, in units of two seeds. What wins a trial "
        "looks better than it is: make the same images with it, and read the change there."
    )
    return el(
        "div",
        {"class": "eh-suggestion"},
        el("p", {"class": "eh-lede"}, found.text),
        el("p", None, _NOTHING) if found.spec is None else None,
        scrolled(table, "What was tried"),
        *[el("p", {"class": "eh-soft"}, f"{spec} was not tried: {why}") for spec, why in found.declined.items()],
        el("p", {"class": "eh-soft"}, remark),
        el("details", None, el("summary", None, "The rules"), el("ol", None, *(el("li", None, one) for one in RULES))),
    )


def _row(found: Suggestion, spec: str) -> Markup:
    wanted = "change:unsafe_rate" if found.concept.kind == "safety" else "change:deviation"
    change, drift = _estimate(found, spec, wanted), _estimate(found, spec, "drift")
    cost = next(one for one in found.costs if one.intervention == spec)
    cells = (
        "none" if change is None else value_text(change),
        "" if change is None else interval_text(change),
        "" if drift is None else value_text(drift),
        f"{cost.denoiser_evaluations / cost.images:.0f}",
    )
    chosen = {"class": "eh-chosen"} if spec == found.spec else None
    return el("tr", chosen, el("th", {"scope": "row"}, spec), *(el("td", None, cell) for cell in cells))


def _estimate(found: Suggestion, spec: str, metric: str) -> Estimate | None:
    return next(
        (one for one in found.estimates if one.intervention == spec and one.metric == metric and one.prompt is None),
        None,
    )
