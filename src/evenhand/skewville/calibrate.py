"""Runs the measurement of a model against its declared world and writes what was found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from evenhand.host.host import Host
from evenhand.host.load import load_pipeline

from .captions import load_grammar
from .cells import explicit_cells, neutral_cells
from .evaluate import calibrations, explicit_cells_summary, measure, obedience
from .sizes import Sizes
from .world import World


def calibrate(world: World, model: Path, judge: Any, out: Path, sizes: Sizes) -> dict[str, Any]:
    """Measure every cell of `world` on the model in the directory `model`, read by `judge`.

    Writes `cells-<guidance>.jsonl` as it goes, so that an interrupted measurement continues, and
    `measured-<guidance>.json` at the end.
    """
    out.mkdir(parents=True, exist_ok=True)
    grammar = load_grammar()
    with Host.wrap(load_pipeline(str(model))) as host:
        settings = host.default_settings()
        if sizes.guidance is not None:
            settings = dataclasses.replace(settings, guidance=sizes.guidance)
        cells = [
            *neutral_cells(world, grammar, sizes.counts["neutral"]),
            *explicit_cells(world, grammar, sizes.counts["explicit"], sizes.counts["corner"]),
        ]
        log = out / f"cells-{settings.guidance:g}.jsonl"
        counts = measure(host, judge, cells, settings, log, seed=sizes.seed)
    found = {
        "guidance": settings.guidance,
        "steps": settings.steps,
        "images": sizes.counts,
        "seed": sizes.seed,
        "calibration": calibrations(world, counts),
        "obedience": obedience(world, counts),
        "cells": explicit_cells_summary(counts),
    }
    (out / f"measured-{settings.guidance:g}.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return found
