"""One run on disk: ledger and images together, and the lock that keeps a second process out.

An image is committed when its row is there. Its file is on the disk before, under a name that its bytes give; so a kill
at any moment leaves whole files, and rows of whole units. What a unit cost is committed with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock
import numpy as np

from ..errors import RunDirectoryError, StorageError
from ..files import write_json
from ..records import Sample, Verdict
from .facts import check_out, lock_run, new_run
from .images import ImageFiles, encode
from .ledger import Ledger
from .units import Finished, WorkUnit

LOOKED_AT = 100_000
"""Up to this many images each file's size and time of change are compared on opening; above, whether it is there."""


class RunDirectory:
    """One run on disk; use it in a `with` block, which holds the lock that keeps a second process out.

    Attributes:
        path: the directory.
        facts: what its run.json says.
        quarantined: the units that could not be made in this session; the next one tries them again.
    """

    def __init__(self, path: Path, facts: dict[str, Any], lock: filelock.BaseFileLock) -> None:
        self.path = path
        self.facts = facts
        self.quarantined: list[dict[str, Any]] = []
        self._aside: set[str] = set()
        self._lock = lock
        self._files = ImageFiles(path)
        self._ledger = Ledger(path, write=True)
        try:
            self._recover()
        except BaseException:
            self._ledger.close()
            raise

    @classmethod
    def open(cls, path: Path, *, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Self:
        """Create the run directory `path`, or continue it.

        Args:
            path: the directory; parents are made as needed.
            config: what was asked; a directory of another configuration is refused.
            facts: what run.json holds beside it: verb, command, model, judge, batch_size, dtype, threads.

        Raises: RunDirectoryError as `check_out` does, when another process is at work in it, or when it was begun
            with another model than `facts` names.
        Cost: a few microseconds for each committed image.
        """
        known = check_out(path, config)
        lock = lock_run(path)
        try:
            if known is None:
                known = new_run(config, facts)
                write_json(path / "run.json", known)
            elif _model_hash(known) != _model_hash(facts):
                raise RunDirectoryError(f"{path} was begun with another model of the same name: choose another --out")
            elif (known.get("fits") or {}) != (facts.get("fits") or {}):
                raise RunDirectoryError(f"{path} was begun with other fits of the same names: choose another --out")
            return cls(path, known, lock)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._ledger.close()
        self._lock.release()

    @property
    def invalid(self) -> int:
        """Committed images that the model gave as no numbers; those that an endpoint refused are no such images."""
        return self._ledger.invalid

    def done(self) -> dict[str, dict[str, Any]]:
        """The committed images by key, as plain dicts. Cost: all of them in memory."""
        return {line["key"]: line for line in self._ledger.lines()}

    def line(self, key: str) -> dict[str, Any]:
        """One committed image as a plain dict. Raises: KeyError when it is not committed."""
        return self._ledger.line(key)

    def file(self, key: str) -> str | None:
        """Where an image lies in the run, None for one that is no image. Raises: KeyError when it is not known."""
        return None if key in self._aside else self.line(key)["file"]

    def missing(self, keys: Sequence[str]) -> list[int]:
        """The positions in `keys` of images that are not committed."""
        return self._ledger.missing(keys)

    def unjudged(self, keys: Sequence[str], judge: str) -> list[int]:
        """The positions in `keys` of committed images without a verdict of the judge with the hash `judge`."""
        return self._ledger.unjudged(keys, judge)

    def verdicts(self, judge: str, keys: Sequence[str] | None = None) -> dict[str, tuple[Verdict, ...]]:
        """The stored verdicts of the judge with the hash `judge`, by key; of all images, or of those named."""
        return self._ledger.verdicts(judge, keys)

    def image(self, key: str) -> np.ndarray | None:
        """The committed image as uint8 (height, width, 3), None where the model made none or its unit was set aside.

        Raises: StorageError when its file is missing or has changed; it is forgotten then, and made again by the same
            command.
        """
        sha256 = None if key in self._aside else self.line(key)["sha256"]
        if sha256 is None:
            return None
        image = self._files.read(sha256)
        if image is None:
            self._ledger.drop([sha256])
            raise StorageError(
                f"{self.path}: the file of an image is missing or damaged; run the same command again, it is made anew"
            )
        return image

    def set_aside(self, unit: WorkUnit, facts: dict[str, Any]) -> None:
        """Note a unit that could not be made; nothing is stored, so that the next session tries it again."""
        self._aside.update(unit.keys)
        self.quarantined.append(facts)

    def commit_unit(self, done: Finished) -> None:
        """Store a unit, whole or not at all: its images, then images, verdicts and costs in one transaction.

        Raises: StorageError when the disk fails; what was committed before stays.
        """
        self._files.write(done.images)
        self._ledger.commit(done, self._files.marks([one.sha256 for one in done.images]))

    def commit(self, key: str, sample: Sample, *, prompt_set: str, arm: str | None = None, place: int = 0) -> None:
        """Store one image that is not judged yet; `place` is its position in its series."""
        unit = WorkUnit(
            keys=(key,), requests=(sample.request,), places=(place,), prompt_set=prompt_set, arm=arm, batch_size=1
        )
        self.commit_unit(Finished(unit=unit, images=(encode(sample),)))

    def commit_verdicts(self, judge: str, verdicts: Mapping[str, Sequence[Verdict]]) -> None:
        """Store the verdicts of the judge with the hash `judge` on some images, by key."""
        self._ledger.commit_verdicts(judge, verdicts)

    def costs(self, arm: str | None = None) -> tuple[int, float]:
        """Denoiser evaluations and seconds of all sessions so far; with `arm` those of one arm, "" is the plain one."""
        return self._ledger.costs(arm)

    @property
    def paid(self) -> float:
        """What an endpoint took for images that are not in the run: damaged ones, and those that were lost."""
        return self._ledger.paid

    def pay(self, amount: float) -> None:
        """Keep the price of an image that was paid and lost."""
        self._ledger.pay(amount)

    def spend(self, evaluations: int, seconds: float, arm: str | None = None) -> None:
        """Add to the costs of an arm, None being the plain one."""
        self._ledger.spend(evaluations, seconds, arm)

    def _recover(self) -> None:
        """Drop the rows of images whose files are missing or have changed, with every verdict on them."""
        present = self._files.present()
        lost = {sha256 for sha256, _, _ in self._ledger.files() if sha256 not in present}
        if len(present) <= LOOKED_AT:
            lost |= self._changed(lost)
        if lost:
            self._ledger.drop(lost)

    def _changed(self, lost: Set[str]) -> set[str]:
        """Files that hold something else now; those that were only touched, or copied, are marked anew."""
        known = {sha256: (size, changed) for sha256, size, changed in self._ledger.files() if sha256 not in lost}
        marks = dict(zip(known, self._files.marks(list(known)), strict=True))
        moved = {one for one, mark in marks.items() if mark != known[one]}
        whole = {one for one in moved if self._files.same(one)}
        if whole:
            self._ledger.mark({one: marks[one] for one in whole})
        return moved - whole


def _model_hash(facts: Mapping[str, Any]) -> str | None:
    return (facts.get("model") or {}).get("hash")
