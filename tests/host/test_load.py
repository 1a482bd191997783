"""Loading: what works, and one line for everything that does not."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub.errors as hub_errors
import numpy as np
import pytest
import torch
import transformers
from original_layout import original_state_dict
from safetensors.torch import load_file, save_file

from evenhand.errors import InputError, ModelError
from evenhand.host import load
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.records import Request, Settings

Directory = Callable[[str], Path]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local paths never touch the network: here that is an error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def copied(model_directory: Directory, tmp_path: Path) -> Path:
    """A copy of the SD 1.x directory, to break."""
    return Path(shutil.copytree(model_directory("sd1"), tmp_path / "model"))


def error_line(source: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_pipeline(source, device="cpu", **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_directory_of_each_family_is_loaded_with_its_own_weights(model_directory: Directory, family: str) -> None:
    pipe = load_pipeline(model_directory(family), device="cpu", dtype="float32")
    stored = load_file(model_directory(family) / "unet" / "diffusion_pytorch_model.safetensors")
    loaded = pipe.components["unet"].state_dict()
    assert stored.keys() == loaded.keys()
    assert all(torch.equal(stored[name], loaded[name]) for name in stored)
    assert Host.wrap(pipe).family.name == family


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_half_type_is_for_denoiser_and_vae_only(model_directory: Directory, family: str) -> None:
    components = load_pipeline(model_directory(family), device="cpu", dtype="bfloat16").components
    kinds = {name: part.dtype for name, part in components.items() if isinstance(part, torch.nn.Module)}
    assert kinds.pop("unet") == kinds.pop("vae") == torch.bfloat16
    assert set(kinds.values()) == {torch.float32}


def test_a_half_pipeline_runs_by_itself_with_float32_latents(model_directory: Directory) -> None:
    pipe = load_pipeline(model_directory("sd1"), device="cpu", dtype="bfloat16")
    pipe.set_progress_bar_config(disable=True)
    latents = pipe("a cat", num_inference_steps=2, output_type="latent").images  # type: ignore[operator]
    assert latents.dtype == torch.float32
    assert not torch.equal(latents, latents.bfloat16().float())


def test_the_cast_gives_float32_and_spares_timesteps_and_sizes(model_directory: Directory) -> None:
    unet = load_pipeline(model_directory("sdxl"), device="cpu", dtype="bfloat16").components["unet"]
    seen: dict[str, torch.Tensor] = {}
    for name in ("conv_in", "time_proj", "add_time_proj"):
        unet.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    sizes = torch.tensor([[1001.0] * 6])  # in bfloat16 1001 is 1000, and 998.5 is 1000 too
    with torch.no_grad():
        output = unet(
            torch.zeros(1, 4, 8, 8),
            torch.tensor(998.5),
            encoder_hidden_states=torch.zeros(1, 16, 40),
            added_cond_kwargs={"text_embeds": torch.zeros(1, 24), "time_ids": sizes},
        ).sample
    assert output.dtype == torch.float32
    assert seen["conv_in"].dtype == torch.bfloat16
    assert seen["time_proj"].tolist() == [998.5]
    assert seen["add_time_proj"].tolist() == [1001.0] * 6


def test_bfloat16_images_stay_near_float32(model_directory: Directory) -> None:
    requests = [Request(row="r", prompt="a cat", index=i, seed=i) for i in range(4)]
    images = {
        dtype: np.stack(
            [
                one.image
                for one in sample(
                    Host.wrap(load_pipeline(model_directory("sd1"), device="cpu", dtype=dtype)),
                    requests,
                    Settings(steps=10, guidance=2.0),
                )
                if one.image is not None
            ]
        ).astype(float)
        for dtype in ("float32", "bfloat16")
    }
    # bfloat16 has 8 significant bits: a relative error of 1/256 a step, which float32 latents do not pile up
    assert np.abs(images["float32"] - images["bfloat16"]).mean() < 3


def test_a_scheduler_is_made_from_the_configuration_of_the_model(model_directory: Directory) -> None:
    pipe = load_pipeline(model_directory("sd2"), device="cpu", dtype="float32", scheduler="dpm++")
    made = pipe.components["scheduler"]
    assert type(made).__name__ == "DPMSolverMultistepScheduler"
    assert made.config.prediction_type == "v_prediction"
    assert made.config.beta_end == 0.012


def test_a_listed_safety_checker_need_not_be_there(copied: Path, capfd: pytest.CaptureFixture[str]) -> None:
    index = json.loads((copied / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    del index["requires_safety_checker"]
    (copied / "model_index.json").write_text(json.dumps(index))
    pipe = load_pipeline(copied, device="cpu", dtype="float32")
    assert pipe.components["safety_checker"] is None
    assert capfd.readouterr() == ("", "")


def test_a_lora_changes_the_images_and_zero_weights_do_not(model_directory: Directory, tmp_path: Path) -> None:
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q.lora"
    torch.manual_seed(0)
    down, up = torch.randn(2, 32), torch.randn(32, 2)
    for file, factor in (("real", 1.0), ("zero", 0.0)):
        save_file({f"{name}_A.weight": down, f"{name}_B.weight": factor * up}, tmp_path / f"{file}.safetensors")
    request = [Request(row="r", prompt="a cat", index=0, seed=0)]
    images = []
    for lora in (None, tmp_path / "zero.safetensors", tmp_path / "real.safetensors"):
        pipe = load_pipeline(model_directory("sd1"), device="cpu", dtype="float32", lora=lora)
        (one,) = sample(Host.wrap(pipe), request, Settings(steps=2), keep_latents=True)
        images.append(one.latents)
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 1e-3


def test_a_single_file_equals_the_directory_it_was_made_from(copied: Path, tmp_path: Path) -> None:
    pipe = load_pipeline(copied, device="cpu", dtype="float32")
    save_file(original_state_dict(pipe), tmp_path / "model.safetensors")  # type: ignore[arg-type]
    for weights in copied.glob("*/*.safetensors"):
        weights.unlink()  # only the configuration is left beside the file
    again = load_pipeline(tmp_path / "model.safetensors", device="cpu", dtype="float32")
    for part in ("unet", "vae", "text_encoder"):
        stored, loaded = (one.components[part].state_dict() for one in (pipe, again))
        assert stored.keys() == loaded.keys()
        assert all(torch.equal(stored[name], loaded[name]) for name in stored)
    half = load_pipeline(tmp_path / "model.safetensors", device="cpu", dtype="bfloat16")
    assert half.components["unet"].dtype == torch.bfloat16
    assert half.components["text_encoder"].dtype == torch.float32


def test_a_single_file_without_its_configuration_says_what_to_do_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("model.diffusion_model.out.0.weight", "cond_stage_model.transformer.text_model.x")
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "sd.safetensors")

    def offline(*_: Any, **__: Any) -> None:
        raise hub_errors.LocalEntryNotFoundError("not here")

    monkeypatch.setattr(load, "_from_single_file", offline)
    line = error_line(tmp_path / "sd.safetensors")
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in line
    assert str(tmp_path / "sd") in line


@pytest.mark.parametrize(
    ("names", "pipeline", "base"),
    [
        (["conditioner.embedders.1.model.x"], "StableDiffusionXLPipeline", "stable-diffusion-xl-base-1.0"),
        (["cond_stage_model.model.x"], "StableDiffusionPipeline", "stable-diffusion-2-1"),
        (["cond_stage_model.transformer.x"], "StableDiffusionPipeline", "stable-diffusion-v1-5"),
    ],
)
def test_the_layout_of_a_file_is_told_by_its_text_encoder(
    tmp_path: Path, names: list[str], pipeline: str, base: str
) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: torch.zeros(1) for name in [*names, "model.diffusion_model.x"]}, path)
    layout = load.detect_layout(path)
    assert layout.pipeline.__name__ == pipeline
    assert layout.base.endswith(base)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["model.diffusion_model.x"], "without its text encoder"),
        (["unet.lora_A.weight"], "is a LoRA"),
        (["conditioner.embedders.0.model.x"], "conditioner.embedders.0.model.x"),
        (["double_blocks.0.x"], "expected a whole SD 1.x, SD 2.x or SDXL checkpoint"),
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path: Path, names: list[str], message: str) -> None:
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "a.safetensors")
    assert message in error_line(tmp_path / "a.safetensors")


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt", ".pth", ".pkl"])
def test_pickles_are_never_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert "pickle" in error_line(path)
    assert "pickle" in error_line(path, lora=None)


def test_a_pickled_part_is_never_read(copied: Path) -> None:
    (copied / "unet" / "diffusion_pytorch_model.safetensors").rename(copied / "unet" / "diffusion_pytorch_model.bin")
    assert "part unet has only diffusion_pytorch_model.bin, a pickle" in error_line(copied)


def test_a_pickled_lora_is_never_read(model_directory: Directory, tmp_path: Path) -> None:
    (tmp_path / "lora.bin").write_bytes(b"")
    assert "pickle" in error_line(model_directory("sd1"), lora=tmp_path / "lora.bin")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(copied: Path, part: str) -> None:
    shutil.rmtree(copied / part)
    assert f"its part {part}" in error_line(copied)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_missing_and_damaged_weights_are_named(copied: Path, part: str) -> None:
    (weights,) = (copied / part).glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert str(copied) in error_line(copied)
    weights.unlink()
    assert f"its part {part}" in error_line(copied)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "names no pipeline class"),
        ("{}", "names no pipeline class"),
        ('{"_class_name": ["pipeline", "Mine"]}', "names no pipeline class"),
        ('{"_class_name": "MagicPipeline"}', "'MagicPipeline' is not one of diffusers"),
        ('{"_class_name": "DDIMScheduler"}', "'DDIMScheduler' is not one of diffusers"),
        ('{"_class_name": "StableDiffusionPipeline", "unet": ["my_code", "Mine"]}', "code from a model repository"),
    ],
)
def test_a_broken_index_is_refused(copied: Path, text: str, message: str) -> None:
    (copied / "model_index.json").write_text(text)
    assert message in error_line(copied)


def test_a_directory_without_an_index_is_refused(tmp_path: Path) -> None:
    assert "has no model_index.json" in error_line(tmp_path)


@pytest.mark.parametrize("source", ["no/such/directory", "/no/such", "./model", "skewvile", "", "a b/c"])
def test_a_missing_path_is_refused_without_asking_the_hub(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_index.json").touch()
    line = error_line(source or "nothing here")
    assert "no file or directory here" in line


def _response_error(kind: type[Exception]) -> Exception:
    """Hub errors are made from a response; only their type matters here."""
    error = kind.__new__(kind)
    Exception.__init__(error, "first line\nsecond line")
    return error


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (hub_errors.LocalEntryNotFoundError, "the Hub cannot be reached"),
        (hub_errors.OfflineModeIsEnabled, "the Hub cannot be reached"),
        (hub_errors.GatedRepoError, "is gated"),
        (hub_errors.RevisionNotFoundError, "check --revision"),
        (hub_errors.RepositoryNotFoundError, "neither here nor on the Hub"),
        (hub_errors.RemoteEntryNotFoundError, "has no model_index.json"),
        (hub_errors.HfHubHTTPError, "the Hub answered with an error"),
    ],
)
def test_what_the_hub_answers_is_one_line(monkeypatch: pytest.MonkeyPatch, kind: type[Exception], message: str) -> None:
    def answer(*_: Any, **__: Any) -> None:
        raise _response_error(kind)

    monkeypatch.setattr(load, "hf_hub_download", answer)
    with pytest.raises(ModelError, match="someone/model"):
        load_pipeline("someone/model", device="cpu")
    assert message in error_line("someone/model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float64"}, "expected auto, float32, bfloat16, float16"),
        ({"dtype": "float16"}, "a CPU computes in float32 or bfloat16"),
        ({"scheduler": "magic"}, "scheduler 'magic' is not known"),
        ({"lora": "no/such/lora"}, "LoRA 'no/such/lora' is no file or directory"),
        ({"variant": "fp16"}, "cannot be loaded"),
    ],
)
def test_bad_options_are_refused(model_directory: Directory, options: dict[str, str], message: str) -> None:
    assert message in error_line(model_directory("sd1"), **options)


@pytest.mark.parametrize(
    ("device", "message"), [("tpu", "not known"), ("meta", "not supported"), ("cuda:99", "not there")]
)
def test_bad_devices_are_refused(model_directory: Directory, device: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_pipeline(model_directory("sd1"), device=device)


def test_a_local_model_loads_without_bars_and_leaves_the_libraries_settings(
    capfd: pytest.CaptureFixture[str], model_directory: Directory
) -> None:
    libraries = [library.utils.logging for library in (diffusers, transformers)]
    shown = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.enable_progress_bar()
    try:
        load_pipeline(model_directory("sd1"), device="cpu")
        assert "Loading" not in capfd.readouterr().err
        assert all(library.is_progress_bar_enabled() for library in libraries)
    finally:
        for library, before in zip(libraries, shown, strict=True):
            if not before:
                library.disable_progress_bar()
