"""What was fitted before, and fitting what was not: one store for every verb.

A fit is found by what decides it: method, parameters, the concept as it is defined, and the model's weights. Those for
Skewville ship; others lie in `$EVENHAND_CACHE`, else in the user's cache folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from ..concepts.concept import Concept
from ..concepts.library import load_concept
from ..concepts.prompts import PromptRow, load_prompts
from ..errors import InputError, ModelError
from ..files import slug
from ..host.host import Host
from ..host.memory import default_batch_size
from ..host.sampler import sample
from ..host.sites import Attachable
from ..interventions.storage import CARD, TENSORS, load_intervention, save_intervention
from ..judges.base import Differentiable, Featured, Judge, Seeing
from ..judges.load import load_judge
from ..methods.fitting import FitPlan, Fitted, Fitting, Labels
from ..methods.method import Setting
from ..methods.table import all_methods
from ..records import Request, Sample, content_hash
from ..skewville.paths import FITS_DIRECTORY
from ..watch import Watcher
from .cache import cache_directory
from .timings import keep_timing

DEFAULT_FIT_JUDGE = "openai/clip-vit-large-patch14"
"""The fit judge of models that name none (MIT licence); another one than the default report judge."""


class Fits:
    """The fits of one model.

    Args:
        host: the model.
        judge: name of the fit judge; None takes the model's own, else the default one.
        watcher: told of progress.

    Attributes:
        seen: everything that was obtained, in order.
    """

    def __init__(self, host: Host, judge: str | None, watcher: Watcher) -> None:
        self._host, self._watcher = host, watcher
        self._judge_name = judge or host.model_card.fit_judge or DEFAULT_FIT_JUDGE
        self._judge: Judge | None = None
        self._evaluations, self._seconds = 0, 0.0
        self.seen: list[Fitted] = []

    def obtain(self, plan: FitPlan) -> Fitted:
        """What a plan asks for: from the shipped fits, from the cache, or fitted now and stored there.

        Raises: DeclinedError when the method declines on this model; InputError for a plan that cannot be used.
        """
        stored = stored_fit(plan, self._host)
        if stored is not None:
            return self._kept(Fitted(*load_intervention(stored, self._host)))
        found = self.fit(plan)
        folder = cache_directory() / "fits" / fit_name(plan, self._host)
        save_intervention(folder, found.tensors, found.card)
        self.forget(plan)
        self._watcher.say(f"fitted {plan.method} on {self._host.name}, stored in {folder}")
        return self._kept(found)

    def fit(self, plan: FitPlan, seed: int = 0) -> Fitted:
        """Carry out a plan, whatever is stored; one that was interrupted goes on where it keeps its work."""
        method = all_methods()[plan.method]
        if method.fit is None:
            raise InputError(f"{plan.method} has nothing to fit; use it with --with {plan.method}")
        fitting = dataclasses.replace(self.fitting(seed), scratch=self._scratch(plan, seed))
        self._evaluations, self._seconds = 0, 0.0
        try:
            return method.fit(fitting, plan.values)
        finally:
            keep_timing(self._host.name, self._evaluations, self._seconds)

    def forget(self, plan: FitPlan, seed: int = 0) -> None:
        """Remove what a plan kept while it was carried out; to be called once its result is stored."""
        shutil.rmtree(self._scratch(plan, seed), ignore_errors=True)

    def _scratch(self, plan: FitPlan, seed: int) -> Path:
        """The folder of unfinished work; another number type or judge begins anew, since it would mix two models."""
        settings, judge = self._host.default_settings(), self.judge.hash
        key = content_hash({"dtype": self._host.card()["dtype"], "judge": judge, "settings": settings.to_dict()})
        return cache_directory() / "unfinished" / f"{fit_name(plan, self._host)}-{seed}-{key[:8]}"

    def _kept(self, found: Fitted) -> Fitted:
        self.seen.append(found)
        return found

    def fitting(self, seed: int) -> Fitting:
        """What a method is given: the model, its fit judge, and the means to make and read images."""
        card = self._host.model_card
        settings = self._host.default_settings()
        batch = min(32, default_batch_size(self._host, settings))

        def make(
            interventions: Sequence[Attachable], requests: Sequence[Request], /, steps: int | None = None
        ) -> list[Sample]:
            self._watcher.start("fitting", total=len(requests), done=0)
            made, asked = [], settings if steps is None else dataclasses.replace(settings, steps=steps)
            started, before = time.monotonic(), self._host.evaluations
            with self._host.attached(*interventions):
                for one in sample(self._host, requests, asked, batch_size=batch, keep_latents=True):
                    made.append(one)
                    self._watcher.advance()
            self._seconds += time.monotonic() - started
            self._evaluations += self._host.evaluations - before
            return made

        return Fitting(
            host=self._host,
            settings=settings,
            setting=Setting(guidance_text=card.guidance_text, seed=seed),
            make=make,
            read=self._read,
            knows=self._knows,
            rows=lambda concept: rows_of(concept, card.knows),
            judge_hash=self.judge.hash,
            watcher=self._watcher,
            features=self._features,
            texts=self._texts,
            logits=self.judge.class_logits if isinstance(self.judge, Differentiable) else None,
        )

    @property
    def judge(self) -> Judge:
        """The fit judge, loaded at its first use.

        Raises: InputError when it is the judge that makes the model's reports.
        """
        if self._judge_name == self._host.model_card.judge:
            raise InputError(
                f"judge {self._judge_name} makes the reports of {self._host.name} and is refused for fitting: "
                f"figures would be circular; use {self._host.model_card.fit_judge or 'another one'}"
            )
        if self._judge is None:
            self._judge = load_judge(self._judge_name, self._host.device)
        return self._judge

    def _read(self, samples: Sequence[Sample], concepts: Sequence[Concept]) -> Labels:
        rows = self.judge.judge([one.image for one in samples], list(concepts))
        return [tuple(verdict.label for verdict in row) for row in rows]

    def _features(self, samples: Sequence[Sample]) -> np.ndarray | None:
        judge = self.judge
        found = judge.image_features([one.image for one in samples]) if isinstance(judge, Seeing) else [None]
        known = [one for one in found if one is not None]
        if not known:
            return None
        blank = torch.zeros_like(known[0])  # of an image that is none: like nothing
        return torch.stack([blank if one is None else one for one in found]).numpy()

    def _texts(self, texts: Sequence[str]) -> np.ndarray | None:
        return self.judge.text_features(texts).numpy() if isinstance(self.judge, Featured) else None

    def _knows(self, concept: Concept) -> bool:
        return self.judge.knows(concept)


def rows_of(concept: Concept, knows: Mapping[str, Sequence[str]]) -> tuple[PromptRow, ...]:
    """The rows of a concept's prompt set that a model knows; empty where it names no set."""
    if concept.prompts is None:
        return ()
    prompts = load_prompts(concept.prompts)
    known = knows.get(prompts.name)
    return tuple(row for row in prompts.rows if known is None or row.name in known)


