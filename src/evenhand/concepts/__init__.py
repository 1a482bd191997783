"""Concepts, targets and prompt sets, and which image gets which class and seed. No torch, no numbers."""

from .allocation import allocate, image_seed
from .concept import Concept, ConceptClass
from .library import concept_from_phrases, concept_names, join_concepts, load_concept
from .prompts import PromptRow, PromptSet, load_prompts, prompt_set_names
from .target import parse_target

__all__ = [
    "Concept",
    "ConceptClass",
    "PromptRow",
    "PromptSet",
    "allocate",
    "concept_from_phrases",
    "concept_names",
    "image_seed",
    "join_concepts",
    "load_concept",
    "load_prompts",
    "parse_target",
    "prompt_set_names",
]
