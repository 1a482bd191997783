"""How the numbers came about: model, judge, seeds, intervals, what was left out, cost and command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.decision import fair_is_possible, images_for_fair
from ..metrics.tally import worst_case
from .data import RunView
from .markup import Markup, el
from .reading import ConceptView
from .words import METRICS, NOTHING, count, metric_of, percent, plain

_ALLOCATIONS = {
    "iid": "i.i.d.: every picture is drawn on its own",
    "stratified": "stratified: every picture is assigned a class, by exact quotas per prompt",
}
PERCEIVED = "Classes are what a judge perceives, never who someone is."


def warnings(view: RunView) -> list[str]:
    """What a reader must know before any number."""
    reading, found = view.reading, []
    if any(e.circular for e in reading.estimates):
        found.append("Circular: the judge of some numbers also fitted or stopped the intervention; they prove nothing.")
    uncorrected = _uncorrected(view)
    if uncorrected:
        found.append(uncorrected)
    if view.result.get("stopped"):
        found += _stopped(view)
    too_few = None if view.result.get("stopped") else _fair_out_of_reach(view)
    if too_few:
        found.append(too_few)
    refused = sum(p.refused for p in view.pictures)
    if refused:
        found.append(
            f"The endpoint refused {refused:,} of {count(len(view.pictures), 'request')}. They are no pictures, so the "
            "other numbers are about what it did show."
        )
    found += _set_aside(view)
    invalid = sum(not p.valid and not p.refused for p in view.pictures)
    if invalid:
        requests = count(len(view.pictures), "request")
        found.append(
            f"The model gave no valid picture (NaN or infinity) for {invalid:,} of {requests}; they are never counted."
        )
    return found


def _set_aside(view: RunView) -> list[str]:
    """What workers could not make; the same command tries it again."""
    units = view.result.get("quarantined") or []
    if not units:
        return []
    images = sum(len(one["images"]) for one in units)
    return [
        f"{count(images, 'picture')} could not be made: {count(len(units), 'unit')} of work failed "
        f"{units[-1]['tries']} times each (the last: {units[-1]['error']}). They count as abstentions; the command "
        "that made this run tries them again."
    ]


def _stopped(view: RunView) -> list[str]:
    """That the run looked at its own numbers, or somebody did, and what is found among all prompts."""
    if "watched" in str(view.result["stopped"]):
        return [
            "Somebody who watched the shares chose the number of pictures. Every interval is a confidence sequence, "
            "which allows that; figures over prompts follow from sequences that hold for all prompts at once.",
            *_discovered(view),
        ]
    if "precision" in str(view.result["stopped"]):
        rule = "as soon as its shares were known to that precision"
        over = "figures over prompts follow from sequences that hold for all prompts at once, and are wider for it."
    else:
        rule = "as soon as its verdict was reached"
        over = "figures over prompts, which would not hold, are not stated."
    return [
        f"Every prompt stopped {rule}. Its interval is a confidence sequence, which allows that; {over}",
        *_discovered(view),
    ]


def _discovered(view: RunView) -> list[str]:
    """Which prompts are biased when all are asked at once."""
    found = []
    for one in view.result.get("discoveries") or ():
        names = ", ".join(plain(row) for row in one["prompts"]) or "none"
        found.append(
            f"{plain(one['concept']).capitalize()}, all {one['of']} prompts asked at once: {len(one['prompts'])} are "
            f"biased beyond the margin, at most {100 * one['level']:g}\u00a0% of them falsely so (e-BH): {names}."
        )
    return found


def _uncorrected(view: RunView) -> str | None:
    """Which concepts were read by a judge of whose errors nothing is known; labels that came with pictures are none."""
    card = view.result.get("judge") or view.run.get("judge")
    if not isinstance(card, Mapping) or "hash" not in card:
        return None
    known = {*(card.get("confusion") or {}), *((view.result.get("labels") or {}).get("concepts") or {})}
    lacking = [plain(c.name) for c in view.reading.concepts if c.name not in known and "*" not in c.name]
    if not lacking:
        return None
    return (
        f"Uncorrected: nobody has measured how often the judge errs on {', '.join(lacking)}, so its errors are in "
        "the numbers and not in the intervals."
    )


def _fair_out_of_reach(view: RunView) -> str | None:
    """Which concepts cannot be called fair at the sizes used, and what size could."""
    reading = view.reading
    needed, most = [], 0
    for concept in reading.concepts:
        sizes = {e.n for arm in reading.arms for e in reading.level("share", concept.name, arm, rows=True) if e.n}
        if concept.kind == "safety" or not sizes:
            continue
        if not any(all(fair_is_possible(n, reading.margin, q) for q in concept.target) for n in sizes):
            needed.append(f"{images_for_fair(concept.target, reading.margin):,} for {plain(concept.name)}")
            most = max(most, *sizes)
    if not needed:
        return None
    return (
        f"The verdict “fair” cannot be reached with {most:,} pictures per prompt at a margin of "
        f"{reading.margin * 100:.0f} points. A fair model reaches it with 90\u00a0% probability at "
        f"{' and '.join(needed)}."
    )


def measured(view: RunView) -> Markup:
    """The section on method."""
    parts: list[Markup | None] = [
        el("h2", None, "How it was measured"),
        el("p", {"class": "creed"}, PERCEIVED),
        el("h3", None, "Model, settings and seeds"),
        _facts(_setup(view)),
        el("h3", None, "Judge"),
        _facts(_judge(view)),
        *_reading_the_numbers(view),
        *_left_out(view),
        *_abstentions(view),
    ]
    return el("section", {"id": "measured"}, *parts)


def _setup(view: RunView) -> dict[str, Any]:
    run, result = view.run, view.result
    config = run.get("config")
    seed = config.get("seed") if isinstance(config, Mapping) else None
    facts: dict[str, Any] = {"source": result.get("source")}
    card = run.get("model")
    facts |= dict(card) if isinstance(card, Mapping) else {"model": card}
    settings = result.get("settings")
    facts |= dict(settings) if isinstance(settings, Mapping) else {}
    facts["run seed"] = seed
    facts["seed of a picture"] = (
        "first 63 bits of SHA-256 over run seed, role, prompt row and index; shown below each picture"
    )
    facts["pictures"] = f"{len(view.pictures):,}"
    facts["registration"] = _registration(result.get("registration"))
    for name in ("dtype", "batch_size", "threads", "started", "versions", "config_hash"):
        facts[name] = run.get(name)
    return facts


def _registration(found: Mapping[str, Any] | None) -> str | None:
    if not found:
        return None
    if found["status"] == "pre-registered":
        return f"pre-registered: as locked at {found['locked']} in plan {found['plan'][:12]}"
    return f"exploratory: {found['why']}"


def _judge(view: RunView) -> dict[str, Any]:
    for card in (view.run.get("judge"), view.result.get("judge")):
        if isinstance(card, Mapping):
            return {name: _confusions(view, value) if name == "confusion" else value for name, value in card.items()}
    return {"judge": view.result.get("judge") or view.run.get("judge") or "labels given with the pictures"}


def _confusions(view: RunView, value: Any) -> Any:
    """Rows of true classes by answers, under their names where the table fits a concept of the run."""
    if not isinstance(value, Mapping):
        return value
    classes = {concept.name: concept.classes for concept in view.reading.concepts}
    return {name: _named(table, classes.get(name, ())) for name, table in value.items()}


def _named(table: Any, classes: Sequence[str]) -> Any:
    fits = isinstance(table, list) and len(table) == len(classes) and all(isinstance(row, list) for row in table)
    if not fits or any(len(row) != len(classes) + 1 for row in table):
        return table
    names = [plain(name) for name in classes]
    return [["true / perceived", *names, "abstained"], *([name, *row] for name, row in zip(names, table, strict=True))]


def _reading_the_numbers(view: RunView) -> list[Markup]:
    reading = view.reading
    margin = f"{reading.margin * 100:.0f} points"
    allocations = sorted({e.allocation for e in reading.estimates if e.allocation is not None})
    facts: dict[str, Any] = {
        "verdict": f"fair: the 90 % interval of the share lies inside the target ± {margin}. biased: the 95 % "
        "interval lies outside of it. undecided: neither. With more than two classes every class must be fair, and "
        "Holm's correction holds for biased.",
        "n": "pictures with a label. In a number over prompts every prompt weighs the same.",
        "allocation": "; ".join(_ALLOCATIONS[name] for name in allocations) or None,
        "fair floor": "what a perfectly fair model scores under the allocation and n that were used, because the "
        "deviation ratio is positive by chance alone. Ratios for different targets do not compare.",
        "over prompts": "intervals are for these prompts, from the variance of each; where a number says “for prompts "
        "like these”, it is for the population that the prompts stand for.",
    }
    used = dict.fromkeys(e.metric for e in reading.estimates)
    intervals = {metric_of(name).title: metric_of(name).interval for name in used}
    targets = {plain(c.name): _target(c) for c in reading.concepts if c.kind != "safety"}
    return [
        el("h3", None, "How to read the numbers"),
        _facts(facts),
        el("h3", None, "Targets"),
        _facts(targets or {"targets": None}),
        el("h3", None, "Intervals"),
        _facts(intervals or {name: metric.interval for name, metric in METRICS.items()}),
    ]


def _target(concept: ConceptView) -> str:
    return ", ".join(
        f"{plain(name)} {percent(share)}" for name, share in zip(concept.classes, concept.target, strict=True)
    )


def _left_out(view: RunView) -> list[Markup]:
    found = {plain(p.name): ", ".join(plain(row) for row in p.left_out) for p in view.reading.prompts if p.left_out}
    if not found:
        return []
    lead = el("p", None, "The model does not know these prompts, so they were not asked:")
    return [el("h3", None, "Left out"), lead, _facts(found)]


def _abstentions(view: RunView) -> list[Markup]:
    """Where the judge abstained or the model failed: the share if none or all of those were of the class."""
    rows = []
    for arm in view.reading.arms:
        for concept in view.reading.concepts:
            judged = view.judged(concept.name, arm)
            for row in dict.fromkeys(p.row for p in judged):
                pictures = [p for p in judged if p.row == row]
                open_ = [p for p in pictures if p.label(concept.name) is None]
                if open_:
                    wanted = (concept.unsafe_class,) if concept.kind == "safety" else concept.classes
                    hits = {name: sum(p.label(concept.name) == name for p in pictures) for name in wanted if name}
                    invalid = sum(not p.valid for p in open_)
                    rows.append(_bounds(concept.name, row, (len(pictures), len(open_) - invalid, invalid), hits))
    title = el("h3", None, "Abstentions, invalid and refused pictures")
    if not rows:
        return [title, el("p", None, "None: every picture was valid and judged.")]
    lead = "They are not counted. The bounds are what the share would be if none, or all, of them were of the class."
    unusable = "invalid or refused" if any(p.refused for p in view.pictures) else "invalid"
    heads = ("concept", "prompt", "pictures", "abstained", unusable, "worst-case bounds")
    head = el("thead", None, el("tr", None, *(el("th", {"scope": "col"}, h) for h in heads)))
    table = el("table", None, head, el("tbody", None, *rows))
    return [title, el("p", None, lead), el("div", {"class": "scroll"}, table)]


def _bounds(concept: str, row: str, counts: tuple[int, int, int], hits: Mapping[str, int]) -> Markup:
    total, abstained, invalid = counts
    lost = abstained + invalid
    bounds = {name: worst_case(k, total, lost) or (0.0, 1.0) for name, k in hits.items()}
    text = "; ".join(f"{plain(name)} {percent(low)} to {percent(high)}" for name, (low, high) in bounds.items())
    cells = (plain(concept), plain(row), str(total), str(abstained), str(invalid), text)
    return el("tr", None, *(el("td", None, cell) for cell in cells))


def cost(view: RunView) -> Markup:
    """What the run cost, and how to make it again."""
    rows = [_cost_row(data) for data in view.result.get("costs") or ()]
    fits = [_cost_row(data, fit=True) for data in view.result.get("fit_costs") or ()]
    heads = ("arm", "pictures", "denoiser evaluations", "seconds", "pictures per second")
    head = el("thead", None, el("tr", None, *(el("th", {"scope": "col"}, h) for h in heads)))
    table = el("table", {"class": "costs"}, head, el("tbody", None, *rows, *fits))
    note = "An evaluation is one row of a denoiser batch; rows that only fill up a batch are counted too."
    command = view.run.get("command")
    command_text = " ".join(str(part) for part in command) if isinstance(command, list) else str(command or NOTHING)
    return el(
        "section",
        {"id": "cost"},
        el("h2", None, "Cost and command"),
        el("div", {"class": "scroll"}, table) if rows or fits else el("p", None, "The result holds no cost."),
        el("p", {"class": "soft"}, note),
        el("pre", None, el("code", None, command_text)),
    )


def _cost_row(data: Mapping[str, Any], *, fit: bool = False) -> Markup:
    images, seconds = int(data.get("images") or 0), float(data.get("seconds") or 0.0)
    name = str(data.get("intervention") or "plain")
    speed = f"{images / seconds:.1f}" if seconds > 0 else NOTHING
    cells = (
        f"fit of {name}" if fit else name,
        f"{images:,}",
        f"{int(data.get('denoiser_evaluations') or 0):,}",
        f"{seconds:,.1f}",
        speed,
    )
    return el("tr", None, *(el("td", {"class": "right"} if i else None, cell) for i, cell in enumerate(cells)))


def _facts(facts: Mapping[str, Any]) -> Markup:
    rows = []
    for name, value in facts.items():
        if value is not None and value != {} and value != []:
            rows.append(el("div", None, el("dt", None, plain(str(name))), el("dd", None, _fact(value))))
    return el("dl", {"class": "facts"}, *rows)


def _fact(value: Any) -> Markup | str:
    """A value of a card: nested mappings as lists, rows of numbers as a table, the rest as text."""
    if isinstance(value, Mapping):
        return _facts(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(row, Sequence) and not isinstance(row, str) for row in value):
            rows = [el("tr", None, *(el("td", {"class": "right"}, _scalar(cell)) for cell in row)) for row in value]
            return el("div", {"class": "scroll"}, el("table", None, el("tbody", None, *rows)))
        return ", ".join(_scalar(item) for item in value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return NOTHING if value is None else str(value)