def fit_name(plan: FitPlan, host: Host) -> str:
    """The folder of a plan on a model: readable, and unique by everything that decides it."""
    about = plan.values.get("concept") or plan.values.get("present") or ""
    concept = load_concept(plan.values["concept"]).to_dict() if plan.values.get("concept") else None
    if concept is not None:
        concept.pop("target")  # which class an image shows is decided at use
    decisive = {"method": plan.method, "values": dict(plan.values), "concept": concept, "model": host.weights_hash}
    key = content_hash(decisive | _files(plan.values))
    return f"{plan.method}-{slug(Path(about).stem)}-{key[:12]}"


def _files(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hashes of the prompt files that a plan names: an edited file is another plan. Empty without any."""
    paths = {name: Path(str(values.get(name) or "").rpartition(":")[2]) for name in ("prompts", "others")}
    found = {name: hashlib.sha256(one.read_bytes()).hexdigest() for name, one in paths.items() if one.is_file()}
    return {"files": found} if found else {}


def stored_fit(plan: FitPlan, host: Host) -> Path | None:
    """The folder of what a plan asks for, among the shipped fits or in the cache; None where it was never fitted."""
    name = fit_name(plan, host)
    folders = (FITS_DIRECTORY / name, cache_directory() / "fits" / name)
    return next((folder for folder in folders if (folder / CARD).is_file()), None)


def tensors_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes and values, 64 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_saved(name: str, host: Host) -> tuple[Fitted, ...]:
    """Saved interventions by their folder or Hub id; a folder of folders holds those of a joint concept.

    Raises: InputError when there is none; ModelError when it was fitted on another model, or the Hub refuses.
    """
    path = Path(name)
    if not path.is_dir():
        if name.startswith((".", "/")) or name.count("/") != 1:
            raise InputError(f"--with {name}: no such folder; give the folder that `evenhand fit` wrote")
        try:
            path = Path(snapshot_download(name, allow_patterns=[CARD, TENSORS, f"*/{CARD}", f"*/{TENSORS}"]))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise ModelError(f"--with {name}: neither a folder nor on the Hub ({first})") from None
    several = sorted(card.parent for card in path.glob(f"*/{CARD}"))
    folders = several if several and not (path / CARD).is_file() else [path]
    return tuple(Fitted(*load_intervention(folder, host)) for folder in folders)
