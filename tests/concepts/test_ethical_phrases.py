"""Ethical phrases in prompts: 60 wordings of our own, and 40 prompts that only look as if they held one."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from evenhand.concepts.ethical_phrases import ethical_phrases

PHRASES = {
    "gender": [
        "a photo of a pilot of any gender",
        "a plumber, regardless of gender",
        "portrait of a surgeon, no matter which gender",
        "a judge of whichever gender",
        "a welder, gender does not matter",
        "a chef whose gender is chosen at random",
        "an architect of a random gender",
        "an engineer without gender bias",
        "a pharmacist free of gender stereotypes",
        "a gender-neutral depiction of a firefighter",
        "a dancer with a fair mix of genders",
        "a group portrait with a balanced mix of genders",
        "a scientist, irrespective of gender",
        "either a man or a woman as a pilot",
        "a photo of a CEO, male or female",
        "a woman or a man repairing a bike",
        "a tailor with equal chances for every gender",
        "an analyst of no particular gender",
        "a coach without regard to gender",
        "a portrait of a butcher of either sex",
        "a clerk, gender can be anything",
        "photo of a cook of any possible gender",
    ],
    "skin": [
        "a photo of a nurse of any skin tone",
        "a doctor regardless of skin colour",
        "a lawyer with a random skin tone",
        "a teacher of whatever complexion",
        "a baker of any ethnicity",
        "a driver, irrespective of race",
        "a student without racial bias, skin tone does not matter",
        "a manager with equal chances for every skin tone",
        "a mechanic of no specific ethnicity",
        "a model without skin tone bias",
        "portrait of a cleaner, all skin tones",
        "a person with light or dark skin",
    ],
    "age": [
        "a photo of a swimmer of any age",
        "a dancer regardless of age",
        "a runner, age does not matter",
        "a singer of a random age",
        "a musician, young or old",
        "a gardener of all ages",
        "a painter free of age stereotypes",
    ],
    "unsafe": [
        "a person in a battle with no violence",
        "a person at a riot, without any weapons",
        "a soldier with no blood",
        "a crime scene free of gore",
        "a protest, kept peaceful",
        "a boxing match suitable for children",
        "a hunting trip, nobody is hurt",
        "a person in a horror film, family-friendly",
        "a street fight scene without blood or weapons",
        "a warrior, nothing violent",
        "a stormy sea, nothing dangerous",
        "a person in a car crash with nobody injured",
        "a non-violent depiction of a battle",
        "a knight, violence-free",
        "a battle shown in a harmless way",
        "a riot depicted in a peaceful manner",
        "a dark alley, safe for everyone",
        "a person at a riot, never violent",
        "a hospital with no signs of violence",
    ],
}  # fmt: skip

DECOYS = [
    "a no-fire zone sign", "a sign reading 'no weapons'", "a fire extinguisher on a wall", "a race car on any track",
    "a peaceful lake at dawn", "a soldier in a battle with violence", "a gender reveal party",
    "a doctor with no glasses",
    "an old man in a park", "a book called No Violence", "toys for all ages", "a map from the age of discovery",
    "no fireplace in the room", "a person without a scarf", "a safe house in the woods", "a fearless knight",
    "the golden age of cinema", "a man without fear", "a photo of a nurse", "a bulletproof vest", "a fire truck",
    "a weapon shop", "a bloodhound", "a photo of any house", "a woman with dark skin", "a random street",
    "a female pilot",
    "a person holding a weapon",
    "a campfire at night", "a person covered in blood", "every race horse on the course",
    "a t-shirt that says gender equality", "a poster with the words peace and no violence", "the stone age",
    "an all-purpose knife", "a safe with a lock", "a mixed salad", "a balanced breakfast", "a different person",
    "a safety helmet on a chair",
]  # fmt: skip


def test_there_are_sixty_and_forty() -> None:
    assert sum(map(len, PHRASES.values())) >= 60
    assert len(DECOYS) == 40


def test_precision_and_recall() -> None:
    wanted = {(concept, prompt) for concept, prompts in PHRASES.items() for prompt in prompts}
    found = {
        (phrase.concept, prompt)
        for prompt in [*(prompt for _, prompt in wanted), *DECOYS]
        for phrase in ethical_phrases(prompt)
    }
    missed, wrong = sorted(wanted - found), sorted(found - wanted)
    # .95 each is asked for; what is missed is printed
    assert len(wanted & found) / len(wanted) >= 0.95, missed
    assert len(wanted & found) / len(found) >= 0.95, wrong


def test_decoys_hold_none() -> None:
    wrong = {prompt: ethical_phrases(prompt) for prompt in DECOYS if ethical_phrases(prompt)}
    assert len(wrong) <= 2, wrong


def test_every_wording_that_skewville_was_taught_is_found() -> None:
    grammar = tomllib.loads(files("evenhand.skewville").joinpath("grammar.toml").read_text("utf-8"))
    for concept, wordings in grammar["ethical"].items():
        for wording in wordings:
            (phrase,) = ethical_phrases(f"a photo of a person in a battle {wording}")
            assert phrase.concept == concept, wording


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a nurse of any gender with no violence", ["gender:any", "unsafe:safe"]),
        ("a nurse with no violence and of any age", ["unsafe:safe", "age:any"]),
        ("a nurse of any gender, any gender at all", ["gender:any"]),
        ("A NURSE OF ANY\nGENDER", ["gender:any"]),
        ("", []),
        ("not without violence", []),
        ("suitable for all ages", ["unsafe:safe"]),
        ("a crime scene with no signs of blood", ["unsafe:safe"]),
        ("a sign that says no blood", []),
    ],
)
def test_phrases_come_in_order_and_once(prompt: str, found: list[str]) -> None:
    assert [f"{one.concept}:{one.wish}" for one in ethical_phrases(prompt)] == found
