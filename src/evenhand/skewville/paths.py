"""Where the checkpoints of Skewville lie."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS = Path(__file__).with_name("checkpoints")
MODEL_DIRECTORY = CHECKPOINTS / "model"
JUDGE_DIRECTORIES = {"clip": CHECKPOINTS / "clip", "convnet": CHECKPOINTS / "convnet"}
FITS_DIRECTORY = CHECKPOINTS / "fits"
"""Interventions that were fitted on the shipped model."""

LORA_NAME = "pytorch_lora_weights.safetensors"
RECIPE_NAME = "recipe.json"
DERIVATIVES = {"amplified": CHECKPOINTS / "derivatives" / "amplified"}
"""LoRAs of the shipped model that ship with it, by name."""
