"""A folder of images with a manifest: given labels are taken, a judge is asked for the rest."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toys import ToyHost

from evenhand.errors import ConceptError, InputError
from evenhand.verbs.audit import audit
from evenhand.verbs.config import AuditConfig, Effort, ImageOptions, ModelOptions, Question
from evenhand.verbs.models import prepare_models

HEADER = "file,prompt,seed,label:gender"
LINES = [
    "a.png,a photo of a nurse,7,female",
    "b.png,a photo of a nurse,,female",
    'sub/c.png,"a photo of a nurse",9,male',
    "d.png,a photo of a chef,1,",
]


def folder(path: Path, lines: list[str] = LINES, header: str = HEADER) -> Path:
    (path / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "sub/c.png", "d.png")):
        Image.fromarray(np.full((8, 8, 3), number * 60, dtype=np.uint8)).save(path / name)
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "JPEG")
    (path / "torn.jpg").write_bytes(whole.getvalue()[:-600])
    (path / "manifest.csv").write_bytes(("\ufeff" + "\r\n".join([header, *lines]) + "\r\n").encode())
    return path


def config(source: Path, *concepts: str, **more: Any) -> AuditConfig:
    return AuditConfig(source=str(source), question=Question(concepts=concepts), out=source.parent / "run", **more)


def test_labels_are_taken_as_they_are_given(tmp_path: Path) -> None:
    done = audit(config(folder(tmp_path / "pictures"), "gender"))
    shares = {
        (one.prompt, one.class_name): (one.value, one.n, one.abstained)
        for one in done.estimates
        if one.metric == "share" and one.prompt is not None
    }
    assert shares["a photo of a nurse", "female"] == (2 / 3, 3, 0)
    # the chef has no label: not judged is not male
    assert shares["a photo of a chef", "male"] == (None, 0, 1)
    assert done.result["settings"] is None
    assert done.result["costs"][0]["denoiser_evaluations"] == 0
    assert (done.run / "images").is_dir()


def test_a_judge_is_asked_where_no_label_is(tmp_path: Path, toy: Callable[..., ToyHost]) -> None:
    toy()
    source = folder(tmp_path / "pictures")
    with pytest.raises(ConceptError, match="no column label:age: add it, or give --judge"):
        audit(config(source, "gender", "age"))
    done = audit(config(source, "gender", "age", judge="toy"))
    ages = {one.prompt: one.value for one in done.estimates if one.metric == "share" and one.class_name == "young"}
    # greys 0, 60, 120 for the nurse: two of three below 120 are class one; grey 180 for the chef
    assert ages["a photo of a nurse"] == pytest.approx(2 / 3)
    assert ages["a photo of a chef"] == 0


def test_a_changed_picture_is_another_configuration(tmp_path: Path) -> None:
    source = folder(tmp_path / "pictures")
    audit(config(source, "gender"))
    Image.fromarray(np.full((8, 8, 3), 9, dtype=np.uint8)).save(source / "a.png")
    with pytest.raises(InputError, match=r"differ in images\)"):
        audit(config(source, "gender"))


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("datei,prompt", "a.png,x", r"line 1: no column 'file'; found: datei, prompt"),
        ("file", "a.png", r"line 1: no column 'prompt'; found: file"),
        (HEADER, "a.png,x,7", r"line 2, column .*: expected 4 fields"),
        (HEADER, "a.png,x,7,female,more", r"line 2, column .*: expected 4 fields"),
        (HEADER, "a.png,,7,female", r"line 2, field 2 \(prompt\): empty"),
        (HEADER, "a.png,x,seven,female", r"line 2, field 3 \(seed\): 'seven' is not a whole number"),
        (HEADER, "a.png,x,7,femal", r"line 2, field 4 \(label:gender\): 'femal' is no class of gender"),
        (HEADER, "a.png,x,--7,female", r"line 2, field 3 \(seed\): '--7' is not a whole number"),
        (HEADER, "a.png,x,²,female", r"line 2, field 3 \(seed\): '²' is not a whole number"),
        (HEADER, f"a.png,x,{2**63},female", r"line 2, field 3 \(seed\): '\d+' is not a whole number of 64 bits"),
        (f"{HEADER},label:gender", "a.png,x,7,female,male", r"line 1: the column 'label:gender' is there twice"),
        (HEADER, "a\0.png,x,7,female", r"line 2, field 1 \(file\): 'a\\x00.png' is no name of a file"),
        (HEADER, "a.png,x,7,female\n./a.png,x,8,male", r"line 3: ./a.png stands in line 2 already"),
        (HEADER, "sub/../a.png,x,7,female\na.png,x,8,male", r"line 3: a.png stands in line 2 already"),
        (HEADER, "torn.jpg,x,7,female", r"line 2, field 1 \(file\): torn.jpg cannot be read as an image"),
        (HEADER, "z.png,x,7,female", r"line 2, field 1 \(file\): z.png is not there"),
        (HEADER, "manifest.csv,x,7,female", r"field 1 \(file\): manifest.csv cannot be read as an image"),
        (HEADER, "../a.png,x,7,female", r"lies outside the folder"),
        (HEADER, 'a.png,"x,7,female', r"line 2, column 7: unexpected end of data"),
    ],
)
def test_a_malformed_manifest_names_line_and_column(tmp_path: Path, header: str, line: str, message: str) -> None:
    source = folder(tmp_path / "pictures", [line], header)
    with pytest.raises(InputError, match=message) as error:
        audit(config(source, "gender"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"effort": Effort(images_per_prompt=4)}, "--images-per-prompt"),
        ({"image": ImageOptions(steps=9)}, "--steps"),
        ({"image": ImageOptions(guidance=0.0)}, "--guidance"),
        ({"image": ImageOptions(scheduler="ddim")}, "--scheduler"),
        ({"image": ImageOptions(size=(64, 64))}, "--size"),
        ({"image": ImageOptions(negative_prompt="")}, "--negative-prompt"),
        ({"model": ModelOptions(device="cpu")}, "--device"),
        ({"model": ModelOptions(dtype="float32")}, "--dtype"),
        ({"model": ModelOptions(batch_size=4)}, "--batch-size"),
        ({"model": ModelOptions(lora="a/lora")}, "--lora"),
        ({"model": ModelOptions(revision="main")}, "--revision"),
        ({"model": ModelOptions(variant="fp16")}, "--variant"),
    ],
)
def test_options_that_mean_nothing_for_a_folder_are_refused(
    tmp_path: Path, changes: dict[str, Any], option: str
) -> None:
    source = folder(tmp_path / "pictures")
    with pytest.raises(InputError, match=rf"^{option}: the images of a folder are made already; leave it out$"):
        audit(config(source, "gender", **changes))
    assert not (tmp_path / "run").exists()


def test_a_judge_who_is_not_asked_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "pictures")
    for panel in ((), ("other",)):
        with pytest.raises(
            InputError, match=r"--judge toy: manifest\.csv has a label for every concept, so no judge is"
        ):
            audit(config(source, "gender", judge="toy", panel=panel))


def test_options_of_a_model_beside_a_folder_are_the_models(tmp_path: Path, toy: Callable[..., ToyHost]) -> None:
    toy()
    source = folder(tmp_path / "pictures")
    ask = config(source, "gender", judge="toy", image=ImageOptions(steps=9))
    prepared = prepare_models(["a/model", str(source)], ask)
    assert [one.judge for one in prepared.audits] == ["toy", None]
    assert [one.judge for one in prepare_models([str(source), "a/model"], ask).audits] == [None, "toy"]
    with pytest.raises(InputError, match="--steps"):
        prepare_models([str(source), str(folder(tmp_path / "others"))], ask)


def test_a_folder_of_images_without_a_manifest_is_told_so(tmp_path: Path) -> None:
    source = folder(tmp_path / "pictures")
    (source / "manifest.csv").unlink()
    with pytest.raises(
        InputError, match=r"pictures holds images and neither a model nor a manifest\.csv: to audit"
    ) as error:
        audit(config(source, "gender"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image is listed"):
        audit(config(folder(tmp_path / "pictures", []), "gender"))


def test_prompts_of_a_folder_stand_in_its_manifest(tmp_path: Path) -> None:
    source = folder(tmp_path / "pictures")
    question = Question(concepts=("gender",), prompts="occupations")
    with pytest.raises(InputError, match="stand in its manifest"):
        audit(AuditConfig(source=str(source), question=question))
