"""The toy world of directions of the initial noise, and fits and images of it."""

from __future__ import annotations

from typing import Any

from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS, interventions
from evenhand.records import Request, Settings
from evenhand.testing.toy import ToyWorld
from evenhand.testing.toy_fitting import GENDER_PROMPTS, toy_fitting, toy_label

WORLD = ToyWorld(
    prompts={
        **GENDER_PROMPTS,
        "a photo of a nurse": (0.9, 0.1),
        "a photo of a mechanic": (0.25, 0.75),
        "a female nurse": (0.99, 0.01),
    }
)
ROWS = ("a photo of a nurse", "a photo of a mechanic")
SETTINGS = Settings(steps=20, guidance=1.0)
WEIGHT = 1.0
WORDS = {"woman": (0.9, 0.1), "man": (0.1, 0.9)}


def fitted(host: Host, spec: str = "noise-direction", rows: Any = ROWS) -> Fitted:
    method = METHODS["noise-direction"]
    (plan,) = method.plans(Setting(), method.read(parse_spec(spec).parameters))
    assert method.fit is not None
    return method.fit(toy_fitting(host, WORLD, rows=rows), plan.values)


def shown(
    host: Host, gender: Fitted, spec: str, row: str = ROWS[0], images: int = 300, women: float = 0.5
) -> list[str]:
    setting = Setting(fitted=(gender,), targets={"gender": {"female": women, "male": 1 - women}})
    requests = [Request(row=row, prompt=row, index=k, seed=10_000 + k) for k in range(images)]
    with host.attached(*interventions(parse_spec(spec), setting)):
        return [toy_label(one, WORLD) for one in sample(host, requests, SETTINGS, batch_size=50, keep_latents=True)]


def share(labels: list[str]) -> float:
    return labels.count("female") / len(labels)
