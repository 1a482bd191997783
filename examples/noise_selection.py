"""Noises that show what is wanted, and what finding them costs: natural share, bound, expectation, and the bill.

python examples/noise_selection.py --row lawyer --images 20
"""

import argparse
from pathlib import Path

from evenhand import FitConfig, Host, Request, fit, load_pipeline, sample
from evenhand.interventions.storage import load_intervention
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import interventions
from evenhand.skewville import MODEL_DIRECTORY


def main() -> None:
    """Fit once, say what the card foresees, make the images, and say what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", default="lawyer")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--learn", type=int, default=60, help="images per prompt of the fit")
    parser.add_argument("--fit", type=Path, default=Path("fits/noise-selection-gender"))
    given = parser.parse_args()
    if not given.fit.exists():
        fit(FitConfig(method=f"noise-selection:images={given.learn}", source="skewville", out=given.fit))
    with Host.wrap(load_pipeline(MODEL_DIRECTORY)) as host:
        saved = Fitted(*load_intervention(given.fit, host))
        for name, rows in saved.card.effect["bars"].items():
            natural, bar = saved.card.calibration[f"natural {name}"][given.row], rows[given.row]
            print(
                f"{name}: natural share {natural:.2f}, {bar['right']:.0%} of the finished right, "
                f"{bar['cost']:.1f} x the evaluations"
            )
        print(f"no method can do it for less than {saved.card.effect['nats'][given.row]:.2f} nats")
        requests = [
            Request(row=given.row, prompt=f"a photo of a {given.row}", index=k, seed=k) for k in range(given.images)
        ]
        before, settings = host.evaluations, host.default_settings()
        with host.attached(*interventions(parse_spec("noise-selection"), Setting(fitted=(saved,)))):
            told = [one.evidence["noise-selection"] for one in sample(host, requests, settings)]
        shown = sum(one["shown"] for one in told)
        rows = given.images * settings.steps * (2 if settings.guidance > 1 else 1)
        print(f"{shown} of {given.images} shown, {sum(one['tried'] for one in told)} noises tried, ", end="")
        print(f"{(host.evaluations - before) / rows:.2f} x the evaluations")


if __name__ == "__main__":
    main()
