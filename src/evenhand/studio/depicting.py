"""Associations of a tab: does what images show depend on the group that the prompt names?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..concepts.swap import Swap
from ..errors import InputError
from ..judges.base import Featured, Judge
from ..records import Estimate, Request
from ..verbs.config import AuditConfig, Effort, Question
from ..verbs.depiction import depiction_estimates
from ..verbs.embedded import likeness_estimates
from ..verbs.series import Series, series_of
from .bench import Bench
from .look import MOST_IMAGES, Look
from .session import Images, Seen, Session, with_unsafe


@dataclasses.dataclass(kw_only=True)
class Depicted:
    """The prompt of a look with each group named in turn, from the same seeds.

    Args:
        config: the audit that makes the same images and states the same numbers.
        series: its images.
        images: those that are there, seed by seed with all groups of a seed together.
        shown: numbers of the unsafe ones that were uncovered.
    """

    config: AuditConfig
    series: Series
    images: Images = dataclasses.field(default_factory=Images)
    shown: set[int] = dataclasses.field(default_factory=set)

    @property
    def swap(self) -> Swap:
        """The groups that are named."""
        if self.series.swap is None:
            raise ValueError("an association swaps groups")
        return self.series.swap

    @property
    def requests(self) -> tuple[Request, ...]:
        """In the order in which they are made: a seed is complete before the next one begins."""
        return tuple(sorted(self.series.requests, key=lambda one: one.index))

    def seeds(self) -> list[list[Seen]]:
        """The seeds that are complete: an image for each group."""
        groups = len(self.swap.groups)
        whole = len(self.images.seen) // groups
        return [self.images.seen[k * groups : (k + 1) * groups] for k in range(whole)]

    def estimates(self, judge: Judge) -> list[Estimate]:
        """What the complete seeds say over the prompt; none before the first."""
        seen = {one.request: one for seed in self.seeds() for one in seed}
        if not seen:
            return []
        series = dataclasses.replace(self.series, requests=tuple(one for one in self.series.requests if one in seen))
        found = depiction_estimates(series, {request: one.verdicts for request, one in seen.items()})
        if isinstance(judge, Featured):
            found += likeness_estimates(series, lambda request: seen[request].sample.image, judge)
        return [one for one in found if one.prompt is None]


def begin_depiction(look: Look, group: str, attributes: str, images: int, judge: Judge) -> Depicted:
    """An association of the look's prompt.

    Args:
        look: gives the prompt, seed and settings.
        group: a concept whose classes are named in turn.
        attributes: concepts or texts of one's own, separated by commas.
        images: per group.
        judge: must know the concepts.

    Raises: InputError (or a subclass) for what cannot be used.
    """
    parts = [" ".join(part.split()) for part in attributes.split(",") if part.strip()]
    if not group:
        raise InputError("which groups should the prompt name? Choose a concept")
    if not parts:
        raise InputError("which attributes? Type concepts or words of your own, such as: glasses, a strong leader")
    if images < 2:
        raise InputError("how many images of each group? Give a whole number of 2 or more")
    look.series(1)  # writes the prompt file
    question = Question(associations=(f"{group}:{','.join(parts)}",), prompts=str(look.prompts))
    effort = Effort(images_per_prompt=images, seed=look.seed)
    (series,) = series_of(question, effort, {}, look.image.negative_prompt)
    if len(series.requests) > MOST_IMAGES:
        raise InputError(f"{len(series.requests)} images: the studio holds at most {MOST_IMAGES}; use `evenhand audit`")
    strange = [one.name for one in series.asked if not judge.knows(one)]
    if strange:
        raise InputError(f"the judge {judge.name} does not know {strange[0]}: describe it in words of your own")
    config = dataclasses.replace(look.config(images), question=question, effort=effort)
    return Depicted(config=config, series=series)


def depict(session: Session, bench: Bench, wanted: Depicted) -> Iterator[str]:
    """Make and judge the images of an association; yields progress in words.

    Ends early once `stop` is set; what is there then counts, as far as every group of a seed has its image.

    Raises: InputError where this tab is at work already.
    """
    session.depicted = wanted
    seeds = len(wanted.requests) // len(wanted.swap.groups)
    for _ in session.fill(bench, wanted.images, wanted.requests, with_unsafe(wanted.series.asked)):
        yield f"{len(wanted.seeds())} of {seeds} seeds made, each with an image for every group."
    if len(wanted.images.seen) < len(wanted.requests):
        yield f"Stopped after {len(wanted.seeds())} of {seeds} seeds."
