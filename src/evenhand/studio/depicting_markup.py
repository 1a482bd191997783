"""What an association found, as HTML: a sentence, a table, and the images seed by seed."""

from __future__ import annotations

from ..judges.base import Featured, Judge
from ..records import Estimate
from ..report.groups import attribute_of
from ..report.markup import Markup, el
from ..report.words import interval_text, metric_of, plain, value_text
from .depicting import Depicted
from .markup import perceived, picture_uri, scrolled
from .session import Seen, perceived_unsafe, with_unsafe
from .takeaway import command
from .words import count

_DIFFERENCES = ("association", "text_association", "image_association")
_HEADS = ("Measure", "Attribute", "Groups", "In each", "Difference", "95 % interval", "q", "Pairs")
_TITLES = {
    "association": "judged in the images",
    "text_association": "likeness of the prompt, in text space",
    "image_association": "likeness of the images, in image space",
}


def association_table(depicted: Depicted | None, judge: Judge) -> str:
    """The differences between groups, a sentence that sums them up, and the command that states the same."""
    if depicted is None:
        return el("p", {"class": "eh-soft"}, "Differences between the groups appear here.")
    found = depicted.estimates(judge)
    if not found:
        return el("p", {"class": "eh-soft"}, "No seed has an image for every group yet.")
    rows = [_row(one, found) for metric in _DIFFERENCES for one in found if one.metric == metric]
    head = el("tr", None, *(el("th", {"scope": "col"}, one) for one in _HEADS))
    table = el("table", {"class": "eh-table"}, el("thead", None, head), el("tbody", None, *rows))
    typed = depicted.swap.association.typed
    lines = [
        el("p", None, _finding(found)),
        scrolled(table, "Differences between groups"),
        el("p", {"class": "eh-soft"}, _remark(judge)) if typed else None,
        el("p", None, "The command line of this table: ", el("code", None, command(depicted.config))),
    ]
    return el("div", None, *lines)


def _finding(found: list[Estimate]) -> str:
    tested = [one for one in found if one.metric == "association"]
    proven = [one for one in tested if one.decision == "biased"]
    if not tested:
        return "No attribute was judged; likeness moves with the very name of a group, so it carries no verdict."
    many = count(len(tested), "difference")
    if not proven:
        return f"Of {many} between groups none is proven at a false discovery rate of 5 %."
    named = "; ".join(f"{attribute_of(one)} ({plain(str(one.class_name))}): {value_text(one)}" for one in proven)
    return f"Of {many} between groups {len(proven)} {'is' if len(proven) == 1 else 'are'} proven: {named}."


def _remark(judge: Judge) -> str:
    if not isinstance(judge, Featured):
        return f"The judge {judge.name} has no space of texts and images, so words of your own cannot be compared."
    return (
        "Likeness is the difference of cosines with your words in the space of the judge. It moves with the very name "
        "of a group, so compare attributes with each other. Of a single prompt nothing is sampled: its value is exact."
    )


def _row(one: Estimate, found: list[Estimate]) -> Markup:
    what, _, pair = str(one.class_name).rpartition(", ")
    attribute = attribute_of(one) if not what or what == "yes" else f"{attribute_of(one)}: {plain(what)}"
    levels = [
        value_text(some)
        for group in pair.split(" over ")
        for some in found
        if some.metric == "presence" and some.concept == one.concept and some.class_name == f"{what}, {group}"
    ]
    q = "" if one.q_value is None or one.metric != "association" else f"{one.q_value:.3f}"
    interval = "exact" if one.metric == "text_association" and one.low == one.high else interval_text(one)
    cells = (
        attribute,
        plain(pair),
        " and ".join(levels) if one.metric == "association" else "",
        value_text(one),
        interval,
        q,
        f"{one.n:,}" if one.metric != "text_association" else "",
    )
    title = _TITLES.get(one.metric, metric_of(one.metric).title)
    return el("tr", None, el("th", {"scope": "row"}, title), *(el("td", None, cell) for cell in cells))


def association_images(depicted: Depicted | None) -> str:
    """The images of every complete seed, the groups side by side."""
    if depicted is None or not depicted.seeds():
        return el("p", {"class": "eh-soft"}, "Images of the groups appear here, from the same seeds.")
    width = len(depicted.swap.groups)
    seeds = [_seed(depicted, seed, k * width) for k, seed in enumerate(depicted.seeds())]
    return el("ul", {"class": "eh-seeds", "style": f"--groups:{width}", "aria-label": "Images of the groups"}, *seeds)


def _seed(depicted: Depicted, seed: list[Seen], first: int) -> Markup:
    items = [_item(depicted, one, first + place) for place, one in enumerate(seed)]
    name = f"Seed {first // len(seed) + 1}"
    return el("li", None, el("ul", {"class": "eh-pictures", "aria-label": name}, *items))


def _item(depicted: Depicted, seen: Seen, number: int) -> Markup:
    groups, asked = depicted.swap.groups, depicted.series.asked
    name = f"seed {number // len(groups) + 1}, {groups[number % len(groups)]}"
    told = ", ".join(perceived(concept, verdict) for verdict, concept in zip(seen.verdicts, asked, strict=False))
    words = el("p", None, el("span", {"class": "eh-number"}, name), f" {told}")
    image = seen.sample.image
    if image is None:
        return el("li", None, el("div", {"class": "eh-none"}, "The model gave no image."), words)
    if perceived_unsafe(with_unsafe(asked), seen) and number not in depicted.shown:
        cover = el(
            "button",
            {"type": "button", "class": "eh-cover", "data-act": "show", "data-number": number},
            el("img", {"src": picture_uri(image, covered=True), "alt": ""}),
            el("span", None, f"The image of {name} is perceived as unsafe. Show it"),
        )
        return el("li", None, cover, words)
    alt = f"The prompt {seen.request.prompt}, {name}; perceived: {told}"
    return el("li", None, el("img", {"src": picture_uri(image), "alt": alt}), words)
