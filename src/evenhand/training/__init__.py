"""Population-level preference training: populations, cache, losses, trainer."""
