"""Load a diffusers pipeline from the Hub, a directory or one file, safely."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from evenhand.errors import EvenhandError, InputError, ModelError
from evenhand.host.directory import INDEX_NAME, check_parts, read_index
from evenhand.host.dtype import install_casts, load_dtypes, resolve_device, resolve_dtype
from evenhand.host.families import detect_family, family_of_class
from evenhand.host.names import check_lora_name, check_model_name
from evenhand.host.quiet import without_deprecations, without_loading_bars, without_remarks
from evenhand.host.schedulers import make_scheduler
from evenhand.host.single_file import Layout, check_suffix, config_directory, detect_layout

T = TypeVar("T")


def load_pipeline(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    variant: str | None = None,
    lora: str | Path | None = None,
    scheduler: str | None = None,
) -> DiffusionPipeline:
    """A pipeline that is ready to measure.

    Weights are read from safetensors only, and code from a model repository is never run. A local path never touches
    the network. The pipeline's own safety checker is left out, since a blackened image cannot be measured, and so is
    an invisible watermark. In a half type the text encoders and the latents stay in float32 (see `dtype`).

    Args:
        source: a local diffusers directory; one .safetensors file of SD 1.x, SD 2.x or SDXL in its original layout; or
            a Hub id "owner/name". A file needs the configuration of its base model, which is taken from a folder of
            the same name beside it, else from the Hub.
        device: "auto", "cpu", "cuda" or "cuda:K".
        dtype: "auto", "float32", "bfloat16" or "float16"; see `resolve_dtype`.
        revision: branch, tag or commit on the Hub; None means the main branch.
        variant: files such as "fp16"; None means the plain ones.
        lora: LoRA weights to add: a .safetensors file, a directory or a Hub id.
        scheduler: a name of `schedulers.SCHEDULERS`; None keeps the model's own.

    Raises:
        ModelError: the model is missing, broken or of an unknown kind.
        InputError: an unknown device, dtype or scheduler.
    """
    where = resolve_device(device)
    number = resolve_dtype(dtype, where)
    name = str(source)
    path = Path(source).expanduser()
    with without_deprecations():
        if path.is_dir():
            pipe = _from_directory(path, name, number, variant)
        elif path.is_file():
            pipe = _from_file(path, name, number)
        else:
            pipe = _from_hub(name, number, revision, variant)
        if lora is not None:
            _add_lora(pipe, str(lora))
    if "watermark" in vars(pipe):
        vars(pipe)["watermark"] = None
    if scheduler is not None:
        pipe.register_modules(scheduler=make_scheduler(scheduler, pipe.components["scheduler"]))
    install_casts(pipe, detect_family(pipe))
    return pipe if where.type == "cpu" else pipe.to(where)


def _from_directory(path: Path, source: str, dtype: torch.dtype, variant: str | None) -> DiffusionPipeline:
    index_path = path / INDEX_NAME
    if not index_path.is_file():
        raise ModelError(
            f"model directory {source!r} has no {INDEX_NAME}; expected one that save_pretrained of a pipeline wrote"
        )
    index = read_index(index_path, source)
    check_parts(path, index, source)
    with without_loading_bars():
        return _explained(
            source, lambda: _from_pretrained(str(path), index, dtype, variant=variant, local_files_only=True)
        )


def _from_file(path: Path, source: str, dtype: torch.dtype) -> DiffusionPipeline:
    check_suffix(path)
    layout = detect_layout(path)
    beside = config_directory(path)
    if beside is not None:
        read_index(beside / INDEX_NAME, str(beside))
    with without_loading_bars():
        pipe = _explained(source, lambda: _from_single_file(path, layout, beside), base=layout.base)
    for part, kind in load_dtypes(family_of_class(layout.pipeline.__name__), dtype).items():
        if part in pipe.components:
            # the plain move: ModelMixin.to warns of a list of exceptions that is empty for these models
            torch.nn.Module.to(pipe.components[part], kind)
    return pipe


def _from_single_file(path: Path, layout: Layout, beside: Path | None) -> DiffusionPipeline:
    return layout.pipeline.from_single_file(  # type: ignore[attr-defined]
        str(path),
        config=None if beside is None else str(beside),
        local_files_only=beside is not None,
        torch_dtype=torch.float32,
        **_without_checker(layout.pipeline),
    )


def _from_hub(source: str, dtype: torch.dtype, revision: str | None, variant: str | None) -> DiffusionPipeline:
    check_model_name(source)
    file = _explained(source, lambda: hf_hub_download(source, INDEX_NAME, revision=revision))
    index = read_index(Path(file), source)
    return _explained(source, lambda: _from_pretrained(source, index, dtype, variant=variant, revision=revision))


def _from_pretrained(
    source: str,
    index: dict[str, Any],
    dtype: torch.dtype,
    *,
    variant: str | None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> DiffusionPipeline:
    return DiffusionPipeline.from_pretrained(
        source,
        dtype=load_dtypes(family_of_class(index["_class_name"]), dtype),
        variant=variant,
        revision=revision,
        local_files_only=local_files_only,
        use_safetensors=True,
        **_without_checker(getattr(diffusers, index["_class_name"])),
    )


def _without_checker(pipeline: type[DiffusionPipeline]) -> dict[str, Any]:
    """Arguments that leave the safety checker out, without the pipeline's warning about it."""
    accepted = inspect.signature(pipeline.__init__).parameters
    return {
        name: value
        for name, value in (("safety_checker", None), ("requires_safety_checker", False))
        if name in accepted
    }


def _add_lora(pipe: DiffusionPipeline, lora: str) -> None:
    check_lora_name(lora)
    path = Path(lora).expanduser()
    if path.is_file():
        check_suffix(path)
    load = getattr(pipe, "load_lora_weights", None)
    if load is None:
        raise InputError(f"LoRA {lora!r} is given, but {type(pipe).__name__} takes none; leave --lora out")
    with without_remarks():
        if path.is_file():
            _explained(lora, lambda: load(str(path.parent), weight_name=path.name, local_files_only=True))
        else:
            _explained(lora, lambda: load(lora, use_safetensors=True, local_files_only=path.is_dir()))


def _explained(source: str, work: Callable[[], T], *, base: str | None = None) -> T:
    """The result of `work`, with whatever diffusers, transformers and the Hub raise turned into one line."""
    try:
        return work()
    except (EvenhandError, MemoryError, torch.OutOfMemoryError):
        raise
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelError(_offline_line(source, base)) from error
    except GatedRepoError as error:
        raise ModelError(
            f"model {source!r} is gated; accept its terms on the Hub and log in (hf auth login)"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"model {source!r} has no such revision on the Hub; check --revision") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(f"model {source!r} is neither here nor on the Hub; check the spelling") from error
    except RemoteEntryNotFoundError as error:
        raise ModelError(f"model {source!r} on the Hub has no {INDEX_NAME}, so it is no diffusers pipeline") from error
    except HfHubHTTPError as error:
        raise ModelError(
            f"model {source!r}: the Hub answered with an error ({_first_line(error)}); try later"
        ) from error
    except Exception as error:  # broken files surface as a dozen unrelated types
        raise ModelError(f"model {source!r} cannot be loaded: {_first_line(error)}") from error


def _offline_line(source: str, base: str | None) -> str:
    if base is None:
        return (
            f"model {source!r} is not stored here, and the Hub cannot be reached; "
            "connect to the network once, or give a local directory"
        )
    return (
        f"model file {source!r} needs the configuration of {base}, and the Hub cannot be reached; connect once, or put "
        f"that configuration (its .json and .txt files) in the folder {str(Path(source).with_suffix(''))!r}"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
