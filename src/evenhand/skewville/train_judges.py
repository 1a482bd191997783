"""Training of the two judges: disjoint in architecture, seed and representation, both on uniform attributes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from evenhand.host.dtype import autocast

from .captions import Captioner, load_grammar
from .convnet import ConvNet
from .judge_data import UNKNOWN, JudgeData
from .phrases import class_phrases
from .plan import Plan
from .progress import Progress
from .tokenizer import MAX_LENGTH, build_tokenizer, special_tokens

WIDTH = 128
CONTRASTIVE_WEIGHT = 0.3
NAMEABLE = ("gender", "skin", "age", "glasses", "origin", "scarf")


def train_convnet(out: Path, data: JudgeData, *, steps: int, batch: int = 64, seed: int = 11) -> ConvNet:
    """Train the fit judge and write `config.json` and `model.safetensors` to `out`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 5])
    heads = {name: list(phrases) for name, phrases in class_phrases().items()}
    model = ConvNet({name: len(classes) for name, classes in heads.items()})
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    with Progress("fit judge", steps, quantity="images", batch=batch) as progress:
        for _ in range(steps):
            images, labels, _ = data.batch(rng, batch)
            logits = model(images)
            loss = torch.stack([_entropy(logits[name], labels[name]) for name in heads]).sum()
            _step(model, optimiser, schedule, loss)
            progress.advance(loss=loss.item())
    out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), out / "model.tmp")
    os.replace(out / "model.tmp", out / "model.safetensors")
    (out / "config.json").write_text(json.dumps({"kind": "convnet", "heads": heads, "seed": seed}, indent=1))
    return model


def new_clip() -> CLIPModel:
    """An untrained CLIP of 1.2 M parameters for 64 x 64 pictures."""
    tokenizer = build_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        **special_tokens(),
    )
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=WIDTH))


def train_clip(
    out: Path, data: JudgeData, *, steps: int, settling: JudgeData, settling_steps: int, batch: int = 64, seed: int = 12
) -> CLIPModel:
    """Train the report judge on phrases and captions and write it as a CLIPModel with tokenizer and processor.

    Args:
        out: the folder.
        data: pictures of the first and longest phase.
        steps: of the first phase; its rate rises to 1e-3 and falls to nothing.
        settling: pictures that the first phase has not seen; what it learned by heart errs on them.
        settling_steps: on those, at a fifth of the rate.
        batch: pictures a step.
        seed: of weights, batches and augmentation.
    """
    torch.manual_seed(seed)
    model = new_clip()
    _contrast(model, data, steps, rate=1e-3, batch=batch, rng=np.random.default_rng([seed, 6]))
    settle_clip(model, settling, steps=settling_steps, batch=batch, seed=seed)
    save_clip(model, out)
    return model


def settle_clip(model: CLIPModel, data: JudgeData, *, steps: int, batch: int = 64, seed: int = 12) -> None:
    """The second phase alone: a trained report judge goes on, gently, on pictures it has not seen."""
    _contrast(model, data, steps, rate=2e-4, batch=batch, rng=np.random.default_rng([seed, 7]))


def _contrast(
    model: CLIPModel, data: JudgeData, steps: int, *, rate: float, batch: int, rng: np.random.Generator
) -> None:
    """Pictures against the phrases of every class, and against captions of the batch."""
    tokenizer, captioner = build_tokenizer(), Captioner(load_grammar())
    heads = {name: list(phrases.values()) for name, phrases in class_phrases().items()}
    phrases = [phrase for texts in heads.values() for phrase in texts]
    optimiser = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.08)
    with Progress("report judge", steps, quantity="images", batch=batch) as progress:
        for _ in range(steps):
            images, labels, rows = data.batch(rng, batch)
            captions = [_caption(data, row, captioner, rng) for row in rows if row >= 0]
            with autocast(torch.device("cpu")):
                seen = model.visual_projection(model.vision_model(images).pooler_output)
            read = torch.cat([_read(model, tokenizer, texts) for texts in (phrases, captions)])
            seen, read = functional.normalize(seen.float(), dim=-1), functional.normalize(read.float(), dim=-1)
            scale = model.logit_scale.exp().clamp(max=100)
            losses, start = [], 0
            for name, texts in heads.items():
                losses.append(_entropy(scale * seen @ read[start : start + len(texts)].T, labels[name]))
                start += len(texts)
            pairs = scale * seen[torch.from_numpy(rows >= 0)] @ read[start:].T
            target = torch.arange(len(pairs))
            contrast = functional.cross_entropy(pairs, target) + functional.cross_entropy(pairs.T, target)
            loss = torch.stack(losses).sum() + CONTRASTIVE_WEIGHT * contrast
            _step(model, optimiser, schedule, loss)
            progress.advance(loss=loss.item(), contrast=contrast.item())


def save_clip(model: CLIPModel, out: Path) -> None:
    """Write the report judge with its tokenizer and processor, as any CLIP model on disk."""
    model.save_pretrained(out)
    build_tokenizer().save_pretrained(out)
    # half and half: the pictures are fed as they are, scaled to [-1, 1]
    size = {"height": 64, "width": 64}
    CLIPImageProcessor(
        do_resize=True, size=size, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(out)


def _read(model: CLIPModel, tokenizer: CLIPTokenizer, texts: Sequence[str]) -> torch.Tensor:
    # padded to the longest text only: attention is causal and the end token is read, so padding changes nothing
    tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").input_ids
    return model.text_projection(model.text_model(tokens).pooler_output)


def _caption(data: JudgeData, row: int, captioner: Captioner, rng: np.random.Generator) -> str:
    """A caption that names a random part of what is true; everything else about it is the grammar's."""
    what = data.what[row]
    if what.kind == "house":
        return captioner.caption(Plan(what=what, named=("region", "wealth"), asked_grand=what.wealth == "grand"), rng)
    named = {name for name in NAMEABLE if rng.random() < 0.7}
    named |= {"place"} if rng.random() < 0.8 else set()
    named |= {"items"} if what.items else set()
    return captioner.caption(Plan(what=what, named=tuple(sorted(named))), rng)


def _entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy over the rows that have a label, 0 where none has."""
    known = labels != UNKNOWN
    return functional.cross_entropy(logits[known], labels[known]) if bool(known.any()) else logits.sum() * 0


def _step(
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss: torch.Tensor,
) -> None:
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    schedule.step()
