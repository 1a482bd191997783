"""`evenhand studio`."""

from __future__ import annotations

import dataclasses
import importlib.util
import threading
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from . import options as given

_STUDIO = "Studio"
ModelOrSkewville = Annotated[
    str, typer.Argument(help="skewville, a Hub id, a diffusers directory, or one .safetensors file.")
]
Host = Annotated[str, typer.Option(help="Address to listen at.", rich_help_panel=_STUDIO)]
Port = Annotated[int, typer.Option(help="And port; 0 takes a free one.", rich_help_panel=_STUDIO)]
Folder = Annotated[Path, typer.Option("--folder", help="For prompts and what is taken away.", rich_help_panel=_STUDIO)]


def studio(
    model: ModelOrSkewville = "skewville",
    *,
    judge: given.JudgeName = None,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    folder: Folder = Path("runs/studio"),
    image: given.Images,
    options: given.Loading,
    quiet: given.Quiet = False,
) -> None:
    """Open the web studio: look at what a model shows, change it, check the judge, take the result away."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError("studio needs gradio: pip install 'evenhand[studio]'")
    from ..studio.bench import SMALL_BATCH, open_bench
    from ..studio.run import serve_page

    options = dataclasses.replace(options, batch_size=options.batch_size or SMALL_BATCH)
    bench = open_bench(model, judge=judge, image=image, options=options)
    bench.warm()
    address, close = serve_page(bench, judge=judge, host=host, port=port, folder=folder)
    try:
        typer.echo(address if quiet else f"studio of {model}: {address} (Ctrl+C ends it)")
        threading.Event().wait()
    finally:
        close()
