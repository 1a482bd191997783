"""The text embedding: every token of an embedded prompt is multiplied by a matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.errors import ModelError
from evenhand.host.sites import Call, Site


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextMap:
    """An intervention on the embedded prompts.

    Args:
        name: how reports call it.
        matrix: (width, width); the identity changes nothing.
        wanted: for each image of a call whether its prompt is changed.
        strength: share of the way from the embedding to its image; 1 as fitted, 0 is off.
    """

    name: str
    matrix: torch.Tensor
    wanted: Callable[[Call], Sequence[bool]]
    strength: float = 1.0
    site: Site = "text embedding"

    def scaled(self, strength: float) -> TextMap:
        """The same map at another strength."""
        return dataclasses.replace(self, strength=strength)

    def shift(self, embeddings: torch.Tensor) -> torch.Tensor:
        """What is added to embeddings (n, tokens, width), in float32.

        Raises:
            ModelError: the embeddings are of another width.
        """
        width = len(self.matrix)
        if embeddings.shape[-1] != width:
            raise ModelError(
                f"{self.name}: the matrix is {width} wide and the embeddings are {embeddings.shape[-1]}; it was "
                "fitted on another model"
            )
        values = embeddings.float()
        return self.strength * (values @ self.matrix.to(values).T - values)

    def mapped(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The embeddings with every token multiplied."""
        return (embeddings.float() + self.shift(embeddings)).to(embeddings.dtype)

    def check(self, host: Any) -> None:
        """Every pipeline embeds its prompts; how wide is known when it does."""

    def begin(self, call: Call) -> TextMapEffect | None:
        """The effect on one call; None where no prompt is changed."""
        wanted = tuple(self.wanted(call))
        return TextMapEffect(self, wanted) if any(wanted) else None


class TextMapEffect:
    """One call."""

    def __init__(self, text_map: TextMap, wanted: Sequence[bool]) -> None:
        self._map, self._wanted = text_map, wanted
        self._moved = [0.0] * len(wanted)

    def embed(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The embeddings with every token multiplied; prompts that are left alone keep their bits."""
        moved = self._map.shift(embeddings)
        for row, norm in enumerate(moved.flatten(1).norm(dim=1).tolist()):
            self._moved[row] = norm if self._wanted[row] else 0.0
        chosen = torch.tensor(self._wanted, device=embeddings.device).view(-1, 1, 1)
        return torch.where(chosen, (embeddings.float() + moved).to(embeddings.dtype), embeddings)

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Per image: how far its embedding was moved."""
        return [{"moved": round(norm, 4)} for norm in self._moved]
