"""Where the work runs: in this process, or on the workers of a Ray cluster.

An engine takes units of work and gives back what came of each; who stores it, and what it means, is not its business.
"""

from .engine import Engine, Failed, Source, Worker
from .local import Local

__all__ = ["Engine", "Failed", "Local", "Source", "Worker"]
