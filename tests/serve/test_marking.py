"""Marks: in the PNG, and signed."""

from __future__ import annotations

import importlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import write_signer
from PIL import Image

from evenhand.errors import InputError
from evenhand.serve.marking import SYNTHETIC, Signer, SigningKey, marked_png

MADE = {"model": "toy", "policy": "house/3#12345678", "classes": {"gender": "female"}}


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)


def test_the_pixels_stay_and_the_text_says_what_made_them() -> None:
    with Image.open(io.BytesIO(marked_png(picture(), MADE))) as image:
        told: Any = image.text  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.asarray(image), picture())
    assert json.loads(told["evenhand"]) == MADE
    assert told["Software"].startswith("evenhand ")
    assert f'DigitalSourceType="{SYNTHETIC}"' in told["XML:com.adobe.xmp"]


def test_a_signed_manifest_can_be_read_and_changes_are_seen(tmp_path: Path) -> None:
    c2pa = importlib.import_module("c2pa")
    chain, key = write_signer(tmp_path)
    signed = Signer(SigningKey(certificates=chain, key=key)).sign(marked_png(picture(), MADE), MADE)

    def read(data: bytes) -> dict[str, Any]:
        with c2pa.Reader("image/png", io.BytesIO(data)) as reader:
            return json.loads(reader.json())

    told = read(signed)
    manifest = told["manifests"][told["active_manifest"]]
    assertions = {one["label"]: one["data"] for one in manifest["assertions"]}
    action = next(data for label, data in assertions.items() if label.startswith("c2pa.actions"))["actions"][0]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", SYNTHETIC)
    assert assertions["org.evenhand.made"] == MADE
    # the signer is nobody's; every other check holds
    assert {one["code"] for one in told.get("validation_status", ())} <= {"signingCredential.untrusted"}
    with Image.open(io.BytesIO(signed)) as image:
        np.testing.assert_array_equal(np.asarray(image), picture())
    place = signed.rindex(b"IDAT") + 8
    forged = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
    assert "assertion.dataHash.mismatch" in {one["code"] for one in read(forged)["validation_status"]}


def test_keys_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    chain, key = write_signer(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        Signer(SigningKey(certificates=tmp_path / "none.pem", key=key))
    with pytest.raises(InputError, match="cannot be used"):
        Signer(SigningKey(certificates=chain, key=key, algorithm="es384"))
    key.write_text("no key")
    with pytest.raises(InputError, match="cannot be used"):
        Signer(SigningKey(certificates=chain, key=key))


def test_without_the_library_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, key = write_signer(tmp_path)

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"pip install 'evenhand\[serve\]'"):
        Signer(SigningKey(certificates=chain, key=key))
