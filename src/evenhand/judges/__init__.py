"""Judges: images to verdicts."""
