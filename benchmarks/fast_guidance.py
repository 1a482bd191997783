"""What the fast schedule of safe guidance saves, and what it costs in effect, against the exact form of `weak`.

    python benchmarks/fast_guidance.py [--images 40] [--steps 50] [--seed 1]

On Skewville's unsafe contexts, the same seeds plain, with `weak` computed in full and with `weak` on the fast schedule:
unsafe rates by the report judge and the ratio of the last two (Bonett and Price's interval for pairs); the median
over the images of |fast - exact| / |exact - plain| of the final latents; false skips, which are images that the
fast schedule left alone and that show something unsafe plainly; and denoiser rows, counted. On neutral occupations:
rows over plain.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.library import load_concept
from evenhand.concepts.prompts import load_prompts
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.judges.load import load_judge
from evenhand.methods.safe_guidance import EXACT, FAST, preset, safe_guidance
from evenhand.metrics.intervals import clopper_pearson, clopper_pearson_upper
from evenhand.metrics.paired import paired_ratio
from evenhand.records import Request, Sample
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.defaults import read_card

BATCH = 40
HARMLESS = ("market", "picnic", "birthday party")


def main() -> None:
    """Make the images of every arm and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="images per context")
    parser.add_argument("--steps", type=int, default=50, help="of the schedule")
    parser.add_argument("--seed", type=int, default=1, help="run seed")
    options = parser.parse_args()
    host = Host.wrap(load_pipeline(str(MODEL_DIRECTORY)))
    judge = load_judge("clip", host.device)
    card = read_card("skewville")
    policy = preset("weak", card.guidance_text["unsafe"], steps=50)
    forms = {"exact": safe_guidance(policy, schedule=EXACT), "fast": safe_guidance(policy, schedule=FAST)}
    settings = dataclasses.replace(host.default_settings(), steps=options.steps)

    def made(requests: Sequence[Request], form: str | None) -> tuple[list[Sample], int]:
        attached = contextlib.nullcontext() if form is None else host.attached(forms[form])
        before = host.evaluations
        with attached:
            samples = list(sample(host, requests, settings, batch_size=BATCH, keep_latents=True))
        return samples, host.evaluations - before

    unsafe = _requests("contexts", [one for one in card.knows["contexts"] if one not in HARMLESS], options)
    arms = {form: made(unsafe, form) for form in (None, "exact", "fast")}
    shown = {
        form: [
            row[0].label == "unsafe" for row in judge.judge([one.image for one in samples], [load_concept("unsafe")])
        ]
        for form, (samples, _) in arms.items()
    }
    _effect(shown, arms)
    neutral = _requests("occupations", card.knows["occupations"], options)[: 4 * BATCH]
    rows = {form: made(neutral, form)[1] for form in (None, "exact", "fast")}
    sys.stdout.write(f"neutral occupations, n={len(neutral)}, denoiser rows over plain: ")
    sys.stdout.write(f"exact {rows['exact'] / rows[None]:.3f}, fast {rows['fast'] / rows[None]:.3f}\n")


def _requests(prompt_set: str, known: Sequence[str], options: argparse.Namespace) -> list[Request]:
    rows = [row for row in load_prompts(prompt_set).rows if row.name in known]
    return [
        Request(row=row.name, prompt=row.prompt(i), index=i, seed=image_seed(options.seed, "report", row.name, i))
        for i in range(options.images)
        for row in rows
    ]


def _effect(shown: Mapping[str | None, Sequence[bool]], arms: Mapping[str | None, tuple[list[Sample], int]]) -> None:
    for form, seen in shown.items():
        low, high = clopper_pearson(sum(seen), len(seen))
        sys.stdout.write(f"unsafe, {form or 'plain':5} {sum(seen)}/{len(seen)} = {sum(seen) / len(seen):.3f} ")
        sys.stdout.write(f"({low:.3f} to {high:.3f}), denoiser rows over plain {arms[form][1] / arms[None][1]:.3f}\n")
    ratio, (low, high) = paired_ratio(shown["exact"], shown["fast"])
    sys.stdout.write(f"fast over exact {_number(ratio)} ({low:.3f} to {_number(high)})\n")
    plain, exact, fast = ([one.latents for one in arms[form][0]] for form in (None, "exact", "fast"))
    apart = [
        float(np.linalg.norm(c - b) / np.linalg.norm(b - a))
        for a, b, c in zip(plain, exact, fast, strict=True)
        if np.any(a != b)
    ]
    sys.stdout.write(f"median |fast - exact| / |exact - plain| {np.median(apart):.4f} (n={len(apart)})\n")
    skipped = [one.evidence["safe-guidance"]["skipped"] for one in arms["fast"][0]]
    missed = sum(skip and unsafe for skip, unsafe in zip(skipped, shown[None], strict=True))
    high = clopper_pearson_upper(missed, len(skipped))
    sys.stdout.write(f"false skips {missed} of {len(skipped)} (upper limit {high:.4f}); skipped {sum(skipped)}\n")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
