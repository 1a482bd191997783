"""From a request to orders: what is allowed, which seed each image starts from, and which class it shows."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from ..concepts.allocation import allocate
from ..concepts.concept import Concept
from ..concepts.prompt_filter import reason_to_leave
from ..concepts.subject import subject_of
from ..errors import InputError
from ..methods.prompt_mix import words_of
from ..records import Settings
from .keys import Caller
from .order import Application, Order
from .policy import PROMPT_MIX, FairnessRule, Policy
from .prompt_words import PromptFilter
from .quotas import Draw, Quotas
from .refusals import Refusal, blocked, unusable
from .wire import LARGEST_SEED, ImageRequest

_DRAWN_SEEDS = 2**53 - 2**10
"""Seeds that are drawn here are exact in every reader of JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A request that will be carried out.

    Args:
        orders: one per image.
        settings: shared by them.
        draws: for each image what was drawn from urns.
    """

    orders: tuple[Order, ...]
    settings: Settings
    draws: tuple[tuple[Draw, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Abilities:
    """What stands behind the server.

    Args:
        settings: defaults.
        size: (width, height) of images for which none is asked; None where it is not known.
        checks: raises InputError for an intervention that does not take a strength.
        own_fields: whether seed, steps, guidance, negative prompt and interventions can be asked for.
    """

    settings: Settings
    size: tuple[int, int] | None
    checks: Callable[[Application], None]
    own_fields: bool = True


class Planner:
    """Plans requests under a policy.

    Args:
        policy: the policy.
        quotas: the ledger of urns.
        abilities: of what makes the images.
    """

    def __init__(self, policy: Policy, quotas: Quotas, abilities: Abilities) -> None:
        self._policy, self._quotas, self._abilities = policy, quotas, abilities
        self._filter = PromptFilter(policy.prompt_filter)
        self._rules = tuple((rule, rule.resolved()) for rule in policy.fairness)

    def plan(self, asked: ImageRequest, caller: Caller) -> Plan:
        """What is to be made.

        Raises: Refusal for what is not allowed or cannot be used; nothing has been drawn then.
        """
        self._check(asked)
        categories = self._filter.categories(asked.prompt)
        if categories:
            raise blocked(f"the prompt was refused by the policy {self._policy.name}", *categories)
        settings, stack = self._settings(asked), self._stack(asked)
        count = asked.n or 1
        first = secrets.randbelow(_DRAWN_SEEDS) if asked.seed is None else asked.seed
        classes, draws = self._classes(asked, caller, count, first)
        orders = []
        for index in range(count):
            shown = dict(zip([concept.name for _, concept in self._rules], classes[index], strict=True))
            given = {name: one for name, one in shown.items() if one is not None}
            orders.append(
                Order(
                    row=asked.prompt,
                    prompt=self._worded(asked.prompt, given),
                    index=index,
                    seed=first + index,
                    negative_prompt=asked.negative_prompt or None,
                    assigned="*".join(given.values()) or None,
                    classes=given,
                    stack=(*self._showing(given), *stack),
                )
            )
        return Plan(orders=tuple(orders), settings=settings, draws=tuple(draws))

    def _check(self, asked: ImageRequest) -> None:
        limits = self._policy.limits
        if not asked.prompt.strip():
            raise unusable("prompt", "prompt: it is empty; say what the image should show")
        most: Sequence[tuple[str, Any, float]] = (
            ("n", asked.n, limits.images),
            ("steps", asked.steps, limits.steps),
            ("guidance", asked.guidance, limits.guidance),
        )
        for name, value, limit in most:
            if value is not None and value > limit:
                raise unusable(name, f"{name}: {value:g} is asked for, {limit:g} is the most here")
        for name, text in (("prompt", asked.prompt), ("negative_prompt", asked.negative_prompt or "")):
            if len(text) > limits.prompt_characters:
                raise unusable(name, f"{name}: it has {len(text)} characters, {limits.prompt_characters} is the most")
        if asked.response_format == "url":
            raise unusable("response_format", "response_format: images come as b64_json; this server hosts no files")
        if asked.output_format not in (None, "png"):
            raise unusable("output_format", f"output_format: {asked.output_format} is asked for, images are png")
        if asked.seed is not None and asked.seed > LARGEST_SEED - (asked.n or 1):
            raise unusable("seed", "seed: image i starts from seed + i, which would pass 2^63")
        own = {
            "seed": asked.seed,
            "steps": asked.steps,
            "guidance": asked.guidance,
            "negative_prompt": asked.negative_prompt,
            "interventions": asked.interventions or None,
        }
        given = [name for name, value in own.items() if value is not None]
        if given and not self._abilities.own_fields:
            raise unusable(given[0], f"{given[0]}: the server behind this one does not take it; leave it out")

    def _settings(self, asked: ImageRequest) -> Settings:
        default = self._abilities.settings
        width, height = self._size(asked.size)
        return dataclasses.replace(
            default,
            steps=default.steps if asked.steps is None else asked.steps,
            guidance=default.guidance if asked.guidance is None else asked.guidance,
            width=width,
            height=height,
        )

    def _size(self, size: str | None) -> tuple[int | None, int | None]:
        default, own = self._abilities.settings, self._abilities.size
        if size in (None, "auto") or (own is not None and size == f"{own[0]}x{own[1]}"):
            return default.width, default.height
        if size not in self._policy.limits.sizes:
            known = [*([f"{own[0]}x{own[1]}"] if own else []), *self._policy.limits.sizes]
            raise unusable("size", f"size: {size} is asked for, expected auto{''.join(f', {one}' for one in known)}")
        width, _, height = str(size).partition("x")
        return int(width), int(height)

    def _stack(self, asked: ImageRequest) -> tuple[Application, ...]:
        found: dict[str, Application] = {}
        for one in asked.interventions:
            offer = self._policy.interventions.get(one.name)
            if offer is None:
                known = ", ".join(self._policy.interventions) or "none"
                raise unusable("interventions", f"interventions: {one.name!r} is not offered; there is {known}")
            if one.name in found:
                raise unusable("interventions", f"interventions: {one.name} stands twice; keep one")
            if one.strength > offer.max_strength:
                raise unusable(
                    "interventions", f"interventions: {one.name} takes a strength of up to {offer.max_strength:g}"
                )
            found[one.name] = Application(name=f"+{one.name}", strength=one.strength)
        stack = tuple(one for one in found.values() if one.strength)
        for one in stack:
            try:
                self._abilities.checks(one)
            except InputError as error:
                raise unusable("interventions", f"interventions: {error}") from None
        return stack

    def _classes(
        self, asked: ImageRequest, caller: Caller, count: int, first: int
    ) -> tuple[list[list[str | None]], list[tuple[Draw, ...]]]:
        """For each image a class per rule, None where the prompt is left alone, and what was drawn for it."""
        classes: list[list[str | None]] = [[] for _ in range(count)]
        draws: list[list[Draw]] = [[] for _ in range(count)]
        for rule, concept in self._rules:
            if reason_to_leave(asked.prompt, concept) is not None:
                own: list[str | None] = [None] * count
            elif asked.seed is not None:
                own = [_class_of(concept, first + index, asked.prompt) for index in range(count)]
            else:
                drawn = self._draw(rule, concept, asked.prompt, caller, count)
                own = [one.class_name for one in drawn]
                for index, one in enumerate(drawn):
                    draws[index].append(one)
            for index in range(count):
                classes[index].append(own[index])
        return classes, [tuple(some) for some in draws]

    def _draw(self, rule: FairnessRule, concept: Concept, prompt: str, caller: Caller, count: int) -> Sequence[Draw]:
        return self._quotas.draw(
            tenant=caller.name,
            concept=concept.name,
            subject=subject_of(prompt),
            target=dict(zip(concept.class_names, concept.reference, strict=True)),
            count=count,
            expires=rule.expires_hours * 3600,
        )

    def _worded(self, prompt: str, given: dict[str, str]) -> str:
        words = [
            words_of(concept, given[concept.name], rule.words)
            for rule, concept in self._rules
            if rule.method == PROMPT_MIX and concept.name in given
        ]
        return ", ".join([prompt, *words])

    def _showing(self, given: dict[str, str]) -> list[Application]:
        return [
            Application(name=f"{concept.name}={given[concept.name]}")
            for rule, concept in self._rules
            if rule.method != PROMPT_MIX and concept.name in given
        ]


def _class_of(concept: Concept, seed: int, prompt: str) -> str:
    """The class of an image whose seed was given: a function of seed and prompt, so that it can be made again."""
    target = dict(zip(concept.class_names, concept.reference, strict=True))
    return allocate(target, seed, f"{concept.name}\n{prompt}", 0, "iid")


def too_many(wait: float) -> Refusal:
    """A caller that asks more often than it may."""
    return Refusal(429, "rate_limit_exceeded", "too many requests for this key; ask again later", retry_after=wait)
