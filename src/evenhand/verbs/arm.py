"""The interventions of one arm: from what was typed to what the host attaches."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..concepts.concept import Concept
from ..host.card import ModelCard

if TYPE_CHECKING:
    from ..host.host import Host


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """Interventions that are attached together, in order.

    Args:
        name: the SPECs as typed, joined by " + "; None for the plain model.
        interventions: what the host attaches.
    """

    name: str | None = None
    interventions: tuple[Any, ...] = ()

    def check(self, host: Host) -> None:
        """Raises InputError when an intervention does not fit the model."""
        for one in self.interventions:
            one.check(host)

    def attached(self, host: Host) -> contextlib.AbstractContextManager[Any]:
        """The host with the interventions, inside the block."""
        return host.attached(*self.interventions) if self.interventions else contextlib.nullcontext()


PLAIN = Arm()


def arm_of(texts: Sequence[str], card: ModelCard, concepts: Sequence[Concept], seed: int) -> Arm:
    """The arm of repeated `--with SPEC`.

    Args:
        texts: as typed.
        card: of the model; methods may use its words for a concept.
        concepts: those that are measured, with the targets that the user gave.
        seed: of the run.

    Raises:
        InputError: a malformed SPEC, an unknown method, or a parameter that it cannot use.
    """
    if not texts:
        return PLAIN
    # methods need torch, without which a plain audit is refused at once where its input cannot be used
    from ..methods.method import Setting
    from ..methods.spec import parse_spec
    from ..methods.table import intervention

    targets: Mapping[str, Mapping[str, float]] = {
        concept.name: dict(zip(concept.class_names, concept.reference, strict=True)) for concept in concepts
    }
    setting = Setting(guidance_text=card.guidance_text, targets=targets, seed=seed)
    built = tuple(intervention(parse_spec(text), setting) for text in texts)
    return Arm(name=" + ".join(texts), interventions=built)
