"""A calibrated suggestion: a small trial of what is ready for a concept, and the one that printed rules choose.

The trial has seeds of its own, which the page never shows, and the fit judge where the model has one: what is chosen by
one look is then measured by another. It tries what costs nothing and what was fitted before, at full and half strength.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ..concepts.allocation import image_seed
from ..concepts.concept import Concept
from ..errors import DeclinedError, InputError
from ..judges.base import Featured, Judge
from ..judges.load import load_judge
from ..methods.spec import parse_spec
from ..methods.table import method_of
from ..metrics.changes import attribute_changes, safety_changes
from ..metrics.content import Row
from ..records import Cost, Estimate, Request
from ..verbs.arm import PLAIN, plan_arm
from ..verbs.defaults import read_card
from ..verbs.fits import rows_of
from ..verbs.quality import quality_estimates
from ..verbs.recommend import recommend
from ..watch import Silent
from .bench import Bench
from .fixing import at_strength, suggestions
from .session import Images, Session

ROLE = "calibrate"
"""Seeds of this role are never those of a figure."""
STRENGTHS = (1.0, 0.5)
"""Of what takes one: as it was calibrated, and half of it."""
FEWEST, MOST = 8, 200
"""Images of a trial."""
_OTHER_PROMPTS = 8
"""Prompts of other rows at most, with which the text-image score is compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a trial found.

    Args:
        concept: what it is about.
        spec: what the rules choose; None where nothing works.
        text: the sentence that says so.
        estimates: of every arm that was tried.
        costs: of every arm, the plain model first.
        declined: SPEC -> why it could not be tried.
        images: of each arm.
        judge: who judged.
    """

    concept: Concept
    spec: str | None
    text: str
    estimates: tuple[Estimate, ...]
    costs: tuple[Cost, ...]
    declined: dict[str, str]
    images: int
    judge: str


def candidates(bench: Bench, concept: Concept, concepts: Sequence[Concept]) -> list[str]:
    """SPECs that can be tried at once: what needs no fit, and what was fitted before.

    For an attribute, methods that give every image a class; for a safety concept, those that lead away from a thing.

    Args:
        bench: the model.
        concept: what is to change.
        concepts: all that are looked at, with their targets.
    """
    card, found = read_card(bench.source), []
    for text in suggestions(bench.source, [concept]):
        spec = parse_spec(text)
        method, values = method_of(spec)
        about = [one.name for one in method.parameters]
        setting = plan_arm([text], card, concepts, 0).setting
        wanted = "allocation" in about if concept.kind == "attribute" else method.site != "prompt"
        named = spec.parameters.get("concept") == concept.name
        if not wanted or not named or setting is None:
            continue
        if all(bench.stored(plan) for plan in method.plans(setting, values)):
            # a class is named in a prompt or it is not: half of that leaves half of the images as they were
            strengths = STRENGTHS[:1] if method.site == "prompt" else STRENGTHS
            found += [at_strength(text, one) for one in strengths]
    return found


def try_out(session: Session, bench: Bench, name: str, images: int) -> Iterator[str]:
    """Make the trial and keep what it found in the session; yields progress in words.

    Ends early once `stop` is set, without a suggestion.

    Args:
        session: with a look; its prompt is tried, with its targets.
        bench: the model.
        name: of the concept.
        images: of each arm.

    Raises: InputError where nothing can be tried, or this tab is at work already.
    Cost: `images` for the plain model and for each candidate.
    """
    concept = next((one for one in session.concepts if one.name == name), None)
    if session.look is None or concept is None:
        raise InputError("choose a concept that is looked at on the page Look, and make some images of it first")
    if not FEWEST <= images <= MOST:
        raise InputError(f"{images} images for each trial: expected {FEWEST} to {MOST}")
    specs = candidates(bench, concept, session.concepts)
    if not specs:
        raise InputError(
            f"nothing is ready for {concept.name}: no method without a fit takes it, and none was fitted on this "
            "model; add one from the list, which is fitted when it is first used"
        )
    session.suggestion = None
    judge = bench.do(lambda: _judge(bench, concept))
    prompt, seed = session.look.prompt, session.look.seed
    requests = [
        Request(
            row=prompt,
            prompt=prompt,
            index=index,
            seed=image_seed(seed, ROLE, prompt, index),
            negative_prompt=session.look.image.negative_prompt,
        )
        for index in range(images)
    ]
    made: dict[str | None, Images] = {}
    declined: dict[str, str] = {}
    for number, spec in enumerate([None, *specs]):
        try:
            arm = PLAIN if spec is None else bench.build([spec], session.concepts, seed, Silent())
        except (DeclinedError, InputError) as error:
            declined[str(spec)] = " ".join(str(error).split())
            continue
        made[spec] = Images(arm=arm)
        what = "the model as it is" if spec is None else spec
        for done in session.fill(bench, made[spec], requests, [concept], judge):
            yield f"Trying {what} ({number} of {len(specs)}): {done} of {images} images."
        if len(made[spec].seen) < images:
            yield "Stopped: a trial that is not finished suggests nothing."
            return
    session.suggestion = bench.do(lambda: _chosen(concept, made, declined, bench, judge))
    yield session.suggestion.text


def _judge(bench: Bench, concept: Concept) -> Judge:
    """The model's fit judge where it has one that knows the concept, else that of the page."""
    name = read_card(bench.source).fit_judge
    if name is None:
        return bench.judge
    judge = load_judge(name, bench.model.host.device)
    return judge if judge.knows(concept) else bench.judge


