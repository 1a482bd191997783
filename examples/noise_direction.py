"""The initial noise of a prompt, drawn so that its images have a target's shares; nothing else is changed.

python examples/noise_direction.py --row nurse --women 0.5 --images 40
"""

import argparse
from collections import Counter
from pathlib import Path

from evenhand import FitConfig, Host, Request, fit, load_concept, load_judge, load_pipeline, sample
from evenhand.interventions.storage import load_intervention
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import interventions
from evenhand.skewville import MODEL_DIRECTORY


def main() -> None:
    """Fit once, then print the shares without and with the draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", default="nurse")
    parser.add_argument("--women", type=float, default=0.5)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--estimator", default="gradient", help="gradient takes half an hour on a processor")
    parser.add_argument("--calibrate", type=int, default=96, help="images per prompt of the fit")
    parser.add_argument("--fit", type=Path, default=Path("fits/noise-direction-gender"))
    given = parser.parse_args()
    if not given.fit.exists():
        spec = f"noise-direction:estimator={given.estimator},images={given.calibrate}"
        fit(FitConfig(method=spec, source="skewville", out=given.fit))
    concept, judge = load_concept("gender"), load_judge("clip")
    requests = [
        Request(row=given.row, prompt=f"a photo of a {given.row}", index=k, seed=k) for k in range(given.images)
    ]
    with Host.wrap(load_pipeline(MODEL_DIRECTORY)) as host:
        saved = Fitted(*load_intervention(given.fit, host))
        setting = Setting(fitted=(saved,), targets={"gender": {"female": given.women, "male": 1 - given.women}})
        for name, attached in (("plain", ()), ("drawn", interventions(parse_spec("noise-direction"), setting))):
            with host.attached(*attached):
                images = [one.image for one in sample(host, requests, host.default_settings())]
            counts = Counter(verdicts[0].label for verdicts in judge.judge(images, [concept]))
            print(name, dict(sorted(counts.items(), key=str)))


if __name__ == "__main__":
    main()
