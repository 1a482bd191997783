"""What a pass over some images gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from evenhand.training.losses import Rewards


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """A pass over some images.

    Args:
        rewards: of all of them.
        missed: what plain training lowers, for each winner, (winners,).
    """

    rewards: Rewards
    missed: torch.Tensor

    def detached(self) -> Batch:
        """The same without gradients."""
        rewards = dataclasses.replace(self.rewards, values=self.rewards.values.detach())
        return Batch(rewards=rewards, missed=self.missed.detach())

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """Several passes as one."""
        rewards = [one.rewards for one in parts]
        return cls(
            rewards=Rewards(
                values=torch.cat([one.values for one in rewards]),
                winner=torch.cat([one.winner for one in rewards]),
                population=torch.cat([one.population for one in rewards]),
            ),
            missed=torch.cat([one.missed for one in parts]),
        )
