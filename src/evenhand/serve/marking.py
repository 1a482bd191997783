"""What every image carries: what made it, in the PNG itself, and a signed C2PA manifest where a key is given."""

from __future__ import annotations

import dataclasses
import importlib
import io
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import InputError
from ..records import canonical_json

SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media that a trained model made."""

_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SYNTHETIC}"/></rdf:RDF></x:xmpmeta>'
)


def marked_png(image: np.ndarray, made: Mapping[str, Any]) -> bytes:
    """A PNG that says what made it: text `evenhand` (JSON), `Software`, and IPTC's digital source type as XMP.

    Args:
        image: uint8 (height, width, 3).
        made: what made it; it holds no prompt.
    """
    info = PngInfo()
    info.add_text("Software", f"evenhand {version('evenhand')}")
    info.add_itxt("evenhand", canonical_json(dict(made)))
    info.add_itxt("XML:com.adobe.xmp", _XMP)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1, pnginfo=info)
    return buffer.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A key for C2PA manifests.

    Args:
        certificates: PEM, the signer's first.
        key: PEM, PKCS 8.
        algorithm: es256, es384, es512, ps256, ps384, ps512 or ed25519.
    """

    certificates: Path
    key: Path
    algorithm: str = "es256"


class Signer:
    """Adds a C2PA manifest to PNGs.

    Args:
        given: the key.

    Raises:
        InputError: c2pa-python is not installed, or the key cannot be used; tried on one pixel.
    """

    def __init__(self, given: SigningKey) -> None:
        try:
            self._c2pa: Any = importlib.import_module("c2pa")
        except ImportError:
            raise InputError(
                "a signing key is given, and c2pa-python is not installed: pip install 'evenhand[serve]'"
            ) from None
        try:
            chain, key = given.certificates.read_bytes(), given.key.read_bytes()
        except OSError as error:
            raise InputError(f"the signing key cannot be read: {error}") from None
        self._secrets = (given.algorithm, chain, key)
        try:
            self.sign(marked_png(np.zeros((1, 1, 3), np.uint8), {}), {})
        except Exception as error:  # the library has one error class per way to fail
            raise InputError(
                f"the signing key cannot be used: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
            ) from None

    def sign(self, png: bytes, made: Mapping[str, Any]) -> bytes:
        """The same picture with a manifest that says that a model made it, and which.

        Args:
            png: from `marked_png`.
            made: what made it; it stands in the manifest too.
        """
        created = {"action": "c2pa.created", "digitalSourceType": SYNTHETIC}
        manifest = {
            "claim_generator_info": [{"name": "evenhand", "version": version("evenhand")}],
            "format": "image/png",
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
                {"label": "org.evenhand.made", "data": dict(made)},
            ],
        }
        out = io.BytesIO()
        algorithm, chain, key = self._secrets
        info = self._c2pa.C2paSignerInfo(algorithm.encode(), chain, key, None)
        with self._c2pa.Signer.from_info(info) as signer, self._c2pa.Builder(manifest) as builder:
            builder.sign(signer, "image/png", io.BytesIO(png), out)
        return out.getvalue()
