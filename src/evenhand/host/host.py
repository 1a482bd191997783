"""The host: a diffusers pipeline with its denoiser counted, and the one place where something may sit in it."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline

from evenhand.errors import InputError
from evenhand.host.attachment import Attachment
from evenhand.host.card import ModelCard, read_card
from evenhand.host.dtype import dtype_name
from evenhand.host.families import Family, denoiser_of, detect_family, prediction_type
from evenhand.host.sites import Attachable
from evenhand.host.undo import Undo
from evenhand.records import Settings


class Host:
    """A pipeline that is measured. It is wrapped, not changed: `close` gives it back as it was.

        with Host.wrap(load_pipeline("skewville")) as host:
            samples = list(sample(host, requests, host.default_settings()))

    Attributes:
        pipe: the pipeline itself.
        family: its row of the table in `families`.
        model_card: what its directory says in `evenhand.json`.
        evaluations: rows that the denoiser has computed since the wrapping, padding and both branches of
            classifier-free guidance included.
        call: the pipeline, or what `attached` has put in its place; it has the pipeline's own signature.
    """

    def __init__(self, pipe: DiffusionPipeline, *, name: str, defaults: Settings | None) -> None:
        self.pipe: Any = pipe  # every pipeline class declares a call of its own
        self.name = name
        self.family: Family = detect_family(pipe)
        self.evaluations = 0
        self.call: Callable[..., Any] = self.pipe
        self._defaults = defaults
        self._carried: tuple[Attachable, ...] = ()
        self._undo = Undo()
        denoiser = self.denoiser
        self._undo.replace(denoiser, "forward", self._counting(denoiser.forward))

    @classmethod
    def wrap(cls, pipe: DiffusionPipeline, *, name: str = "", defaults: Settings | None = None) -> Self:
        """Wrap any text-to-image pipeline of diffusers.

        Args:
            pipe: the pipeline, from `load_pipeline` or a user's own.
            name: how results call the model; "" means where it was loaded from.
            defaults: settings for requests that name none; None means the model's card, then the pipeline's own.

        Raises:
            ModelError: the pipeline has neither a unet nor a transformer, or its card is malformed.
        """
        return cls(pipe, name=name or str(pipe.name_or_path or type(pipe).__name__), defaults=defaults)

    @property
    def denoiser(self) -> torch.nn.Module:
        """The module that predicts noise, velocity or flow."""
        return denoiser_of(self.pipe, self.family)

    @property
    def device(self) -> torch.device:
        """Where the denoiser computes."""
        return next(self.denoiser.parameters()).device

    @functools.cached_property
    def accepts(self) -> frozenset[str]:
        """Names of the arguments that the pipeline takes."""
        return frozenset(inspect.signature(type(self.pipe).__call__).parameters)

    @functools.cached_property
    def model_card(self) -> ModelCard:
        """The `evenhand.json` of the directory that the pipeline was loaded from; an empty card elsewhere."""
        source = self.pipe.name_or_path
        return read_card(source if source and Path(source).is_dir() else None)

    @functools.cached_property
    def weights_hash(self) -> str:
        """SHA-256 over the denoiser's weights, 64 hex digits. It reads all of them once.

        The weights are hashed as bfloat16, so that a model has one hash whether it was loaded in float32 or bfloat16.
        """
        return _hash(self.denoiser.state_dict())

    @functools.cached_property
    def base_hash(self) -> str:
        """`weights_hash` of the model without the LoRAs that are loaded into it; the same where there are none."""
        weights = self.denoiser.state_dict()
        own = {name: one for name, one in weights.items() if not any(p.startswith("lora_") for p in name.split("."))}
        if len(own) == len(weights):
            return self.weights_hash
        return _hash({name.replace(".base_layer.", "."): one for name, one in own.items()})

    def card(self) -> dict[str, Any]:
        """What a run directory records of the model: name, class, family, dtype, scheduler, prediction type, hash."""
        return {
            "name": self.name,
            "class": type(self.pipe).__name__,
            "family": self.family.name,
            "dtype": dtype_name(next(self.denoiser.parameters()).dtype),
            "scheduler": type(self.pipe.components["scheduler"]).__name__,
            "prediction_type": prediction_type(self.pipe),
            "hash": self.weights_hash,
        }

    def default_settings(self) -> Settings:
        """Settings for a user who names none: as given to `wrap`, else the model's card, else the pipeline's own."""
        if self._defaults is not None:
            return self._defaults
        own = inspect.signature(type(self.pipe).__call__).parameters
        steps, guidance = self.model_card.steps, self.model_card.guidance
        if steps is None:
            steps = own["num_inference_steps"].default if "num_inference_steps" in own else 50
        if guidance is None:
            guidance = own["guidance_scale"].default if "guidance_scale" in own else 1.0
        return Settings(steps=steps, guidance=float(guidance))

    def image_size(self, settings: Settings) -> tuple[int, int]:
        """(width, height) in pixels of the images that these settings give.

        Raises:
            InputError: a model of an unusual kind, whose own size cannot be read, and no size is given.
        """
        if settings.width is not None and settings.height is not None:
            return settings.width, settings.height
        own = vars(self.pipe).get("default_sample_size") or getattr(self.denoiser, "config", {}).get("sample_size")
        if own is None:
            raise InputError(f"the image size of {self.name} is not known; give one with --size WxH")
        height, width = (own, own) if isinstance(own, int) else own
        return settings.width or width * self.latent_scale, settings.height or height * self.latent_scale

    @property
    def latent_scale(self) -> int:
        """Image pixels per latent pixel, along one side."""
        return vars(self.pipe).get("vae_scale_factor", 8)

    @contextmanager
    def attached(self, *interventions: Attachable) -> Iterator[Callable[..., Any]]:
        """Put interventions into the pipeline, in order, and take them out again, also after an exception.

        One `with` inside another adds to what is attached. An intervention of strength 0 is left out: the pipeline
        then computes the same bits as without it.

        Yields:
            A callable with the pipeline's own signature; without interventions it is the pipeline. What the
            interventions did in the latest call stands in its `last.evidence`.

        Raises:
            InputError: an intervention does not fit this model; nothing has been changed then.
        """
        for intervention in interventions:
            intervention.check(self)
        with Undo() as undo:
            carried = (*self._carried, *interventions)
            undo.replace(self, "_carried", carried)
            if any(one.strength != 0 for one in carried):
                undo.replace(self, "call", Attachment(self.pipe, self.family, carried))
            yield self.call

    def count_backward(self, rows: int) -> None:
        """Count a backward pass through the denoiser: once more for every row that was differentiated."""
        self.evaluations += rows

    def close(self) -> None:
        """Give the pipeline back as it was before `wrap`; a second call does nothing."""
        self._undo.restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _counting(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def counted(*args: Any, **kwargs: Any) -> Any:
            rows = args[0] if args else next(kwargs[name] for name in ("sample", "hidden_states") if name in kwargs)
            self.evaluations += len(rows)
            return forward(*args, **kwargs)

        return counted


def _hash(weights: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        numbers = tensor.detach().to(torch.bfloat16) if tensor.is_floating_point() else tensor.detach()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(numbers.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
