"""A CLIPTokenizer of Skewville's own words, with real byte-pair merges."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from .captions import Captioner, load_grammar, spoken
from .draw_house import STYLES
from .draw_occupation import LOOKS
from .draw_scene import SCENES
from .paths import MODEL_DIRECTORY

MAX_LENGTH = 40
"""Tokens of the longest caption with its two ends; longer prompts are cut, as by every CLIP text encoder."""
_EXTRA = (
    "a photo of the picture harmless blank noisy or and with without person house coast inland light medium dark skin "
    "red paint kitchen knife candle blood weapon fire unsafe safe violence"
)


def words() -> list[str]:
    """Every word that the captions, the judges' phrases and the renderer's names can hold, sorted."""
    names = " ".join(spoken(name) for name in (*LOOKS, *SCENES, *STYLES))
    return sorted(Captioner(load_grammar()).vocabulary() | set(names.split()) | set(_EXTRA.split()))


def _learn_merges(corpus: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-pair merges that make one token of every word of the corpus, by the `tokenizers` library."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=20_000, min_frequency=1, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(corpus, trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learned["merges"]]
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens += [left + right for left, right in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges


@functools.cache
def build_tokenizer() -> CLIPTokenizer:
    """The tokenizer of Skewville's text encoder; every word of the grammar is one token, others fall to pieces.

    It is the one that ships, as long as that knows every word: the library that learns merges breaks ties differently
    in every process, and a training that is continued must read the same tokens as the one that began.
    """
    if (MODEL_DIRECTORY / "tokenizer" / "tokenizer.json").is_file():
        shipped = CLIPTokenizer.from_pretrained(MODEL_DIRECTORY / "tokenizer")
        if {f"{word}</w>" for word in words() if word.isalpha()} <= set(shipped.get_vocab()):
            return shipped
    return learn_tokenizer()


def learn_tokenizer() -> CLIPTokenizer:
    """A tokenizer that is learnt anew; equal words give other numbers in another process."""
    vocabulary, merges = _learn_merges(words())
    pairs: Any = merges  # annotated as a list of strings; the library takes pairs
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=MAX_LENGTH)


def special_tokens() -> dict[str, Any]:
    """The ids of the tokens that begin, end and fill a text, as a text encoder's configuration names them."""
    tokenizer = build_tokenizer()
    begin, end = (tokenizer.get_vocab()[token] for token in ("<|startoftext|>", "<|endoftext|>"))
    return {"bos_token_id": begin, "eos_token_id": end, "pad_token_id": end}
