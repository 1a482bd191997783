"""A policy on a model: every intervention that it names, built and checked before the first request."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..concepts.concept import JOINT, Concept
from ..errors import DeclinedError, InputError
from ..host.host import Host
from ..host.sampler import sample
from ..host.sites import Attachable, Call, Site
from ..interventions.for_rows import RESTRICTED, ForRows
from ..interventions.policy import Category, SafetyPolicy
from ..methods.concept_vector import vector_interventions
from ..methods.fitting import Fitted
from ..methods.method import Setting
from ..methods.safe_guidance import BALANCED, balanced, preset, safe_guidance
from ..methods.spec import parse_spec
from ..methods.table import all_methods, assigned, interventions, method_of, recalled
from ..verbs.fits import Fits, load_saved
from ..watch import Watcher
from .order import Application, Order
from .policy import PROMPT_MIX, Policy, SafetyRule

_PUBLISHED_STEPS = 50
VECTORS = "concept-vector"
_ANYBODY = "a photo of a person"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kit:
    """What can be attached.

    Args:
        always: meant for every image, in order.
        named: name -> interventions that are meant for the images whose stack names them; they are attached in this
            order, whatever the order in a request.
        remarks: what somebody who starts the server should read.
    """

    always: tuple[Attachable, ...] = ()
    named: Mapping[str, tuple[Attachable, ...]] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def attachables(self, orders: Sequence[Order]) -> tuple[Attachable, ...]:
        """What is attached for one batch: every image gets its own stack, and nothing of its neighbours'."""
        places = {name: place for place, name in enumerate(self.named)}
        wanted = {application for order in orders for application in order.stack}
        ordered = sorted(wanted, key=lambda one: (places[one.name], one.strength))
        found: list[Attachable] = list(self.always)
        for application in ordered:
            found += [ForRows(one=one, rows=_meant(application)) for one in self._scaled(application)]
        return tuple(found)

    def check_strength(self, application: Application) -> None:
        """Raises InputError for a strength that an intervention does not take."""
        self._scaled(application)

    def _scaled(self, application: Application) -> list[Attachable]:
        own = self.named[application.name]
        return [one if application.strength == 1 else _at(one, application.strength) for one in own]


def _at(one: Attachable, strength: float) -> Attachable:
    scaled = getattr(one, "scaled", None)
    if scaled is None:
        raise InputError(f"{one.name} has one strength only")
    return scaled(one.strength * strength)


def _meant(application: Application) -> Callable[[Call], list[bool]]:
    def rows(call: Call) -> list[bool]:
        orders = call.requests or ()
        return [isinstance(one, Order) and application in one.stack for one in orders] or [False] * call.images

    return rows


def build_kit(policy: Policy, specs: Sequence[str], host: Host, watcher: Watcher, fit_judge: str | None = None) -> Kit:
    """Build and check everything that a policy and `--with` name; what was never fitted is fitted now.

    Args:
        policy: the policy.
        specs: of repeated `--with`, meant for every image.
        host: the model.
        watcher: told of progress.
        fit_judge: for fits; None takes the model's own.

    Raises:
        InputError: it cannot hold on this model; the line says why.
    """
    builder = _Builder(host, Fits(host, fit_judge, watcher), Setting(guidance_text=host.model_card.guidance_text))
    always = [one for spec in specs for one in builder.plain(spec)]
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        if policy.safety:
            always.append(builder.safety(policy))
        named: dict[str, tuple[Attachable, ...]] = {}
        always += builder.vectors([rule.concept for rule in policy.fairness if rule.method == VECTORS])
        for rule in policy.fairness:
            concept = rule.resolved()
            if rule.method == VECTORS:
                named |= {f"{concept.name}={name}": () for name in concept.class_names}
            elif rule.method != PROMPT_MIX:
                for name, one in builder.shown(rule.method, rule.concept, concept).items():
                    named[f"{concept.name}={name}"] = one
        for name, offer in policy.interventions.items():
            named[f"+{name}"] = builder.plain(offer.spec, f"interventions.{name}")
        kit = Kit(always=tuple(always), named=named)
        rehearse(kit, host)
    said = tuple(dict.fromkeys(str(one.message) for one in remarks if issubclass(one.category, UserWarning)))
    return dataclasses.replace(kit, remarks=said)


def rehearse(kit: Kit, host: Host) -> None:
    """Make one image with everything attached, so that what cannot work fails now and not in front of a client.

    Raises: InputError that says why.
    """
    settings = host.default_settings()
    stack = tuple(Application(name=name) for name in kit.named)
    shown = dict(name.split("=", 1) for name in kit.named if not name.startswith("+"))
    order = Order(row=_ANYBODY, prompt=_ANYBODY, index=0, seed=0, classes=shown, stack=stack)
    try:
        with host.attached(*kit.attachables([order])):
            for _ in sample(host, [order], settings, batch_size=1):
                pass
    except InputError as error:
        raise InputError(f"the policy cannot hold on {host.name}: {error}") from None


def _check_restrictable(site: Site, what: str) -> None:
    """Raises InputError for a method that cannot be given to some images only; before anything is fitted."""
    if site not in RESTRICTED:
        raise InputError(f"{what}: it acts on whole batches (site {site}), and images of several requests share one")


