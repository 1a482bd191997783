"""From options to a running server: everything that can be refused is refused before it listens."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from ..concepts.concept import Concept
from ..concepts.library import load_concept
from ..errors import InputError, ModelError
from ..judges.base import DEFAULT_JUDGE, Judge
from ..judges.load import load_judge
from ..records import Settings
from ..verbs.config import ImageOptions, ModelOptions
from ..verbs.defaults import asked_settings, read_card
from ..verbs.fits import DEFAULT_FIT_JUDGE
from ..verbs.model import OpenModel, open_model
from ..verbs.model_thread import ModelThread
from ..watch import Silent, Watcher
from .app import create_app
from .engine import Engine, Telling
from .inspection import Inspector
from .keys import Rates, read_keys
from .kit import Kit, build_kit
from .local import LocalMaker
from .marking import Signer, SigningKey
from .measures import Measures
from .monitor import ImageLog, Monitor
from .order import Application
from .planner import Abilities, Planner
from .policy import PLAIN, Gate, Policy, load_policy
from .quotas import Quotas
from .service import Backend, EngineBackend, Identity, Parts, Service
from .state import State
from .upstream import UpstreamBackend, check_proxied, check_upstream

_GROUPS = ("gender", "skin", "age")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What `evenhand serve` was asked for.

    Args:
        model: as in every command; None with `upstream`.
        upstream: base URL of another server.
        upstream_model: what it is asked for.
        policy: a TOML file; None makes plain images.
        interventions: SPECs that are meant for every image.
        host: address to listen at.
        port: and port; 0 takes a free one.
        keys: file of API keys; None lets everybody, on loopback only.
        state: folder of quotas, counts and log; None keeps them in memory.
        image: defaults of images.
        options: how the model is loaded; its batch size is the most that one batch takes.
        fixed_shape: fill every batch up to the batch size.
        signing: key for C2PA manifests.

    Raises:
        InputError: options that do not belong together.
    """

    model: str | None = None
    upstream: str | None = None
    upstream_model: str | None = None
    policy: Path | None = None
    interventions: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    state: Path | None = None
    image: ImageOptions = dataclasses.field(default_factory=ImageOptions)
    options: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    fixed_shape: bool = False
    signing: SigningKey | None = None

    def __post_init__(self) -> None:
        if (self.model is None) == (self.upstream is None):
            raise InputError("serve: give a MODEL, or --upstream URL, and not both")
        if self.upstream is not None and self.interventions:
            raise InputError("--with works inside a model, and there is none with --upstream; leave it out")
        if not 0 <= self.port < 65536:
            raise InputError(f"--port {self.port}: expected 0 to 65535")
        if self.keys is None and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host} can be reached from elsewhere, and there are no keys: give --keys FILE (make one "
                "with --new-key NAME), or stay on 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judges:
    """Who looks at images, and for what."""

    gate: Gate | None
    gate_concept: Concept | None
    gate_judge: Judge | None
    watch_judge: Judge | None
    concepts: tuple[Concept, ...]

    def inspector(self) -> Inspector:
        """What looks at batches. Raises: InputError for a judge that does not know a concept."""
        return Inspector(
            gate=self.gate,
            gate_concept=self.gate_concept,
            gate_judge=self.gate_judge,
            watch_judge=self.watch_judge,
            concepts=self.concepts if self.watch_judge is not None else (),
        )

    def cards(self) -> dict[str, Any]:
        """For /v1/audit; figures of a judge that also is the gate are circular."""
        same = None not in (self.gate_judge, self.watch_judge) and self.gate_judge.hash == self.watch_judge.hash  # type: ignore[union-attr]
        found: dict[str, Any] = {"circular": same}
        for role, judge in (("gate", self.gate_judge), ("watch", self.watch_judge)):
            found[role] = None if judge is None else {"name": judge.name, "hash": judge.hash}
        return found


def prepare(options: ServeOptions, watcher: Watcher | None = None) -> FastAPI:
    """The application, with the model loaded and the policy checked on it.

    Raises: InputError (or a subclass) for everything that cannot hold.
    """
    watcher = watcher or Silent()
    policy = PLAIN if options.policy is None else load_policy(options.policy)
    keys = None if options.keys is None else read_keys(options.keys)
    signer = None if options.signing is None else Signer(options.signing)
    if options.upstream is not None:
        check_proxied(policy)
        check_upstream(options.upstream)
    state = State(options.state)
    try:
        parts = _parts(options, policy, state, signer, watcher)
    except BaseException:
        state.close()
        raise
    return create_app(_Stateful(parts, state), keys, started=int(time.time()))


class _Stateful(Service):
    """A service that closes its database when it ends."""

    def __init__(self, parts: Parts, state: State) -> None:
        super().__init__(parts)
        self._state = state

    def close(self) -> None:
        super().close()
        self._state.close()


def _parts(options: ServeOptions, policy: Policy, state: State, signer: Signer | None, watcher: Watcher) -> Parts:
    measures = Measures()
    if options.upstream is not None:
        judges = _judges(policy, DEFAULT_JUDGE, DEFAULT_FIT_JUDGE, watcher)
        backend, abilities = _proxied(options, policy, judges)
        identity = Identity(model=options.upstream_model or "upstream", facts={"upstream": True}, judges=judges.cards())
    else:
        thread = ModelThread()
        model, kit, judges = thread.do(lambda: _opened(options, policy, watcher))
        for remark in kit.remarks:
            watcher.say(f"remark: {remark}")
        backend, abilities = _local(options, policy, (model, kit, judges), measures, thread)
        identity = Identity(
            model=str(options.model), facts={"model_hash": model.host.weights_hash}, judges=judges.cards()
        )
    quotas = Quotas(state)
    return Parts(
        identity=identity,
        policy=policy,
        planner=Planner(policy, quotas, abilities),
        backend=backend,
        quotas=quotas,
        monitor=Monitor(state, f"{policy.label} {identity.model}", policy.watch, judges.concepts),
        log=ImageLog(state, policy.log.days, policy.log.prompts),
        measures=measures,
        rates=Rates(),
        groups=tuple(load_concept(name) for name in _GROUPS),
        always=options.interventions,
        signer=signer,
        seeded=options.upstream is None,
    )


_Opened = tuple[OpenModel, Kit, Judges]


def _opened(options: ServeOptions, policy: Policy, watcher: Watcher) -> _Opened:
    """The model with everything that the policy names built on it, and the judges."""
    settings = asked_settings(read_card(str(options.model)), options.image)
    model = open_model(str(options.model), options.options, settings)
    card = model.host.model_card
    kit = build_kit(policy, options.interventions, model.host, watcher)
    _ = model.host.weights_hash  # kept by the host: computed here
    return model, kit, _judges(policy, card.judge, card.fit_judge, watcher)


def _local(
    options: ServeOptions, policy: Policy, opened: _Opened, measures: Measures, thread: ModelThread
) -> tuple[Backend, Abilities]:
    model, kit, judges = opened
    maker, inspector = (
        LocalMaker(model.host, kit, model.batch_size if options.fixed_shape else None),
        judges.inspector(),
    )
    engine = Engine(
        lambda orders, settings, abandoned: thread.do(lambda: maker(orders, settings, abandoned)),
        lambda made: thread.do(lambda: inspector(made)),
        batch_size=model.batch_size,
        queue=policy.limits.queue,
        telling=Telling(batch=measures.batch, queue=measures.queue.set),
    )
    size = model.host.image_size(model.settings)
    return EngineBackend(engine), Abilities(settings=model.settings, size=size, checks=kit.check_strength)


def _proxied(options: ServeOptions, policy: Policy, judges: Judges) -> tuple[Backend, Abilities]:
    key = os.environ.get("OPENAI_API_KEY")
    client = httpx.AsyncClient(
        base_url=check_upstream(str(options.upstream)),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=policy.limits.deadline_seconds,
        follow_redirects=False,
        trust_env=False,
    )
    backend = UpstreamBackend(client, options.upstream_model, judges.inspector(), policy.limits.queue)

    def none(application: Application) -> None:
        raise InputError(f"{application.name} is not offered")

    return backend, Abilities(settings=Settings(), size=None, checks=none, own_fields=False)


def _judges(policy: Policy, report: str | None, fit: str | None, watcher: Watcher) -> Judges:
    """Who looks: the policy says it, else the model's card; without a policy only a card's judge, which is there."""
    plain = policy is PLAIN
    gate = Gate(action="flag") if plain else policy.gate  # type: ignore[call-arg]
    name = None if gate is None else gate.judge or fit or (None if plain else DEFAULT_FIT_JUDGE)
    if gate is not None and name is None:
        watcher.say("no judge is known for this model: images are not looked at; name one in a policy")
        gate = None
    gate_concept = None if gate is None else load_concept(gate.concept)
    concepts = _watched(policy, gate_concept)
    watch = policy.watch.judge or report or (None if plain else DEFAULT_JUDGE)
    return Judges(
        gate=gate,
        gate_concept=gate_concept,
        gate_judge=None if name is None else _judge(name, "gate"),
        watch_judge=None if watch is None or not concepts else _judge(watch, "watch"),
        concepts=concepts,
    )


def _judge(name: str, role: str) -> Judge:
    try:
        return load_judge(name)
    except ModelError as error:
        raise ModelError(f"the {role}'s judge cannot be loaded: {error}") from None


def _watched(policy: Policy, gate: Concept | None) -> tuple[Concept, ...]:
    """What is measured: fairness, gate, and what the policy asks for; each once."""
    found: dict[str, Concept] = {}
    for concept in [rule.resolved() for rule in policy.fairness]:
        found[concept.name] = concept
    names: Sequence[str] = (
        *policy.watch.concepts,
        *[one.concept for one in policy.watch.shares],
        *(["unsafe"] if policy.safety else []),
    )
    for concept in [*(load_concept(name) for name in names), *([gate] if gate is not None else [])]:
        found.setdefault(concept.name, concept)
    return tuple(found.values())
