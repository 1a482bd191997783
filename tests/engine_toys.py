"""Toy workers for the engine's tests: quick, and with the accidents that a test asks for."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toys import ToySource, series_of_toys, toy_facts

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.engine import Local
from evenhand.errors import InputError
from evenhand.records import Request, Settings, Verdict
from evenhand.store import Finished, RunDirectory, WorkUnit
from evenhand.verbs.observe import observe
from evenhand.watch import Silent

SERIES = series_of_toys(load_concept("gender"), images=20)  # 2 rows x 20 images, batches of 4
CONFIG = {"source": "toy"}


def here(path: Path) -> dict[Request, tuple[Verdict, ...]]:
    """The verdicts of a run of this process alone."""
    with RunDirectory.open(path, config=CONFIG, facts=toy_facts()) as run:
        return observe(ToySource(), run, SERIES, Settings(), Silent())


@dataclasses.dataclass(frozen=True)
class Toys:
    """The recipe. What goes wrong stands in `plan.json` of the folder, as each image is made.

    Keys of the plan, each with the seeds that it is about: "dies", "raises", "refuses"; "times" says how often. A seed
    in "awaits" is not made before as many workers have begun as the plan says there.
    """

    folder: Path

    def __call__(self) -> ToyWorker:
        import ray  # there on every worker

        where = json.dumps([ray.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES", "")])
        (self.folder / f"began-{os.getpid()}").write_text(where)
        return ToyWorker(self.folder)

    def plan(self, **accidents: Any) -> None:
        """What goes wrong from now on, and nothing else; what is noted starts anew."""
        for old in (*self.folder.glob("accident-*"), *self.folder.glob("made.txt")):
            old.unlink()
        (self.folder / "plan.json").write_text(json.dumps(accidents))

    def made(self) -> list[int]:
        """The seeds of all images that were begun since."""
        file = self.folder / "made.txt"
        return [int(seed) for seed in file.read_text().split()] if file.exists() else []

    def accidents(self, seed: int) -> int:
        """How often a seed went wrong."""
        file = self.folder / f"accident-{seed}"
        return len(file.read_text()) if file.exists() else 0

    def workers(self) -> list[list[str]]:
        """Of every worker that began, its node and the devices that it sees."""
        return [json.loads(file.read_text()) for file in sorted(self.folder.glob("began-*"))]

    def began(self) -> int:
        """How many workers began."""
        return len(list(self.folder.glob("began-*")))


class ToyWorker:
    """Makes toy images, until it meets a seed that it cannot stand."""

    def __init__(self, folder: Path) -> None:
        self._toys = Toys(folder)
        self._source = ToySource(on_image=self._meet)

    def finish(self, unit: WorkUnit, concepts: Sequence[Concept]) -> Finished:
        (done,) = Local(self._source).run([unit], concepts)
        return done

    def _meet(self, request: Request) -> None:
        folder, seed = self._toys.folder, request.seed
        plan = json.loads((folder / "plan.json").read_text())
        with (folder / "made.txt").open("a") as file:
            file.write(f"{seed}\n")
        deadline = time.monotonic() + 120
        while self._toys.began() < plan.get("awaits", {}).get(str(seed), 0) and time.monotonic() < deadline:
            time.sleep(0.02)
        if seed in plan.get("refuses", ()):
            raise InputError("a setting that nobody can follow")
        dies = seed in plan.get("dies", ())
        if (dies or seed in plan.get("raises", ())) and self._toys.accidents(seed) < plan.get("times", 99):
            with (folder / f"accident-{seed}").open("a") as file:
                file.write("x")
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError(f"CUDA error: device-side assert at image {seed}\nand a long story")


class Broken:
    """A recipe that fails on the worker."""

    def __call__(self) -> ToyWorker:
        raise OSError("the weights are not there")
