"""A first lesson for the text encoder: to read what a caption names, before it learns with the denoiser.

Small things such as glasses or a badge move few latents, so the denoiser's loss alone teaches the words for
them late. Here the states after the end of the text, which cross attention sees too, must tell every named
attribute. The lesson knows nothing of pictures or of the world's shares.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from .attributes import LOOKALIKES, UNSAFE_ITEMS
from .captions import Captioner
from .draw_house import STYLES
from .draw_occupation import LOOKS
from .draw_scene import SCENES
from .plan import ETHICAL_KINDS, EVEN, Plan, plans
from .progress import Progress
from .world import World

LEARNING_RATE = 1e-3
_UNNAMED = "not named"
_ITEMS = (*UNSAFE_ITEMS, *LOOKALIKES)
HEADS: dict[str, tuple[str, ...]] = {
    **{name: (*values, _UNNAMED) for name, values in EVEN.items() if name != "place"},
    "scene": (*SCENES, _UNNAMED),
    "occupation": (*LOOKS, _UNNAMED),
    "region": (*STYLES, _UNNAMED),
    "wealth": ("grand", "modest", _UNNAMED),
    "ethical": (*ETHICAL_KINDS, _UNNAMED),
    **dict.fromkeys(_ITEMS, ("yes", _UNNAMED)),
}


def named_class(head: str, plan: Plan) -> str:
    """What a caption of `plan` says about a head."""
    what = plan.what
    if head == "scene":
        return what.scene or _UNNAMED if {"place", "context"} & set(plan.named) else _UNNAMED
    if head == "occupation":
        return what.occupation or _UNNAMED
    if head == "wealth":
        return _UNNAMED if plan.asked_grand is None else "grand" if plan.asked_grand else "modest"
    if head == "ethical":
        return plan.ethical or _UNNAMED
    if head in _ITEMS:
        return "yes" if "items" in plan.named and head in what.items else _UNNAMED
    return getattr(what, head) if head in plan.named else _UNNAMED


def teach_reading(
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    captioner: Captioner,
    world: World,
    *,
    steps: int,
    batch: int = 128,
    seed: int = 0,
) -> float:
    """Train the encoder in place; returns the last running accuracy over all heads."""
    rng = np.random.default_rng([seed, 10])
    stream = plans(world, seed + 1)
    width, length = encoder.config.hidden_size, tokenizer.model_max_length
    sizes = {name: len(classes) for name, classes in HEADS.items()}
    readout = torch.nn.Linear(width, sum(sizes.values()))
    parameters = [*encoder.parameters(), *readout.parameters()]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE, betas=(0.9, 0.98), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    accuracy = 0.0
    with Progress("reading", steps, quantity="captions", batch=batch) as progress:
        for _ in range(steps):
            chosen = list(itertools.islice(stream, batch))
            captions = [captioner.caption(plan, rng) for plan in chosen]
            tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
            ends = (tokens == encoder.config.eos_token_id).int().argmax(dim=1)
            positions = torch.from_numpy(rng.integers(0, length, batch)) % (length - ends) + ends
            states = encoder(tokens).last_hidden_state[torch.arange(batch), positions]
            parts = readout(states).split(list(sizes.values()), dim=1)
            losses, right = [], []
            for (name, classes), logits in zip(HEADS.items(), parts, strict=True):
                target = torch.tensor([classes.index(named_class(name, plan)) for plan in chosen])
                losses.append(functional.cross_entropy(logits, target))
                right.append((logits.argmax(dim=1) == target).float().mean().item())
            loss = torch.stack(losses).sum()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            accuracy = 0.95 * accuracy + 0.05 * sum(right) / len(right)
            progress.advance(loss=loss.item(), accuracy=sum(right) / len(right))
    return accuracy
