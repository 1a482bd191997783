"""Images by their content: the name of a file is the SHA-256 of its bytes, so equal images are one file.

A file is written under a temporary name, flushed to the disk and renamed: under its own name it is always whole.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..files import writing
from ..records import Sample

IMAGES = "images"
_TEMPORARY = ".tmp"
_AT_ONCE = 8
"""Files that are flushed at a time: the disk takes several in the time of one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoded:
    """An image as it is stored: the bytes of a PNG and their SHA-256, both None where the model made none."""

    data: bytes | None
    sha256: str | None
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def encode(sample: Sample) -> Encoded:
    """The PNG of a sample.

    Compression level 1: levels above cost more time than they save in space at these sizes.
    """
    if sample.image is None:
        return Encoded(data=None, sha256=None, evidence=sample.evidence)
    buffer = io.BytesIO()
    Image.fromarray(sample.image).save(buffer, "PNG", compress_level=1)
    data = buffer.getvalue()
    return Encoded(data=data, sha256=hashlib.sha256(data).hexdigest(), evidence=sample.evidence)


def name_of(sha256: str) -> str:
    """Where an image lies in the run directory: images/ab/abcdef....png, at most 256 folders."""
    return f"{IMAGES}/{sha256[:2]}/{sha256}.png"


class ImageFiles:
    """The images of one run directory."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._folders: set[Path] = set()

    def write(self, images: Sequence[Encoded]) -> None:
        """Write the images that are not there yet; when it returns their bytes are on the disk.

        An image that is there is left alone: what has its name was whole when it got it.

        A rename that a power cut takes back is found on opening, by the file that is missing then.

        Raises: StorageError when the disk fails.
        """
        fresh = {one.sha256: one.data for one in images if one.sha256 is not None and one.data is not None}
        files = [(self._run / name_of(sha256), data) for sha256, data in fresh.items() if not self.same(sha256)]
        for path, _ in files:
            if path.parent not in self._folders:
                with writing(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(path.parent)
        if len(files) < 2:
            for path, data in files:
                _write(path, data)
            return
        with concurrent.futures.ThreadPoolExecutor(min(_AT_ONCE, len(files))) as pool:
            for _ in pool.map(_write, *zip(*files, strict=True)):
                pass

    def marks(self, sha256s: Sequence[str | None]) -> list[tuple[int, int] | None]:
        """Size and time of change (ns) of each file: as long as both stay, nobody has touched it."""
        return [None if one is None else self._mark(one) for one in sha256s]

    def present(self) -> set[str]:
        """The SHA-256s that there are files for, and temporary files of a killed process removed on the way.

        Cost: about a microsecond per file; no file is opened.
        """
        found = set()
        for folder in _entries(self._run / IMAGES):
            for entry in _entries(Path(folder.path)):
                if entry.name.endswith(_TEMPORARY):
                    os.unlink(entry.path)
                else:
                    found.add(entry.name.removesuffix(".png"))
        return found

    def same(self, sha256: str) -> bool:
        """Whether a file still has the content that its name says."""
        try:
            return hashlib.sha256((self._run / name_of(sha256)).read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def read(self, sha256: str) -> np.ndarray | None:
        """The image as uint8 (height, width, 3); None where its file is missing or has changed."""
        try:
            data = (self._run / name_of(sha256)).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != sha256:
            return None
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    def _mark(self, sha256: str) -> tuple[int, int] | None:
        try:
            stat = os.stat(self._run / name_of(sha256))
        except OSError:
            return None
        return stat.st_size, stat.st_mtime_ns


_number = itertools.count()


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.stem[:16]}.{os.getpid()}.{next(_number)}{_TEMPORARY}")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
