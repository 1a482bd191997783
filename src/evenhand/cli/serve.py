"""`evenhand serve`."""

from __future__ import annotations

import importlib.util
import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import options as given
from .terminal import Bars

if TYPE_CHECKING:
    from ..serve.marking import SigningKey

_SERVER, _KEYS = "Server", "Keys and marks"
_NEEDS = ("fastapi", "uvicorn", "prometheus_client", "httpx")

ModelOrNone = Annotated[
    str | None, typer.Argument(help="skewville, a Hub id, a diffusers directory, or one .safetensors file.")
]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="A policy, TOML; else plain images, only flagged.")]
PolicySchema = Annotated[bool, typer.Option("--policy-schema", help="Print the JSON schema of a policy, and stop.")]
Host = Annotated[str, typer.Option(help="Address to listen at.", rich_help_panel=_SERVER)]
Port = Annotated[int, typer.Option(help="And port; 0 takes a free one.", rich_help_panel=_SERVER)]
Upstream = Annotated[
    str | None,
    typer.Option(help="Base URL of an OpenAI-compatible server that makes the images.", rich_help_panel=_SERVER),
]
UpstreamModel = Annotated[str | None, typer.Option(help="What that server is asked for.", rich_help_panel=_SERVER)]
StateFolder = Annotated[
    Path, typer.Option("--state", help="Folder of quotas, counts and log.", rich_help_panel=_SERVER)
]
FixedShape = Annotated[
    bool,
    typer.Option(
        "--fixed-shape", help="Fill every batch up: an image is bit-equal at any load.", rich_help_panel=_SERVER
    ),
]
KeysFile = Annotated[Path | None, typer.Option("--keys", help="File of API keys (hashes).", rich_help_panel=_KEYS)]
NewKey = Annotated[
    str | None,
    typer.Option("--new-key", help="Make a key of this name in --keys, print it, and stop.", rich_help_panel=_KEYS),
]
Watches = Annotated[
    bool, typer.Option("--watches", help="Of --new-key: it may read /metrics and /v1/audit.", rich_help_panel=_KEYS)
]
PerMinute = Annotated[
    float | None, typer.Option("--requests-per-minute", help="Of --new-key: its own limit.", rich_help_panel=_KEYS)
]
SignCertificates = Annotated[
    Path | None, typer.Option("--c2pa-certificates", help="PEM chain of a C2PA signer.", rich_help_panel=_KEYS)
]
SignKey = Annotated[Path | None, typer.Option("--c2pa-key", help="Its private key, PEM.", rich_help_panel=_KEYS)]
SignAlgorithm = Annotated[
    str, typer.Option("--c2pa-algorithm", help="es256, ps256, ed25519, ...", rich_help_panel=_KEYS)
]


def serve(
    model: ModelOrNone = None,
    *,
    policy: PolicyFile = None,
    policy_schema: PolicySchema = False,
    interventions: given.With = [],  # noqa: B006
    host: Host = "127.0.0.1",
    port: Port = 8000,
    upstream: Upstream = None,
    upstream_model: UpstreamModel = None,
    state: StateFolder = Path("runs/serve"),
    fixed_shape: FixedShape = False,
    keys: KeysFile = None,
    new_key: NewKey = None,
    watches: Watches = False,
    requests_per_minute: PerMinute = None,
    c2pa_certificates: SignCertificates = None,
    c2pa_key: SignKey = None,
    c2pa_algorithm: SignAlgorithm = "es256",
    image: given.Served,
    options: given.Loading,
    quiet: given.Quiet = False,
) -> None:
    """Serve a model, or stand in front of a server, as OpenAI's image endpoint under a policy."""
    if policy_schema:
        from ..serve.policy import policy_schema as schema

        typer.echo(json_format.dumps(schema(), indent=2))
        return
    if new_key is not None:
        _make_key(keys, new_key, watches, requests_per_minute)
        return
    _check_installed()
    from ..serve.start import ServeOptions

    server = ServeOptions(
        model=model,
        upstream=upstream,
        upstream_model=upstream_model,
        policy=policy,
        interventions=tuple(interventions),
        host=host,
        port=port,
        keys=keys,
        state=state,
        image=image,
        options=options,
        fixed_shape=fixed_shape,
        signing=_signing(c2pa_certificates, c2pa_key, c2pa_algorithm),
    )
    from ..serve.run import run

    with Bars(quiet=quiet) as bars:
        run(server, bars)


def _make_key(keys: Path | None, name: str, watches: bool, per_minute: float | None) -> None:
    from ..serve.keys import add_key

    if keys is None:
        raise InputError("--new-key needs --keys FILE, where its hash is kept")
    if per_minute is not None and not per_minute > 0:
        raise InputError(f"--requests-per-minute {per_minute:g}: expected a number above 0")
    typer.echo(add_key(keys, name, watches=watches, requests_per_minute=per_minute))


def _check_installed() -> None:
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {', '.join(missing)}: pip install 'evenhand[serve]'")


def _signing(certificates: Path | None, key: Path | None, algorithm: str) -> SigningKey | None:
    if (certificates is None) != (key is None):
        raise InputError("--c2pa-certificates and --c2pa-key belong together: give both")
    if certificates is None or key is None:
        return None
    from ..serve.marking import SigningKey

    return SigningKey(certificates=certificates, key=key, algorithm=algorithm)
