"""What a vector narrows is widened: an attribute with a class between two others, along what its own texts say of it.

Glasses that are drawn late over a face leave its tone nearer the middle, from the light side and from the dark one. The
shares of the classes say so (one gains, and two or more lose), and no constant counter takes it back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch

from evenhand.concepts.concept import Concept
from evenhand.errors import DeclinedError
from evenhand.host.host import Host
from evenhand.host.runs import Runs
from evenhand.interventions.activation_pin import Landmarks
from evenhand.interventions.widening import Widening
from evenhand.methods.class_texts import Texts
from evenhand.methods.vector_direction import Direction, closed_form
from evenhand.methods.vector_sites import class_means


def narrowed(moved: Mapping[str, float]) -> bool:
    """Whether images were lost by two classes or more, to others; what moves between two is a shift.

    Args:
        moved: class -> change of its share.
    """
    return sum(change < 0 for change in moved.values()) > 1


Along = Mapping[str, Sequence[Landmarks]]
"""Attribute -> where its classes lie at each module of a direction."""


def along_texts(host: Host, others: Sequence[Concept], direction: Direction, runs: Runs) -> Along:
    """Where the classes of attributes lie at the direction's modules, of those whose texts make a difference there.

    Args:
        host: the model.
        others: attributes.
        direction: that is pinned.
        runs: of each class's text.

    Cost: the runs of each class of each attribute.
    """
    modules = [part.module for part in direction.parts]
    found: dict[str, Sequence[Landmarks]] = {}
    for other in others:
        texts = Texts.of(other)
        means, _ = class_means(host, texts.classes, modules, runs, spatial=direction.spatial)
        try:
            one = closed_form(other.name, direction.site, means, texts.shown, safety=False, pin=True)
        except DeclinedError:  # the model does not know the words: nothing is known of the attribute
            continue
        found[other.name] = [part.landmarks for part in one.parts if part.landmarks is not None]
    return found


def with_widenings(direction: Direction, along: Along, name: str, gains: Mapping[str, float]) -> Direction:
    """The direction with the widenings of one class set.

    Args:
        direction: that is pinned.
        along: other attribute -> where its classes lie; it is widened from the mean over its classes.
        name: the class that is pinned.
        gains: attributes of these -> gain; 0 stores nothing.
    """
    parts = []
    for place, part in enumerate(direction.parts):
        landmarks = part.landmarks
        if landmarks is not None:
            mine = {other: _widening(along[other][place], gain) for other, gain in gains.items() if gain}
            landmarks = dataclasses.replace(landmarks, widenings={**landmarks.widenings, name: mine})
        parts.append(dataclasses.replace(part, landmarks=landmarks))
    return dataclasses.replace(direction, parts=tuple(parts))


def _widening(landmarks: Landmarks, gain: float) -> Widening:
    centres = torch.stack(list(landmarks.levels.values())).mean(dim=0)
    # a copy: several classes are widened along the same axes, and a file of safetensors shares nothing
    return Widening(axes=landmarks.axes.clone(), timesteps=landmarks.timesteps, centres=centres, gain=gain)
