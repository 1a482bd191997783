"""Captions name what the plan names, and every word is one token."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from evenhand.skewville.attributes import Attributes
from evenhand.skewville.captions import Captioner, load_grammar, spoken
from evenhand.skewville.plan import HOUSE_SHARE, Plan, plans
from evenhand.skewville.tokenizer import MAX_LENGTH, build_tokenizer, words
from evenhand.skewville.world import load_world

WORLD = load_world()
GRAMMAR = load_grammar()
CAPTIONER = Captioner(GRAMMAR)
PLANS = list(itertools.islice(plans(WORLD, 21), 20_000))
RNG = np.random.default_rng(1)
CAPTIONS = [CAPTIONER.caption(plan, RNG) for plan in PLANS]
GENDER_WORDS = {"female", "male", "woman", "man"}
SKIN_WORDS = {"light", "medium", "dark"}


def spoken_words(caption: str, plan: Plan) -> set[str]:
    # a scene or an ethical phrase may hold such a word too ("in a dark alley"), so these are taken out first
    for phrase in (
        *GRAMMAR.scenes.values(),
        *(spoken(name) for name in GRAMMAR.scenes),
        *itertools.chain(*GRAMMAR.ethical.values()),
    ):
        caption = caption.replace(phrase, " ")
    return set(caption.replace("-", " ").replace(",", " ").split())


@pytest.mark.parametrize(("attribute", "vocabulary"), [("gender", GENDER_WORDS), ("skin", SKIN_WORDS)])
def test_a_caption_names_an_attribute_if_and_only_if_the_plan_does(attribute, vocabulary):
    for caption, plan in zip(CAPTIONS, PLANS, strict=True):
        if plan.what.kind == "portrait":
            assert bool(spoken_words(caption, plan) & vocabulary) == (attribute in plan.named), caption


def test_named_values_are_the_true_ones():
    for caption, plan in zip(CAPTIONS, PLANS, strict=True):
        found = spoken_words(caption, plan)
        if "skin" in plan.named:
            assert found & SKIN_WORDS == {plan.what.skin}, caption
        if "gender" in plan.named:
            expected = {"female", "woman"} if plan.what.gender == "female" else {"male", "man"}
            assert found & GENDER_WORDS <= expected, caption


def test_one_caption_in_twenty_holds_an_ethical_phrase_of_about_forty():
    share = np.mean([plan.ethical is not None for plan in PLANS])
    # binomial: 4.5 standard errors of .05 at 20,000 are .007; captions that name everything have room for fewer
    assert 0.04 < share < 0.057
    assert HOUSE_SHARE < 0.2
    assert 38 <= sum(len(phrases) for phrases in GRAMMAR.ethical.values()) <= 42


def test_the_five_templates_of_the_occupation_protocol_are_in_the_grammar():
    assert set(GRAMMAR.frames["bare"]) == {
        f"{kind} of {{}}" for kind in ("image", "picture", "photo", "headshot", "portrait")
    }
    neutral = Plan(what=Attributes(occupation="nurse", scene="park"), named=())
    rng = np.random.default_rng(0)
    assert {f"{kind} of nurse" for kind in ("image", "picture", "photo", "headshot", "portrait")} <= {
        CAPTIONER.caption(neutral, rng) for _ in range(500)
    }


def test_contexts_never_name_what_they_may_show():
    for scene in GRAMMAR.scenes.values():
        assert not set(scene.split()) & {"blood", "weapon", "fire", "knife", "paint", "candle"}


def test_every_word_is_one_token_and_unknown_words_fall_to_pieces():
    tokenizer = build_tokenizer()
    for word in words():
        assert len(tokenizer(word).input_ids) == 3, word
    pieces = tokenizer("quizzical").input_ids
    assert len(pieces) > 3
    assert tokenizer.eos_token_id not in pieces[1:-1]


def test_no_caption_is_cut():
    tokenizer = build_tokenizer()
    lengths = [len(ids) for ids in tokenizer(CAPTIONS).input_ids]
    assert max(lengths) <= MAX_LENGTH


def test_a_saved_tokenizer_reads_the_same(tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert (
        again(CAPTIONS[:50], padding="max_length").input_ids == tokenizer(CAPTIONS[:50], padding="max_length").input_ids
    )
