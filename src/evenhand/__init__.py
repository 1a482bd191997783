"""Evenhand measures and corrects the bias and the unsafe content of text-to-image diffusion models.

    from evenhand import AuditConfig, Question, audit

    done = audit(AuditConfig(source="skewville", question=Question(concepts=("gender",))))

Names are imported on first use: `import evenhand` alone needs neither torch nor diffusers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .concepts.concept import Concept
    from .concepts.library import load_concept
    from .concepts.prompts import load_prompts
    from .errors import EvenhandError, InputError
    from .host.host import Host
    from .host.load import load_pipeline
    from .host.sampler import sample
    from .judges.load import load_judge
    from .records import Cost, Estimate, Request, Sample, Settings, Verdict
    from .report.build import write_report
    from .verbs.attack import attack
    from .verbs.audit import audit
    from .verbs.compare import compare
    from .verbs.config import AttackConfig, AuditConfig, Effort, GenerateConfig, ImageOptions, ModelOptions, Question
    from .verbs.fit import FitConfig, fit
    from .verbs.generate import generate

_HOMES = {
    "AttackConfig": "verbs.config",
    "AuditConfig": "verbs.config",
    "Concept": "concepts.concept",
    "Cost": "records",
    "Effort": "verbs.config",
    "Estimate": "records",
    "EvenhandError": "errors",
    "FitConfig": "verbs.fit",
    "GenerateConfig": "verbs.config",
    "Host": "host.host",
    "ImageOptions": "verbs.config",
    "InputError": "errors",
    "ModelOptions": "verbs.config",
    "Question": "verbs.config",
    "Request": "records",
    "Sample": "records",
    "Settings": "records",
    "Verdict": "records",
    "attack": "verbs.attack",
    "audit": "verbs.audit",
    "compare": "verbs.compare",
    "fit": "verbs.fit",
    "generate": "verbs.generate",
    "load_concept": "concepts.library",
    "load_judge": "judges.load",
    "load_pipeline": "host.load",
    "load_prompts": "concepts.prompts",
    "sample": "host.sampler",
    "write_report": "report.build",
}

__all__ = [
    "AttackConfig",
    "AuditConfig",
    "Concept",
    "Cost",
    "Effort",
    "Estimate",
    "EvenhandError",
    "FitConfig",
    "GenerateConfig",
    "Host",
    "ImageOptions",
    "InputError",
    "ModelOptions",
    "Question",
    "Request",
    "Sample",
    "Settings",
    "Verdict",
    "attack",
    "audit",
    "compare",
    "fit",
    "generate",
    "load_concept",
    "load_judge",
    "load_pipeline",
    "load_prompts",
    "sample",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes as long as all the rest of this import

        return version("evenhand")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
