"""Audits of several models, checked before anything is loaded: a base, its fine-tunes, LoRAs and merges."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError, RunDirectoryError
from ..files import slug
from ..records import content_hash
from ..store import check_writable
from .config import AuditConfig, ImageOptions
from .folder import is_folder
from .lora import LORA, name_of, with_lora
from .prepare import Prepared, prepare


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedModels:
    """Audits of several models that are ready to begin, the base first."""

    audits: tuple[Prepared, ...]
    out: Path

    @property
    def names(self) -> tuple[str, ...]:
        """How the models are called: as they were typed."""
        return tuple(name_of(one.config) for one in self.audits)


def prepare_models(sources: Sequence[str], config: AuditConfig) -> PreparedModels:
    """Check the audits of several models; creates nothing.

    Rows, judge, steps and guidance are those of the first model, so that the figures can be compared; what a
    derivative's own card says of them does not count.

    Args:
        sources: two or more, the base first; "MODEL+LORA" loads a LoRA.
        config: what is measured; its `source` is not used, its `out` is the directory of all.

    Raises: InputError (or a subclass) for anything that cannot be used.
    """
    repeated = [one for one in sources if sources.count(one) > 1]
    if repeated:
        raise InputError(f"{repeated[0]} is given twice; name each model once")
    if config.model.lora is not None:
        raise InputError(f"--lora {config.model.lora}: with several models write MODEL{LORA}LORA for the one it is for")
    if config.effort.until_decided:
        raise InputError("--until-decided: prompts that stop by their own numbers do not compare; leave it out")
    card = None if all(is_folder(one) for one in sources) else sources[0]
    first = prepare(dataclasses.replace(config, source=sources[0], card=card, out=None))
    shared = dataclasses.replace(
        config, card=first.config.source, judge=first.judge or config.judge, image=_image(first)
    )
    configs = [with_lora(dataclasses.replace(shared, source=one)) for one in sources]
    planned = [prepare(dataclasses.replace(one, out=None)) for one in configs]
    out = config.out or Path("runs") / f"audit-{content_hash([dict(one.resolved) for one in planned])[:8]}"
    check_writable(out)
    if (out / "run.json").exists():
        raise RunDirectoryError(f"{out} is the run directory of one audit: choose another --out for several models")
    return PreparedModels(
        audits=tuple(
            prepare(dataclasses.replace(one, out=out / f"{k}-{slug(name_of(one))}")) for k, one in enumerate(configs)
        ),
        out=out,
    )


def _image(first: Prepared) -> ImageOptions:
    asked = first.asked
    if not asked:
        return first.config.image
    size = None if asked["width"] is None else (asked["width"], asked["height"])
    return dataclasses.replace(first.config.image, steps=asked["steps"], guidance=asked["guidance"], size=size)
