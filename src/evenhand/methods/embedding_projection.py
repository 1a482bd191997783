"""Embedding projection: the prompt's embedding loses most of the direction along which a concept's classes differ.

Chuang, Jampani, Li, Torralba, Jegelka: Debiasing Vision-Language Models via Biased Prompts (2023, arXiv:2302.00070), in
closed form: with pairs of texts that differ by the class alone, of unit embeddings e_a and e_b,

    M = mean of (e_a - e_b)(e_a - e_b)^T,   P = (lambda M + I)^-1,   every token e <- P e

so a direction of which M holds m keeps 1 / (1 + lambda m). The unconditional embedding stays. What is decided by the
initial noise alone is not reached; it adds to `noise-direction`, which then has less to move.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.concept import Concept
from evenhand.errors import InputError
from evenhand.host.conditioning import encode_text
from evenhand.host.sites import Call
from evenhand.interventions.storage import Card, Frame
from evenhand.interventions.text_map import TextMap
from evenhand.methods.class_texts import Texts
from evenhand.methods.fitting import Fitted, Fitting, Work
from evenhand.methods.method import Method, Parameter, Setting
from evenhand.methods.ranges import NOT_NEGATIVE
from evenhand.methods.shown_classes import CONCEPT, FILTER, left_alone, plans_of, recall_concepts

NAME = "embedding-projection"
MOMENTS = "moments"


def fit_projection(fitting: Fitting, concept: Concept) -> Fitted:
    """Embed the pairs of texts; nothing is generated.

    Source: Chuang et al. (arXiv:2302.00070).

    Args:
        fitting: the model.
        concept: whose direction is taken out.

    Raises:
        InputError: a safety concept.

    Cost: no denoiser evaluation; a text embedding for each class and prompt row.
    """
    if concept.kind != "attribute":
        raise InputError(f"{NAME} takes an attribute of people or things; for {concept.name} use safe-guidance")
    texts = Texts.of(concept)
    pairs = [(texts.classes[one], texts.classes[other]) for one, other in itertools.combinations(texts.classes, 2)]
    pairs += [
        (f"{one} {row.name}", f"{other} {row.name}")
        for row in fitting.rows(concept)
        for one, other in itertools.combinations([_word(concept, name) for name in concept.class_names], 2)
    ]
    known = dict.fromkeys(text for pair in pairs for text in pair)
    embedded = {text: last_token(fitting.host, text) for text in known}
    gaps = torch.stack([embedded[one] - embedded[other] for one, other in pairs])
    card = Card(
        method=NAME,
        site="text embedding",
        frame=Frame.of(fitting.host),
        estimator={"pairs": len(pairs)},
        prompts={"pairs": [list(pair) for pair in pairs]},
        seeds={},
        concept=concept.to_dict(),
        effect={"largest": round(float(torch.linalg.matrix_norm(gaps.T @ gaps / len(gaps), 2)), 6)},
    )
    return Fitted({MOMENTS: (gaps.T @ gaps / len(gaps)).float()}, card)


def last_token(host: Any, text: str) -> torch.Tensor:
    """The embedding of the last token that a text has of its own, of norm 1."""
    sequence = encode_text(host.pipe, host.family, text).inputs["encoder_hidden_states"][0].float().cpu()
    tokenizer = host.pipe.components.get(host.family.tokenizer)
    place = len(sequence) - 1
    if tokenizer is not None:
        place = min(place, len(tokenizer(text, truncation=True).input_ids) - 1)
    return torch.nn.functional.normalize(sequence[place], dim=0)


def projection(moments: torch.Tensor, weight: float) -> torch.Tensor:
    """(lambda M + I)^-1; the identity for a weight of 0."""
    unit = torch.eye(len(moments), dtype=torch.float64)
    return torch.linalg.inv(weight * moments.double() + unit).float()


def _word(concept: Concept, name: str) -> str:
    """How a prompt names a class in one word, else the class's own name."""
    words = next(one.words for one in concept.classes if one.name == name)
    return words[0] if words else name


def _build(setting: Setting, values: Mapping[str, Any]) -> TextMap:
    concepts = [Concept.from_dict(one.card.concept) for one in setting.fitted]

    def wanted(call: Call) -> list[bool]:
        return [not left_alone(values, call, row, concepts) for row in range(call.images)]

    weighted = [(one, values["weight"]) for one in setting.fitted]
    return text_map(weighted, wanted, strength=values["strength"])


def text_map(
    weighted: Sequence[tuple[Fitted, float]], wanted: Callable[[Call], Sequence[bool]], *, strength: float = 1.0
) -> TextMap:
    """The intervention that takes the directions of some concepts, each with its lambda, out of what is wanted."""
    moments = torch.stack([weight * one.tensors[MOMENTS].double() for one, weight in weighted]).sum(dim=0)
    return TextMap(name=NAME, matrix=projection(moments, 1.0), wanted=wanted, strength=strength)


def beside(fitting: Fitting, projected: Sequence[Fitted], weight: float) -> Fitting:
    """The same means with a projection in every image that is made, for methods that are calibrated with it.

    Args:
        fitting: the model; what is made through `host` itself, and not through `make`, is told of it by `embed`.
        projected: what `fit_projection` gave, of each concept whose direction is taken out.
        weight: lambda, of each.
    """
    one = text_map([(some, weight) for some in projected], lambda call: [True] * call.images)
    return dataclasses.replace(
        fitting,
        embed=one.mapped,
        make=lambda interventions, requests, /, steps=None: fitting.make([one, *interventions], requests, steps),
    )


METHOD = Method(
    name=NAME,
    site="text embedding",
    source="Debiasing Vision-Language Models via Biased Prompts, Chuang et al., 2023, arXiv:2302.00070",
    summary="takes the direction of a concept out of the embedded prompt; closed form, costs nothing",
    parameters=(
        CONCEPT,
        Parameter(name="weight", help="lambda; 0 changes nothing", kind="number", default="500", range=NOT_NEGATIVE),
        FILTER,
    ),
    build=_build,
    plans=lambda setting, values: plans_of(NAME, METHOD.parameters, setting, values),
    fit=lambda fitting, values: fit_projection(fitting, fitting.setting.concept(values["concept"])),
    work=lambda preview, values: [Work(what="texts are encoded")],
    recall=lambda saved: recall_concepts(NAME, saved),
)
