"""Logs of a training: JSON lines, TensorBoard where it is wanted, and an alarm."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenhand.errors import ModelError
from evenhand.files import write_bytes, writing

_RECENT = 20
_ALARM = 1.05


class TrainingLog:
    """One training's logs.

    Args:
        folder: holds `log.jsonl`, and TensorBoard's event files.
        step: that the training goes on from; lines of later ones, which will be made again, are taken out.
        tensorboard: True writes those too.

    Raises:
        ModelError: tensorboard is wanted and missing.
    """

    def __init__(self, folder: Path, *, step: int = 0, tensorboard: bool = False) -> None:
        self._file = folder / "log.jsonl"
        if self._file.is_file():
            lines = self._file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_bytes(self._file, "".join(kept).encode())
        self._board = _board(folder) if tensorboard else None
        self._recent: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._alarmed = False

    def write(self, facts: Mapping[str, float]) -> str | None:
        """Add a step; the text of an alarm the first time that one is due.

        The winners' error, over the reference's, rises where a loss is lowered by making losers worse still: then
        images fall apart. The alarm sounds when it is 5 % above the reference on the mean of 20 steps.
        """
        with writing(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(facts)) + "\n")
        if self._board is not None:
            with writing(self._file.parent / "tensorboard"):
                for name, value in facts.items():
                    if name != "step":
                        self._board.add_scalar(name, value, int(facts["step"]))
        self._recent.append(facts["winner_error"])
        mean = sum(self._recent) / len(self._recent)
        if self._alarmed or len(self._recent) < _RECENT or mean <= _ALARM:
            return None
        self._alarmed = True
        return (
            f"step {int(facts['step'])}: the error of winners is {mean:.2f} times that of the reference, images may "
            "fall apart; take a lower rate, a smaller beta or sft_weight"
        )

    def close(self) -> None:
        """Write what is still in memory."""
        if self._board is not None:
            with writing(self._file.parent / "tensorboard"):
                self._board.close()


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ModelError("tensorboard is missing; install it (pip install 'evenhand[train]')") from None
    return SummaryWriter(str(folder / "tensorboard"))
