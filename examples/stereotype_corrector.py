"""How a group is depicted: a scarf that one group is shown with, and the latents moved so that neither is more often.

python examples/stereotype_corrector.py --images 30
"""

import argparse
from pathlib import Path

from evenhand import FitConfig, Host, Request, fit, load_concept, load_judge, load_pipeline, sample
from evenhand.interventions.storage import load_intervention
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import interventions
from evenhand.skewville import MODEL_DIRECTORY

GROUPS = ("a photo of a person from the coast", "a photo of a person from inland")


def main() -> None:
    """Fit once, then print how often either group is shown with a scarf, without and with the corrector."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--learn", type=int, default=16, help="images per prompt of the fit")
    parser.add_argument("--fit", type=Path, default=Path("fits/stereotype-corrector-scarf"))
    given = parser.parse_args()
    spec = "stereotype-corrector:concept=origin,attribute=scarf"
    if not given.fit.exists():
        fit(
            FitConfig(
                method=f"{spec},explicit={given.learn},images={given.learn},calibrate=4",
                source="skewville",
                out=given.fit,
            )
        )
    scarf, judge = load_concept("scarf"), load_judge("clip")
    with Host.wrap(load_pipeline(MODEL_DIRECTORY)) as host:
        setting = Setting(fitted=(Fitted(*load_intervention(given.fit, host)),))
        for name, attached in (("plain", ()), ("corrected", interventions(parse_spec(spec), setting))):
            with host.attached(*attached):
                for prompt in GROUPS:
                    requests = [Request(row=prompt, prompt=prompt, index=k, seed=k) for k in range(given.images)]
                    images = [one.image for one in sample(host, requests, host.default_settings())]
                    worn = sum(row[0].label == "yes" for row in judge.judge(images, [scarf]))
                    print(f"{name}: {prompt}: a scarf in {worn} of {given.images}")


if __name__ == "__main__":
    main()
