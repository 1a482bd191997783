"""A service over toy images: the level of grey is drawn from the seed, and says class and danger."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.records import Settings, Verdict
from evenhand.serve.app import create_app
from evenhand.serve.engine import Engine, Telling
from evenhand.serve.inspection import Inspector
from evenhand.serve.keys import Keys, Rates
from evenhand.serve.measures import Measures
from evenhand.serve.monitor import ImageLog, Monitor
from evenhand.serve.order import Application, Order
from evenhand.serve.planner import Abilities, Planner
from evenhand.serve.policy import Policy
from evenhand.serve.quotas import Quotas
from evenhand.serve.service import EngineBackend, Identity, Parts, Service
from evenhand.serve.state import State

LEVELS = 200
SETTINGS = Settings(steps=2, guidance=3.0)


def level(order: Order) -> int:
    """Uniform on 0..199 from the seed; an image that was assigned a class shows it."""
    drawn = random.Random(order.seed).randrange(LEVELS)
    if "gender" in order.classes:
        half = LEVELS // 2
        return drawn % half + (half if order.classes["gender"] == "male" else 0)
    return drawn


def toy_make(orders: Sequence[Order], settings: Settings, abandoned: Callable[[], bool]) -> list[np.ndarray | None]:
    """8 x 8 pictures of one grey."""
    return [np.full((8, 8, 3), level(order), np.uint8) for order in orders]


class ToyJudge:
    """The first class below the middle level, the second above it; unsafe from level 150 on."""

    name = "toy"
    hash = "toy"

    def card(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def knows(self, concept: Concept) -> bool:
        return True

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        return [[self._verdict(image, concept) for concept in concepts] for image in images]

    def _verdict(self, image: np.ndarray | None, concept: Concept) -> Verdict:
        if image is None:
            return Verdict(concept=concept.name, label=None, judge=self.name)
        grey = int(image[0, 0, 0])
        high = grey >= (150 if concept.kind == "safety" else LEVELS // 2)
        shares = (0.1, 0.9) if high else (0.9, 0.1)
        return Verdict(concept=concept.name, label=concept.class_names[high], probabilities=shares, judge=self.name)


def policy_of(**fields: Any) -> Policy:
    """A policy called "test"."""
    return Policy.model_validate({"name": "test", "version": 1, **fields})


class Server:
    """A running toy service with its parts."""

    def __init__(self, policy: Policy, *, keys: Keys | None = None, folder: Path | None = None, **more: Any) -> None:
        self.state = State(folder)
        self.quotas = Quotas(self.state, chance=random.Random(0))
        self.measures = Measures()
        concepts = tuple([rule.resolved() for rule in policy.fairness] + [load_concept("unsafe")])
        inspector = Inspector(
            gate=policy.gate,
            gate_concept=None if policy.gate is None else load_concept(policy.gate.concept),
            gate_judge=ToyJudge(),
            watch_judge=ToyJudge(),
            concepts=concepts,
        )
        self.engine = Engine(
            more.get("make", toy_make),
            inspector,
            batch_size=more.get("batch_size", 4),
            queue=policy.limits.queue,
            telling=Telling(batch=self.measures.batch, queue=self.measures.queue.set),
        )

        def checks(application: Application) -> None: ...

        self.log = ImageLog(self.state, policy.log.days, policy.log.prompts)
        self.service = Service(
            Parts(
                identity=Identity(model="toy"),
                policy=policy,
                planner=Planner(policy, self.quotas, Abilities(settings=SETTINGS, size=(8, 8), checks=checks)),
                backend=EngineBackend(self.engine),
                quotas=self.quotas,
                monitor=Monitor(self.state, policy.label, policy.watch, concepts),
                log=self.log,
                measures=self.measures,
                rates=Rates(),
                groups=(load_concept("gender"),),
            )
        )
        self.app: FastAPI = create_app(self.service, keys)

    def client(self) -> httpx.AsyncClient:
        """A client without a network."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test")

    def close(self) -> None:
        """End its thread and its database."""
        self.engine.close()
        self.state.close()
