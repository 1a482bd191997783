"""Where the images of a run are made: here, or by workers that load the same model elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ..concepts.concept import Concept
from ..engine import Engine, Local
from ..engine.ray_actors import RayActors, Share
from ..errors import ModelError
from ..host.host import Host
from ..judges.load import load_judge
from ..judges.panel import PanelJudge
from ..records import Settings
from ..store import Finished, RunDirectory, WorkUnit
from ..watch import Watcher
from .arm import Arm
from .config import ModelOptions
from .model import open_model
from .sources import ModelSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a worker needs to make and judge images as this process would.

    Args:
        source: the model's name, which must mean the same on every machine.
        options: how it is loaded.
        asked: what `asked_settings` gave.
        settings: how images are made.
        facts: of the run: batch size, dtype, threads and the hash of the weights are those of every worker.
        judges: names; several are a panel.
        arms: with their fitted tensors, so that no worker fits or looks anything up.
    """

    source: str
    options: ModelOptions
    asked: Mapping[str, Any]
    settings: Settings
    facts: Mapping[str, Any]
    judges: tuple[str, ...]
    arms: tuple[Arm, ...]

    def __call__(self) -> ModelWorker:
        """The worker, loaded. Raises: ModelError when the model of that name is another one here."""
        return ModelWorker(self)


class ModelWorker:
    """A model and a judge that carry out units."""

    def __init__(self, recipe: Recipe) -> None:
        facts, options = dict(recipe.facts), recipe.options
        if _on_gpu(facts):  # the one that was given to this process is its first
            facts["device"], options = "cuda:0", dataclasses.replace(options, device="cuda")
        model = open_model(recipe.source, options, recipe.asked, facts)
        if model.host.weights_hash != facts["model"]["hash"]:
            raise ModelError(
                f"{recipe.source} on a worker is another model than here: give --revision, or copy it there"
            )
        judges = [load_judge(name, model.host.device) for name in recipe.judges]
        self._host, self._settings = model.host, recipe.settings
        self._judge = judges[0] if len(judges) == 1 else PanelJudge(judges)
        self._arms = {arm.name: arm for arm in recipe.arms}

    def finish(self, unit: WorkUnit, concepts: Sequence[Concept]) -> Finished:
        """Make and judge the images of a unit."""
        source = ModelSource(self._host, self._settings, self._judge, self._arms[unit.arm])
        (done,) = Local(source).run([unit], concepts)
        return done


@contextlib.contextmanager
def workers(recipe: Recipe, run: RunDirectory, host: Host, watcher: Watcher) -> Iterator[Engine]:
    """Workers of a Ray cluster, one per GPU, or one per so many cores as the run has threads.

    Args:
        recipe: what they load; its facts are those of `run`.
        run: an open run directory.
        host: the model of this process, which leaves its GPU to a worker.
        watcher: told of workers that died.

    Raises: InputError when Ray is not installed or has no room; ModelError from a worker.
    """
    gpu = _on_gpu(run.facts)
    if gpu:
        host.pipe.to("cpu")
        torch.cuda.empty_cache()
    share = Share(cpus=1, gpus=1) if gpu else Share(cpus=int(run.facts["threads"]))
    with RayActors(dataclasses.replace(recipe, facts=run.facts), share, watcher) as engine:
        yield engine


def _on_gpu(facts: Mapping[str, Any]) -> bool:
    return str(facts["device"]).startswith("cuda")
