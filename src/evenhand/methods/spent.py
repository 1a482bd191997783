"""What a fit has cost so far, over all the runs that it took."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from evenhand.files import read_json, write_json
from evenhand.host.host import Host
from evenhand.host.sites import Attachable
from evenhand.methods.fitting import Fitting
from evenhand.records import Request, Sample

_FILE = "spent.json"
_ALL = "all"


class Spent:
    """Denoiser evaluations of a fit, kept on the disk so that a run that goes on counts those before it too.

    Work that an interruption threw away and a later run made again counts twice: it was spent.

    Args:
        host: counts the evaluations of this run.
        folder: of the fit, which outlives the run.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self._host, self._file, self._began = host, folder / _FILE, host.evaluations
        stored = read_json(self._file) if self._file.is_file() else {}
        self._earlier, self._marks = int(stored.pop(_ALL, 0)), {name: int(some) for name, some in stored.items()}

    @property
    def total(self) -> int:
        """Evaluations of all runs."""
        return self._earlier + self._host.evaluations - self._began

    def keep(self) -> None:
        """Write the total down: what was evaluated since then is not counted if the run is killed."""
        write_json(self._file, {_ALL: self.total, **self._marks})

    def until(self, name: str) -> int:
        """The total when this was asked for the first time, in whichever run that was."""
        self._marks.setdefault(name, self.total)
        self.keep()
        return self._marks[name]

    def counting(self, fitting: Fitting) -> Fitting:
        """The same, and the total is kept whenever images were made."""

        def make(
            interventions: Sequence[Attachable], requests: Sequence[Request], /, steps: int | None = None
        ) -> list[Sample]:
            samples = fitting.make(interventions, requests, steps)
            self.keep()
            return samples

        return dataclasses.replace(fitting, make=make)
