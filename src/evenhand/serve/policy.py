"""A serving policy: what must not appear, which shares are wanted, what is refused, and how much one may ask for.

It is a TOML file. Its JSON schema is that of `Policy`; `evenhand serve --policy-schema` prints it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from ..concepts.concept import Concept
from ..concepts.library import load_concept
from ..concepts.reading import parse_toml, read_text
from ..concepts.shares import checked_shares
from ..concepts.wordings import named_by
from ..errors import InputError
from ..records import content_hash

SCHEMA = "evenhand.serving-policy/1"
PROMPT_MIX = "prompt-mix"
"""The method of fairness that names the class in the prompt, and so discloses it as `revised_prompt`."""
Preset = Literal["weak", "weak-diffusers", "medium", "strong", "max", "balanced"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,47}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class SafetyRule(_Part):
    """One thing that must not appear; safe guidance leads away from it while the image forms."""

    name: Name
    text: str | None = Field(None, max_length=500, description="what must not appear; else the model's own words")
    concept: str = Field("unsafe", description="the concept whose words are used where no text is given")
    preset: Preset = "strong"
    strength: float = Field(1.0, gt=0, le=10, description="factor on what the preset does")


class FairnessRule(_Part):
    """Shares of a concept that hold across requests, for each subject and tenant."""

    concept: str = Field(description="a concept's name, a .toml file, or a joint such as gender*skin")
    target: dict[str, Share] | None = Field(None, description="share per class; else the concept's own, or uniform")
    method: str = Field("concept-vector", description="a method that takes class=, or prompt-mix")
    words: str | None = Field(None, description='of prompt-mix: how a class is named, such as "{}-skinned"')
    expires_hours: float = Field(24.0, gt=0, description="a quota that nobody drew from for so long begins anew")

    def resolved(self) -> Concept:
        """The concept with this rule's target.

        Raises: InputError for an unknown concept or class, shares that do not sum to 1, and words without one {}.
        """
        concept = load_concept(self.concept)
        if self.words is not None:
            named_by(self.words, concept.class_names[0])
        if self.target is None:
            return concept
        if set(self.target) != set(concept.class_names):
            raise InputError(
                f"fairness of {concept.name}: the target names {', '.join(self.target)}, expected "
                f"{', '.join(concept.class_names)}"
            )
        shares = [self.target[name] for name in concept.class_names]
        return concept.with_target(checked_shares(shares, f"fairness of {concept.name}"))


class FilterRule(_Part):
    """Words by which a prompt is refused."""

    category: Name
    terms: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(min_length=1)


class Gate(_Part):
    """A judge looks at every image before it is handed out."""

    concept: str = "unsafe"
    judge: str | None = Field(None, description="else the model's fit judge, so that reports stay independent")
    threshold: float = Field(0.5, gt=0, le=1, description="the probability of unsafe from which on the action is taken")
    action: Literal["flag", "resample", "refuse"] = "resample"
    tries: int = Field(3, ge=1, le=20, description="of resample: images that are made before the request is refused")


class Offer(_Part):
    """An intervention that a request may ask for by name."""

    spec: str = Field(alias="with", description="as after --with on the command line")
    max_strength: float = Field(1.0, gt=0, le=10)


class Limits(_Part):
    """How much one request, and one tenant, may ask for."""

    images: int = Field(10, ge=1, le=64, description="images of one request")
    steps: int = Field(100, ge=1, le=1000)
    guidance: float = Field(30.0, ge=0, le=1000)
    prompt_characters: int = Field(4000, ge=1, le=32000)
    sizes: tuple[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")], ...] = Field(
        (), description="sizes that may be asked for, beside the model's own"
    )
    queue: int = Field(64, ge=1, le=100_000, description="images that wait; beyond it 429")
    deadline_seconds: float = Field(300.0, gt=0, le=86_400)
    requests_per_minute: float | None = Field(None, gt=0, description="of one key, unless the key has its own")


class ShareBound(_Part):
    """Within what the share of a class may move among images that were assigned none."""

    concept: str
    class_name: str = Field(alias="class")
    at_least: Share | None = None
    at_most: Share | None = None


class Watch(_Part):
    """What is measured on the images that are handed out, and from where on an alarm is wanted."""

    judge: str | None = Field(None, description="else the model's report judge")
    concepts: tuple[str, ...] = Field((), description="measured beside those of fairness and gate")
    success_at_least: float = Field(0.8, gt=0, lt=1, description="P(judged a | assigned a), for every class")
    unsafe_at_most: float = Field(0.05, gt=0, lt=1)
    shares: tuple[ShareBound, ...] = ()


class Log(_Part):
    """A line per image in a database; prompts only where asked for."""

    days: float = Field(30.0, ge=0, description="0 keeps no log")
    prompts: bool = False


class Policy(_Part):
    """What a server holds to."""

    schema_id: Literal["evenhand.serving-policy/1"] = Field(SCHEMA, alias="schema")
    name: Name
    version: int = Field(ge=1)
    safety: tuple[SafetyRule, ...] = ()
    fairness: tuple[FairnessRule, ...] = ()
    prompt_filter: tuple[FilterRule, ...] = ()
    gate: Gate | None = None
    interventions: dict[Name, Offer] = {}
    limits: Limits = Limits()  # type: ignore[call-arg]
    watch: Watch = Watch()  # type: ignore[call-arg]
    log: Log = Log()  # type: ignore[call-arg]

    @property
    def hash(self) -> str:
        """Content hash, 64 hex digits."""
        return content_hash(self.model_dump(mode="json", by_alias=True))

    @property
    def label(self) -> str:
        """Name, version and the beginning of the hash: "house/3#1f2e3d4c"."""
        return f"{self.name}/{self.version}#{self.hash[:8]}"


PLAIN = Policy.model_validate({"name": "none", "version": 1})
"""Without a policy: plain generation."""


def load_policy(path: Path) -> Policy:
    """Read a policy.

    Raises: InputError that names the place in the file.
    """
    data = parse_toml(read_text(path), path)
    try:
        policy = Policy.model_validate(data)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        more = error.error_count() - 1
        rest = f" (and {more} more)" if more else ""
        raise InputError(f"{path}: {place}: {first['msg']}{rest}; `evenhand serve --policy-schema` says more") from None
    _check(policy, path)
    return policy


def policy_schema() -> dict[str, Any]:
    """The JSON schema of a policy."""
    return Policy.model_json_schema(by_alias=True)


def _check(policy: Policy, path: Path) -> None:
    """What one field cannot tell. Raises InputError."""
    try:
        concepts = [rule.resolved() for rule in policy.fairness]
        for concept in concepts:
            if concept.kind != "attribute":
                raise InputError(f"fairness of {concept.name}: a safety concept has no shares; put it under [[safety]]")
        factors = [factor for concept in concepts for factor in concept.factors]
        twice = sorted({one for one in factors if factors.count(one) > 1})
        if twice:
            raise InputError(f"fairness: {twice[0]} stands in two rules; make them one, or a joint")
        if policy.gate is not None and load_concept(policy.gate.concept).kind != "safety":
            raise InputError(f"gate: {policy.gate.concept} is no safety concept; expected one such as unsafe")
        for bound in policy.watch.shares:
            names = load_concept(bound.concept).class_names
            if bound.class_name not in names:
                raise InputError(f"watch.shares: {bound.concept} has no class {bound.class_name!r}")
        names = [rule.name for rule in policy.safety]
        if len(set(names)) < len(names):
            raise InputError("safety: two rules have the same name")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
