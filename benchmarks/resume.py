"""What a million finished images cost a run that goes on: the time to its first new image, against an empty run.

    python benchmarks/resume.py --images 1000000

Rows are made beforehand, and a name for each picture: links to a few files, since names are all that is looked at.
Aim: at most 10 s more.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from interleaved import say

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.records import Request, Sample, Settings, Verdict
from evenhand.store import Encoded, Finished, RunDirectory, units_of
from evenhand.store.images import name_of
from evenhand.verbs.observe import keys_of, observe
from evenhand.verbs.series import Series
from evenhand.watch import Silent

FACTS = {"model": {"hash": "m"}, "batch_size": 64, "dtype": "float32", "threads": 1, "device": "cpu"}
PER_ROW, FRESH, LINKS = 1_000, 64, 50_000


class Reached(Exception):
    """The first new image would be made now."""


class Stopping:
    """A source that is not meant to make anything."""

    judge_hash, evaluations = "judge", 0

    def samples(self, requests: Sequence[Request], batch_size: int) -> Iterator[Sample]:
        raise Reached
        yield

    def judge(self, samples: Sequence[Sample], concepts: Sequence[Concept]) -> Any:
        raise AssertionError("everything is judged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the run is made; else a temporary one")
    options = parser.parse_args()
    rows = [f"prompt {k:05d}" for k in range(-(-(options.images + FRESH) // PER_ROW))]
    pairs = [(row, index) for row in rows for index in range(PER_ROW)][: options.images + FRESH]
    requests = tuple(
        Request(row=row, prompt=f"a photo of {row}, as long as usual", index=index, seed=seed)
        for seed, (row, index) in enumerate(pairs)
    )
    series = Series(name="bench", rows=tuple(rows), concepts=(load_concept("gender"),), requests=requests)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        started = time.monotonic()
        fill(folder / "full", series, options.images)
        size = os.path.getsize(folder / "full/ledger.sqlite")
        say(f"made {options.images:,} images in {time.monotonic() - started:.0f} s; ledger {size / 2**20:.0f} MiB")
        for number in range(options.rounds):
            empty = to_first_image(folder / f"empty-{number}", series)
            full = to_first_image(folder / "full", series)
            for name, one, other in zip(("elapsed", "of the CPU"), empty, full, strict=True):
                say(f"to the first new image, s {name}: empty run {one:.1f}, resumed {other:.1f}, {other - one:+.1f}")
        say(f"peak memory of both: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    finally:
        shutil.rmtree(folder)


def to_first_image(path: Path, series: Series) -> tuple[float, float]:
    """Seconds, elapsed and of the CPU, from opening a run until its source is asked for an image."""
    started, busy = time.monotonic(), time.process_time()
    with RunDirectory.open(path, config={}, facts=FACTS) as run:
        try:
            observe(Stopping(), run, series, Settings(), Silent())
        except Reached:
            return time.monotonic() - started, time.process_time() - busy
    raise AssertionError("nothing was missing")


def fill(path: Path, series: Series, images: int) -> None:
    """A run with so many images, each with a name of its own."""
    verdict = (Verdict(concept="gender", label="female", probabilities=(0.97, 0.03), judge="clip"),)
    with RunDirectory.open(path, config={}, facts=FACTS) as run:
        for number in range(256):
            (path / "images" / f"{number:02x}").mkdir(parents=True)
        keys = list(keys_of(run.facts, series, Settings(), None).items())[:images]
        missing = [(place, key, request) for place, (key, request) in enumerate(keys)]
        for unit in units_of(missing, prompt_set=series.name, arm=None, batch_size=10_000):
            some = []
            for request in unit.requests:
                name = hashlib.sha256(f"picture {request.seed}".encode()).hexdigest()
                some.append(Encoded(data=b"", sha256=name))
                base = path / f"base-{request.seed // LINKS}"
                base.touch()
                os.link(base, path / name_of(name))
            done = Finished(unit=unit, images=tuple(some), verdicts=(verdict,) * len(some), judge="judge")
            run._ledger.commit(done, [(0, 0)] * len(some))


if __name__ == "__main__":
    main()
