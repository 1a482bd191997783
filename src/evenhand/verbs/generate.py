"""Generate: images of one prompt, made as plain diffusers would make them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.numpy

from ..errors import RunDirectoryError
from ..files import write_bytes, write_json, write_png
from ..host.sampler import sample
from ..records import Request, Sample, canonical_json, content_hash
from ..store import check_same_config, check_writable, versions
from ..watch import Silent, Watcher
from .arm import plan_arm
from .config import GenerateConfig
from .defaults import asked_settings, check_model, read_card
from .lora import check_lora, with_lora
from .model import open_model

SCHEMA = "evenhand.samples/1"
_LIST = "samples.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generated:
    """Where the images are, and what samples.json says."""

    out: Path
    listing: Mapping[str, Any]


def generate(config: GenerateConfig, watcher: Watcher | None = None) -> Generated:
    """Make images of one prompt into a directory: `000.png`, ... and `samples.json`.

    Image i starts from `torch.Generator("cpu").manual_seed(seed + i)`. Images that are there from an earlier call
    with the same configuration are kept.

    Raises: InputError (or a subclass) before anything is written; StorageError when the disk fails.
    """
    watcher, config = watcher or Silent(), with_lora(config)
    check_model(config.source)
    check_lora(config.source, config.model.lora)
    asked = asked_settings(read_card(config.source), config.image)
    resolved = _resolved(config, asked)
    out = config.out or Path("runs") / f"generate-{content_hash(resolved)[:8]}"
    known = _known(out, resolved)
    planned = plan_arm(config.interventions, read_card(config.source), (), config.seed)
    model = open_model(config.source, config.model, asked, known)
    listing: dict[str, Any] = known or {
        "schema": SCHEMA,
        "config": resolved,
        **model.facts(),
        "settings": model.settings.to_dict(),
        "versions": versions(),
        "samples": [],
    }
    if listing["model"]["hash"] != model.facts()["model"]["hash"]:
        raise RunDirectoryError(f"{out} was begun with another model of the same name: choose another --out")
    arm = planned.build(model.host, None, watcher)
    done = {entry["index"]: entry for entry in listing["samples"] if _intact(out, entry)}
    requests = [_request(config, index) for index in range(config.images) if index not in done]
    watcher.start("images", total=config.images, done=len(done))
    write_json(out / _LIST, listing)
    batch = min(model.batch_size, config.images)
    latents = config.latents
    with arm.attached(model.host):
        samples = sample(model.host, requests, model.settings, batch_size=batch, keep_latents=latents, pad=True)
        for count, one in enumerate(samples, 1):
            done[one.request.index] = _write(out, one)
            watcher.advance()
            if count % batch == 0 or count == len(requests):
                listing["samples"] = [done[index] for index in sorted(done)]
                write_json(out / _LIST, listing)
    return Generated(out=out, listing=listing)


def _resolved(config: GenerateConfig, asked: Mapping[str, Any]) -> dict[str, Any]:
    resolved = {
        "verb": "generate",
        "source": config.source,
        "prompt": config.prompt,
        "images": config.images,
        "seed": config.seed,
        "latents": config.latents,
        "settings": asked,
        "negative_prompt": config.image.negative_prompt,
        "model": config.model.to_dict(),
    }
    if config.interventions:
        resolved["with"] = config.interventions
    return json.loads(canonical_json(resolved))


def _known(out: Path, resolved: Mapping[str, Any]) -> dict[str, Any] | None:
    check_writable(out)
    try:
        listing = json.loads((out / _LIST).read_text(encoding="utf-8"))
        if listing["schema"] != SCHEMA:
            raise KeyError("schema")
    except FileNotFoundError:
        if out.is_dir() and any(out.iterdir()):
            raise RunDirectoryError(f"{out} is not empty and has no {_LIST}: choose another --out") from None
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"cannot read {out / _LIST}: {error}; choose another --out") from error
    check_same_config(out, listing["config"], resolved)
    return listing


def _request(config: GenerateConfig, index: int) -> Request:
    return Request(
        row=config.prompt,
        prompt=config.prompt,
        index=index,
        seed=config.seed + index,
        negative_prompt=config.image.negative_prompt,
    )


def _write(out: Path, one: Sample) -> dict[str, Any]:
    name = f"{one.request.index:03d}"
    digest = None if one.image is None else write_png(out / f"{name}.png", one.image)
    latents = None
    if one.latents is not None:
        latents = f"{name}.safetensors"
        write_bytes(out / latents, safetensors.numpy.save({"latents": one.latents}))
    return {
        "index": one.request.index,
        "file": f"{name}.png" if digest else None,
        "prompt": one.request.prompt,
        "negative_prompt": one.request.negative_prompt,
        "seed": one.request.seed,
        "valid": one.valid,
        "sha256": digest,
        "latents": latents,
        **({"evidence": one.evidence} if one.evidence else {}),
    }


def _intact(out: Path, entry: Mapping[str, Any]) -> bool:
    if entry["file"] is None:
        return True
    try:
        if entry["latents"] is not None and not (out / entry["latents"]).is_file():
            return False
        return hashlib.sha256((out / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    except OSError:
        return False
