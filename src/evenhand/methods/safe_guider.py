"""Safe latent diffusion as a guider, for the modular pipelines of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenhand.errors import InputError
from evenhand.host.guider import PredictionGuider
from evenhand.interventions.policy import SafetyPolicy
from evenhand.methods.safe_guidance import SCHEDULES, preset, safe_guidance


class SafeGuider(PredictionGuider):
    """Classifier-free guidance away from what must not appear.

    Source: Safe Latent Diffusion, Schramowski et al. (CVPR 2023, arXiv:2211.05105); see `safe_guidance`, whose
    implementation this is.

        guider = SafeGuider(preset("strong", steps=50).to_dict(), guidance_scale=7.5).encode(pipe)
        pipe.update_components(guider=guider)

    Args:
        policy: a `SafetyPolicy` as a dict, so that the guider's configuration can be saved; None is the preset strong.
        guidance_scale: of classifier-free guidance.
        schedule: full, exact or fast.
        enabled: False leaves only the conditional prediction.

    Raises:
        InputError: an unknown schedule, or a malformed policy.
    """

    def __init__(
        self,
        policy: Mapping[str, Any] | None = None,
        guidance_scale: float = 7.5,
        schedule: str = "full",
        enabled: bool = True,
    ) -> None:
        if schedule not in SCHEDULES:
            raise InputError(f"schedule is {schedule!r}, expected one of {', '.join(SCHEDULES)}")
        wanted = preset("strong", steps=50) if policy is None else SafetyPolicy.from_dict(policy)
        super().__init__(safe_guidance(wanted, schedule=SCHEDULES[schedule]), guidance_scale, enabled)
        self.register_to_config(
            policy=wanted.to_dict(), guidance_scale=guidance_scale, schedule=schedule, enabled=enabled
        )