def _chosen(
    concept: Concept, made: dict[str | None, Images], declined: dict[str, str], bench: Bench, judge: Judge
) -> Suggestion:
    plain = made[None]
    row = plain.seen[0].request.row
    of = safety_changes if concept.kind == "safety" else attribute_changes
    before, rows = plain.labels(0), _rows(made, concept, bench)
    estimates: list[Estimate] = []
    for spec, some in made.items():
        if spec is None:
            continue
        estimates += of(concept, {row: before}, {row: some.labels(0)}, intervention=spec)
        if rows:
            estimates += quality_estimates({row: rows[None]}, {row: rows[spec]}, concept=row, intervention=spec)
    costs = [
        Cost(
            intervention=spec,
            images=len(some.seen),
            denoiser_evaluations=some.evaluations,
            seconds=round(some.seconds, 3),
        )
        for spec, some in made.items()
    ]
    (found,) = recommend([concept], estimates, costs)
    return Suggestion(
        concept=concept,
        spec=found["arm"],
        text=str(found["text"]),
        estimates=tuple(estimates),
        costs=tuple(costs),
        declined=declined,
        images=len(before),
        judge=judge.name,
    )


def _rows(made: dict[str | None, Images], concept: Concept, bench: Bench) -> dict[str | None, Row]:
    """The images of each arm in the space of the page's judge; empty where it has none, or an image is missing."""
    judge = bench.judge
    if not isinstance(judge, Featured) or any(one.sample.image is None for some in made.values() for one in some.seen):
        return {}
    prompt = made[None].seen[0].request.prompt
    known = [row.prompt(0) for row in rows_of(concept, read_card(bench.source).knows)]
    others = [text for text in known if text != prompt][:_OTHER_PROMPTS]
    texts = judge.text_features([prompt, *others]).numpy()
    found: dict[str | None, Row] = {}
    for spec, some in made.items():
        images = [one.sample.image for one in some.seen]
        stacked = np.stack([one.numpy() for one in judge.image_features(images) if one is not None])
        likeness = stacked @ texts.T
        found[spec] = Row(
            features=stacked,
            pixels=np.stack([one for one in images if one is not None]).astype(np.float32),
            own=likeness[:, 0],
            other=likeness[:, 1:].mean(axis=1) if others else likeness[:, 0],
            labels=some.labels(0),
        )
    return found
