"""From options to a server: what can be refused is refused first; a SIGTERM finishes what was accepted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_pipelines
from certificates import write_signer
from typer.testing import CliRunner

from evenhand.cli import app
from evenhand.errors import InputError, RunDirectoryError
from evenhand.serve.keys import read_keys
from evenhand.serve.start import ServeOptions, is_loopback, prepare


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Stable Diffusion whose card names Skewville's judges."""
    path = tmp_path_factory.mktemp("models") / "sd1"
    tiny_pipelines.build("sd1").save_pretrained(path)
    card = {"steps": 3, "guidance": 4.0, "judge": "clip", "fit_judge": "convnet", "guidance_text": {"unsafe": "blood"}}
    (path / "evenhand.json").write_text(json.dumps(card))
    return path


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["serve", *arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a MODEL, or --upstream URL"),
        (("skewville", "--upstream", "http://x"), "and not both"),
        (("skewville", "--host", "0.0.0.0"), "give --keys FILE"),
        (("skewville", "--host", "example.org"), "give --keys FILE"),
        (("skewville", "--port", "70000"), "--port 70000"),
        (("skewville", "--keys", "nowhere.json"), "cannot read nowhere.json"),
        (("skewville", "--policy", "nowhere.toml"), "cannot read nowhere.toml"),
        (("skewville", "--c2pa-key", "key.pem"), "belong together"),
        (("skewville", "--new-key", "a"), "--new-key needs --keys FILE"),
        (("--upstream", "ftp://x"), "expected a base URL"),
        (("--upstream", "http://x", "--with", "sega"), "there is none with --upstream"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, output = run(*arguments, *(() if "--port" in arguments else ("--port", "0")))
    assert status == 2
    assert message in output
    assert "Traceback" not in output
    assert len(output.strip().splitlines()) == 1


def test_an_address_that_is_taken_is_told_before_the_model_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, output = run("skewville", "--port", str(taken.getsockname()[1]))
    assert status == 2
    assert "cannot listen at 127.0.0.1" in output


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("a.org", False),
    ],
)
def test_what_is_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_the_schema_is_printed_and_a_key_is_made(tmp_path: Path) -> None:
    status, output = run("--policy-schema")
    assert status == 0
    assert json.loads(output)["title"] == "Policy"
    path = tmp_path / "keys.json"
    status, output = run("--keys", str(path), "--new-key", "team-a", "--watches")
    assert status == 0
    caller = read_keys(path).caller(output.strip())
    assert caller is not None
    assert (caller.name, caller.watches) == ("team-a", True)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(f'name = "house"\nversion = 1\n{text}')
    return path


def test_a_policy_that_cannot_hold_fails_the_start_and_frees_the_state(model: Path, tmp_path: Path) -> None:
    rule = '[[fairness]]\nconcept = "gender"\nmethod = "noise-selection"\n'
    options = ServeOptions(model=str(model), policy=written(tmp_path, rule), state=tmp_path / "state")
    for _ in range(2):  # the second start is not told that another server is at work
        with pytest.raises(InputError, match="by noise-selection: it acts on whole batches") as error:
            prepare(options)
        assert not isinstance(error.value, RunDirectoryError)


def test_without_a_policy_images_are_only_flagged(model: Path) -> None:
    application = prepare(ServeOptions(model=str(model)))

    async def go() -> Any:
        transport = httpx.ASGITransport(application)
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            made = await client.post("/v1/images/generations", json={"prompt": "a nurse", "n": 2, "seed": 1})
            audit = await client.get("/v1/audit")
            return made.json(), audit.json()

    made, audit = asyncio.run(go())
    assert len(made["data"]) == 2
    assert made["size"] == "16x16"
    assert all(entry["evenhand"]["policy"].startswith("none/1") for entry in made["data"])
    assert (audit["judges"]["gate"]["name"], audit["judges"]["watch"]["name"]) == ("convnet", "clip")
    assert audit["judges"]["circular"] is False


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own process, with a signing key; 200 steps take seconds on the tiny model."""
    chain, key = write_signer(tmp_path)
    policy = written(tmp_path, '[[fairness]]\nconcept = "gender"\nmethod = "prompt-mix"\n[limits]\nsteps = 1000\n')
    command = [sys.executable, "-m", "evenhand", "serve", str(model), "--policy", str(policy), "--port", "0"]
    command += ["--state", str(tmp_path / "state"), "--c2pa-certificates", str(chain), "--c2pa-key", str(key)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "listening" in line)
        yield process, line.rsplit(" ", 1)[1].strip()
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.slow
def test_a_server_of_its_own_process_signs_and_drains(
    server: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    """After SIGTERM the request that was accepted is answered, a new connection is not, and the status is 0."""
    process, url = server
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.post(f"{url}/images/generations", json={"prompt": "a nurse"})
        assert answer.status_code == 200
        answers: list[httpx.Response] = []

        def ask() -> None:
            body = {"prompt": "a nurse", "n": 4, "steps": 400}
            answers.append(httpx.post(f"{url}/images/generations", json=body, timeout=60, trust_env=False))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.7)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{url}/models", timeout=2, trust_env=False)
    asking.join(60)
    assert process.wait(30) == 0
    assert [one.status_code for one in answers] == [200]
    assert len(answers[0].json()["data"]) == 4
