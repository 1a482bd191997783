"""Skewville: a small text-to-image model that is biased by construction, and by a known amount.

Its people, groups and regions are drawn and invented; it makes no claim about anyone.
"""

from .paths import CHECKPOINTS, DERIVATIVES, JUDGE_DIRECTORIES, MODEL_DIRECTORY

__all__ = ["CHECKPOINTS", "DERIVATIVES", "JUDGE_DIRECTORIES", "MODEL_DIRECTORY"]
