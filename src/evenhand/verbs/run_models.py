"""Several models in one table, each compared with the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_json
from ..metrics.two_sample import two_sample_differences
from ..records import Estimate
from ..watch import Watcher
from .audit import Audit, run_audit
from .models import PreparedModels

MODELS_SCHEMA = "evenhand.models/1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Models:
    """Finished audits of several models: their directory, and what its result.json says."""

    run: Path
    result: Mapping[str, Any]
    audits: tuple[Audit, ...]


def run_models(prepared: PreparedModels, watcher: Watcher) -> Models:
    """Carry out the audits one after the other; each is a run directory of its own, and continues where it stopped."""
    audits = []
    for name, one in zip(prepared.names, prepared.audits, strict=True):
        watcher.say(f"model {len(audits) + 1} of {len(prepared.audits)}: {name}")
        audits.append(run_audit(one, watcher))
    result = {
        "schema": MODELS_SCHEMA,
        "verb": "audit",
        "models": [_described(name, one, prepared.out) for name, one in zip(prepared.names, audits, strict=True)],
        "differences": [
            {"model": name, "base": prepared.names[0], **one.to_dict()}
            for name, audit in zip(prepared.names[1:], audits[1:], strict=True)
            for one in differences(audits[0].estimates, audit.estimates)
        ],
    }
    write_json(prepared.out / "result.json", result)
    return Models(run=prepared.out, result=result, audits=tuple(audits))


def differences(base: Sequence[Estimate], derivative: Sequence[Estimate]) -> list[Estimate]:
    """The two-sample differences of all figures of these prompts."""
    first, second = ([one for one in some if one.scope == "these"] for some in (base, derivative))
    return two_sample_differences(first, second)


def _described(name: str, done: Audit, out: Path) -> dict[str, Any]:
    over = [one.to_dict() for one in done.estimates if one.prompt is None]
    return {"name": name, "run": str(done.run.relative_to(out)), "judge": done.result["judge"], "estimates": over}
