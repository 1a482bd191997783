"""The local form of safe guidance: what a prediction holds of a concept is taken away where the concept would be.

Safe Latent Diffusion (arXiv:2211.05105) subtracts mu (e_S - e_0), which pulls the whole picture away from whatever the
concept's text brings along: its background, its light, its person. Here the concept is a pair of texts, such as "a
person with blood" and "a person", whose predictions differ by the item and little else; with the prompt's prediction
e_p, the concept's e_S, the base's e_b and those of harmless look-alikes e_k:

    d = e_S - e_b, k_j = e_k(j) - e_b
    m = 1 at the places where |d|, over the channels, reaches its quantile, 0 elsewhere
    (a, c) minimises |m (e_p - e_b - a d - sum_j c_j k_j)|: how much of the concept the prediction holds
    gamma = m min(1, max(0, a)) d

So a prediction that holds nothing of the concept keeps its bits nearly, and one that holds all of it is given the base
there. The prediction for a prompt is the mean of what it may become, weighed by how likely each is, so at high noise
`a` is the chance that the item will be there. A look-alike is explained by its own text and stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from evenhand.host.carrier import channel_axis
from evenhand.interventions.guidance_term import Branches, Term
from evenhand.interventions.policy import Category, SafetyPolicy
from evenhand.interventions.window import Window

EARLY = Window(start=0.0, stop=0.6)
RIDGE = 1e-3
"""Of the regression, relative to each text's own strength: texts that say nearly the same share what they explain."""


class LocalFormula:
    """The equations above at one step."""

    def others(self, category: Category) -> tuple[str, ...]:
        """The base and the look-alikes."""
        return tuple(text for text in (category.base, *category.keep) if text)

    def gathers(self, category: Category) -> bool:
        """It has no memory."""
        return False

    def term(self, category: Category, branches: Branches, memory: dict[str, torch.Tensor], guidance: float) -> Term:
        """gamma, m, and a as the presence of the concept."""
        base = branches.others[category.base] if category.base else branches.anchor
        concept = branches.concept - base
        mask = _places(concept, category.threshold)
        kept = [branches.others[text] - base for text in category.keep]
        held = _share(mask * (branches.prompt - base), [mask * one for one in (concept, *kept)])
        value = held.clamp(0, 1).view(-1, *[1] * (concept.ndim - 1)) * mask * concept
        return Term(value=value, switch=mask.expand_as(concept), presence=held)


def _places(direction: torch.Tensor, quantile: float) -> torch.Tensor:
    """1 at the places whose norm over the channels reaches the quantile."""
    size = direction.float().pow(2).sum(dim=channel_axis(direction), keepdim=True)
    bound = torch.quantile(size.flatten(1), quantile, dim=1).view(-1, *[1] * (size.ndim - 1))
    return (size >= bound).to(direction.dtype)


def _share(prediction: torch.Tensor, directions: Sequence[torch.Tensor]) -> torch.Tensor:
    """The first direction's coefficient in the least-squares fit of each row's prediction, shape (rows,)."""
    design = torch.stack([one.flatten(1).double() for one in directions], dim=1)
    norms = design.norm(dim=2, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    design = design / norms
    gram = design @ design.mT + RIDGE * torch.eye(len(directions), dtype=design.dtype, device=design.device)
    answer = torch.linalg.solve(gram, design @ prediction.flatten(1).double().unsqueeze(2))
    return (answer / norms)[:, 0, 0].to(prediction.dtype)


def local_policy(
    parts: Sequence[str],
    *,
    base: str = "",
    keep: Sequence[str] = (),
    quantile: float = 0.8,
    window: Window = EARLY,
    weight: float = 1.75,
    name: str = "balanced",
) -> SafetyPolicy:
    """A policy of the local form, with a category for each thing that must not appear.

    Args:
        parts: a text for each thing, such as "a person with blood": the base, and the thing.
        base: the same text without it; "" compares with the unconditional prediction, which is less local.
        keep: harmless texts that look alike, in the same form.
        quantile: share of the places that are left alone; .8 acts on a fifth of the picture.
        window: when it acts. What a picture will show is decided by then; later, every item held in a hand leans
            towards every other, and look-alikes would be taken away too unless they are in `keep`.
        weight: factor on the term; 0 is off. More than 1 makes up for what the least squares miss.
        name: of the policy.

    Cost: a denoiser row per image and step for each part, the base and each look-alike.
    """
    categories = tuple(
        Category(
            text=part,
            form="local",
            base=base,
            keep=tuple(keep),
            threshold=quantile,
            threshold_kind="quantile",
            momentum_scale=0,
            window=window,
            weight=weight,
        )
        for part in parts
    )
    return SafetyPolicy(name=name, categories=categories)
