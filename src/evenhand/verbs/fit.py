"""Fit: learn an intervention on a model and save it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..concepts.target import parse_target
from ..errors import InputError, RunDirectoryError
from ..files import slug, write_bytes
from ..host.card import ModelCard
from ..interventions.storage import CARD, save_intervention
from ..interventions.weight_delta import save_lora
from ..methods.fitting import FitPlan
from ..methods.method import Setting
from ..methods.spec import parse_spec
from ..methods.table import all_methods, method_of
from ..store import check_writable
from ..watch import Silent, Watcher
from .config import ModelOptions
from .defaults import check_model, read_card
from .fits import Fits
from .lora import check_lora, with_lora
from .model import open_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What is fitted.

    Args:
        method: a SPEC, `method[:key=value,...]`.
        source: the model.
        judge: name of the fit judge; None takes the model's own. The model's report judge is refused.
        seed: of the run; seeds of the roles `fit` and `calibrate` follow from it.
        model: how the model is loaded.
        targets: wanted shares as typed, "gender=female:0.5,male:0.5", for a method that learns them.
        out: folder to write; None means `fits/<method>-<concept>`.
    """

    method: str
    source: str
    judge: str | None = None
    seed: int = 0
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    targets: tuple[str, ...] = ()
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected a whole number of 0 or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """What was saved, by folder; the card of each."""

    out: Path
    cards: Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedFit:
    """A fit that was checked as far as it can be before a model is loaded."""

    config: FitConfig
    card: ModelCard
    setting: Setting
    plans: tuple[FitPlan, ...]
    out: Path


def prepare_fit(config: FitConfig) -> PreparedFit:
    """Check a fit and work out what it will do; creates nothing.

    Raises: InputError (or a subclass) for anything about the request that cannot be used.
    """
    config = with_lora(config)
    check_model(config.source)
    check_lora(config.source, config.model.lora)
    card = read_card(config.source)
    spec = parse_spec(config.method)
    if spec.path is not None:
        raise InputError(f"{config.method} is saved already; name a method: {', '.join(_fitted_methods())}")
    method, values = method_of(spec)
    setting = Setting(guidance_text=card.guidance_text, seed=config.seed)
    if config.targets:
        concept = setting.concept(values.get("concept") or "")
        parsed = dict(parse_target(text, [concept]) for text in config.targets)
        targets = {name: dict(zip(concept.class_names, shares, strict=True)) for name, shares in parsed.items()}
        setting = dataclasses.replace(setting, targets=targets)
    plans = tuple(method.plans(setting, values))
    if not plans:
        raise InputError(
            f"{method.name} has nothing to fit, use it with --with {method.name}; "
            f"methods that are fitted: {', '.join(_fitted_methods())}"
        )
    if config.targets and not any("target" in plan.values for plan in plans):
        raise InputError(f"--target {config.targets[0]}: {method.name} takes its target when it is used, not in a fit")
    out = config.out or Path("fits") / slug(f"{method.name}-{_about(plans[0].values)}")
    check_writable(out)
    if out.is_dir() and any(out.iterdir()) and not any(out.rglob(CARD)):
        raise RunDirectoryError(f"{out} is not empty and holds no saved intervention: choose another --out")
    return PreparedFit(config=config, card=card, setting=setting, plans=plans, out=out)


def fit(config: FitConfig, watcher: Watcher | None = None) -> Fit:
    """Fit a method on a model and save what was learnt, safetensors and a card, for `--with FOLDER`.

    A method that needs several fits (a joint concept) writes one folder for each inside `out`. What changes weights is
    saved as a LoRA file too, which `load_lora_weights` takes.

    Raises: InputError (or a subclass) before anything is written; DeclinedError when the method declines on this model.
    Cost: see the method.
    """
    watcher = watcher or Silent()
    prepared = prepare_fit(config)
    config = prepared.config
    plans, out = prepared.plans, prepared.out
    model = open_model(config.source, config.model, {"scheduler": None})
    fits = Fits(model.host, config.judge, watcher)
    saved: dict[str, Mapping[str, Any]] = {}
    for plan in plans:
        found = fits.fit(plan, config.seed)
        folder = out if len(plans) == 1 else out / slug(_about(plan.values))
        save_intervention(folder, found.tensors, found.card)
        if found.card.site == "weight":
            save_lora(folder, found.tensors, model.host.family.denoiser)
        for name, data in found.files.items():
            write_bytes(folder / name, data)
        fits.forget(plan, config.seed)
        saved[str(folder)] = found.card.to_dict()
    return Fit(out=out, cards=saved)


def _about(values: Mapping[str, Any]) -> str:
    return Path(str(values.get("concept") or values.get("present") or "")).stem


def _fitted_methods() -> list[str]:
    return [name for name, method in all_methods().items() if method.fit is not None]
