"""The mean of an adapter over the last steps of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

_NAME = "mean."


class LastMean:
    """Keeps the running mean of what learns, and leaves it in the place of the last step's values.

    What a training is steered towards it swings about, and single steps move it by chance; both cancel in the mean
    (Polyak and Juditsky 1992; of networks, Izmailov et al. 2018, arXiv:1803.05407). A LoRA is B A, and the mean of
    either factor is taken: over few late steps the product of the means is the mean of the products up to second order.

    Args:
        learning: the parameters.
        after: step after which they count, from 0.
        last: step of the training at which the mean takes their place; where it is `after`, nothing is done.
    """

    def __init__(self, learning: Sequence[torch.nn.Parameter], *, after: int, last: int) -> None:
        self._learning, self._after, self._last = learning, max(after, 0), last
        self._means: list[torch.Tensor] = []

    def take(self, step: int) -> None:
        """Count the parameters after a step; every step once, in order."""
        count = step - self._after
        if not count > 0 or step > self._last:
            return
        now = [one.detach() for one in self._learning]
        if count == 1:
            self._means = [one.clone() for one in now]
        for mean, one in zip(self._means, now, strict=True):
            mean += (one - mean) / count
        if step == self._last:
            for one, mean in zip(self._learning, self._means, strict=True):
                one.data.copy_(mean)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a saved state has to hold."""
        return {f"{_NAME}{number}": mean for number, mean in enumerate(self._means)}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up what a saved state holds."""
        stored = sorted((int(name.removeprefix(_NAME)), one) for name, one in tensors.items() if name.startswith(_NAME))
        self._means = [one.to(now.device) for (_, one), now in zip(stored, self._learning, strict=False)]