class _Builder:
    """Interventions of one model."""

    def __init__(self, host: Host, fits: Fits, setting: Setting) -> None:
        self._host, self._fits, self._setting = host, fits, setting

    def plain(self, text: str, where: str | None = None) -> tuple[Attachable, ...]:
        """Those of a SPEC; one that draws classes by itself is refused, because a server counts no images.

        Args:
            text: the SPEC.
            where: the place in the policy of one that is meant for some images; None for all.
        """
        spec, setting = parse_spec(text), self._setting
        if spec.path is not None:
            saved = load_saved(spec.path, self._host)
            spec, setting = recalled(spec, saved), dataclasses.replace(setting, fitted=saved)
        if where is not None:
            _check_restrictable(method_of(spec)[0].site, where)
        if assigned(spec, setting):
            raise InputError(
                f"{text}: it draws classes by the number of the image, which a server does not have; give class=, or "
                "name the concept under [[fairness]] in a policy"
            )
        return self._built(lambda: interventions(spec, setting, self._fits.obtain), text)

    def shown(self, method: str, name: str, concept: Concept) -> dict[str, tuple[Attachable, ...]]:
        """Class -> what shows it, by a method that takes `class=`."""
        text, _, more = method.partition(":")
        spec = parse_spec(f"{text}:concept={name}{',' + more if more else ''}")
        known = all_methods().get(spec.method)
        if spec.path is not None or known is None or not {"concept", "class"} <= {one.name for one in known.parameters}:
            usable = [one.name for one in all_methods().values() if any(p.name == "class" for p in one.parameters)]
            raise InputError(
                f"fairness of {concept.name}: method {method!r}, expected one that takes class= "
                f"({', '.join(usable)}), or {PROMPT_MIX}"
            )
        _check_restrictable(known.site, f"fairness of {concept.name} by {method}")
        found = {}
        for label, share in zip(concept.class_names, concept.reference, strict=True):
            if share > 0:
                one = dataclasses.replace(spec, parameters={**spec.parameters, "class": label})
                if "filter" in {parameter.name for parameter in known.parameters}:
                    one = dataclasses.replace(one, parameters={**one.parameters, "filter": "off"})
                method_of(one)
                found[label] = self._built(
                    lambda one=one: interventions(one, self._setting, self._fits.obtain), one.text
                )
        return found

    def vectors(self, names: Sequence[str]) -> tuple[Attachable, ...]:
        """Concept vectors of all rules together, so that no concept moves another one; each image's own classes."""
        if not names:
            return ()
        method, fitted = all_methods()[VECTORS], {}
        for name in names:
            values = method.read({"concept": name})

            def obtained(values: Mapping[str, Any] = values) -> list[Fitted]:
                return [self._fits.obtain(plan) for plan in method.plans(self._setting, values)]

            fitted |= {one.card.concept["name"]: one for one in self._declining(obtained, name)}
        built = vector_interventions(tuple(fitted.values()), _shown_factors)
        for one in built:
            one.check(self._host)
        return built

    def safety(self, policy: Policy) -> Attachable:
        """One term for all categories."""
        guidance = self._host.default_settings().guidance
        if guidance <= 1:
            raise InputError(
                f"the policy cannot hold on {self._host.name}: its guidance is {guidance:g}, and safe guidance is "
                "multiplied by it; take the [[safety]] rules out, or serve a model with guidance above 1"
            )
        categories = tuple(one for rule in policy.safety for one in self._categories(rule))
        term = safe_guidance(SafetyPolicy(name=policy.name, categories=categories, version=policy.version))
        term.check(self._host)
        return term

    def _categories(self, rule: SafetyRule) -> tuple[Category, ...]:
        if rule.preset == BALANCED:
            values = {"text": rule.text, "concept": rule.concept, "base": None, "keep": "nothing"}
            found = balanced(self._setting, values)
        else:
            text = rule.text or self._setting.guidance_text.get(rule.concept)
            if text is None:
                raise InputError(
                    f"safety.{rule.name}: {self._host.name} has no words for {rule.concept}; say with text= what must "
                    "not appear"
                )
            found = preset(rule.preset, text, steps=_PUBLISHED_STEPS)
        return tuple(dataclasses.replace(one, weight=one.weight * rule.strength) for one in found.categories)

    def _built(self, build: Callable[[], Sequence[Attachable]], what: str) -> tuple[Attachable, ...]:
        built = tuple(self._declining(build, what))
        for one in built:
            one.check(self._host)
        return built

    def _declining(self, work: Callable[[], T], what: str) -> T:
        try:
            return work()
        except DeclinedError as error:
            raise InputError(f"the policy cannot hold on {self._host.name}: {what}: {error}") from None


def _shown_factors(call: Call) -> list[dict[str, str]]:
    """For each image the class of each factor that it was assigned."""
    orders = call.requests or ()
    return [_factors(one) if isinstance(one, Order) else {} for one in orders] or [{}] * call.images


def _factors(order: Order) -> dict[str, str]:
    found: dict[str, str] = {}
    for concept, shown in order.classes.items():
        if any(one.name == f"{concept}={shown}" for one in order.stack):
            found |= dict(zip(concept.split(JOINT), shown.split(JOINT), strict=True))
    return found
