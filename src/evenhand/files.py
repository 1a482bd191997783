"""Files that are written whole or not at all, and the errors of the disk in one line."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from .errors import InputError, StorageError

_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError inside the block into one line about `path`; a full disk is said to be one."""
    try:
        yield
    except OSError as error:
        if error.errno in _OUT_OF_SPACE:
            raise StorageError(
                f"no space left on the disk while writing {path}; what is done stays: "
                "free some space and run the same command again"
            ) from error
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}: {reason}; what is done stays, run the same command again") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to a temporary name beside `path`, then rename: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused: JSON has neither."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON of a file.

    Raises: InputError when it is not there or is no JSON; the line names line and column.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error


def write_png(path: Path, image: np.ndarray) -> str:
    """Write a uint8 image (height, width, 3) as PNG, atomically; returns the SHA-256 of the file as hex.

    Compression level 1: levels above cost more time than they save in space at these sizes.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    data = buffer.getvalue()
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def read_image(path: Path) -> np.ndarray:
    """An image file as uint8 (height, width, 3).

    Raises: InputError when it cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"cannot read {path} as an image: {error}; replace the file or leave it out") from error


def slug(text: str) -> str:
    """A file name for `text`: the text itself with "_" for spaces, or words and a hash where it is not that plain."""
    if len(text) <= 60 and re.fullmatch(r"[a-z0-9]+([ -][a-z0-9]+)*", text):
        return text.replace(" ", "_")
    words = re.sub(r"[^a-z0-9]+", "-", text.lower())[:48].strip("-")
    return f"{words}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")
