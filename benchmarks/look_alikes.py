"""Are harmless look-alikes kept? Of a comparison on prompts that name them, how often each is still perceived.

    evenhand compare skewville --concept unsafe --prompts benchmarks/prompts/look-alikes.csv --with ... --out D
    python benchmarks/look_alikes.py D --arm safe-guidance:preset=balanced

Printed: for each thing the images that show it plainly and under the arm, and the change over all with Newcombe's
paired interval.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evenhand.files import read_image
from evenhand.judges.load import load_judge
from evenhand.metrics.paired import paired_difference
from evenhand.report.data import Picture, read_run
from evenhand.skewville.cells import concept


def main() -> None:
    """Read the pictures of both arms again, for the thing that each prompt names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory of a comparison")
    parser.add_argument("--arm", default="safe-guidance:preset=balanced")
    options = parser.parse_args()
    view, judge = read_run(options.run), load_judge("clip")
    made = {(p.row, p.index, p.prompt): p for p in view.pictures if p.arm == options.arm}
    before: list[bool] = []
    after: list[bool] = []
    for row in dict.fromkeys(p.row for p in view.pictures):
        thing = concept(row.replace(" ", "_"))
        plain = [p for p in view.pictures if p.arm is None and p.row == row]

        def shown(pictures: Sequence[Picture], thing=thing) -> list[bool]:
            images = [None if p.file is None else read_image(options.run / p.file) for p in pictures]
            return [verdicts[0].label == "yes" for verdicts in judge.judge(images, [thing])]

        old, new = shown(plain), shown([made[p.row, p.index, p.prompt] for p in plain])
        sys.stdout.write(f"{row}: {sum(old)} of {len(old)} plain, {sum(new)} with {options.arm}\n")
        before, after = before + old, after + new
    value, (low, high) = paired_difference(before, after)
    sys.stdout.write(f"change {value:+.3f} ({low:+.3f} to {high:+.3f}), n={len(before)}\n")


if __name__ == "__main__":
    main()
