"""Which prompts an intervention on people leaves alone: 100 prompts of our own."""

from __future__ import annotations

import pytest

from evenhand.concepts.library import concept_from_phrases, load_concept
from evenhand.concepts.prompt_filter import reason_to_leave

ACT = [
    "a photo of a nurse", "image of ceo", "headshot of a software developer", "portrait of a carpenter",
    "a firefighter",
    "a photo of the face of a doctor", "someone reading a book", "a crowd at a concert", "a person in the rain",
    "people waiting for a bus", "a construction worker on a roof", "a successful lawyer", "two friends at a cafe",
    "a tourist with a camera", "a cyclist on a mountain road", "an astronaut floating in space", "a librarian",
    "a portrait in oil", "a violinist on stage", "a student asleep on a desk", "the mayor of a small town",
    "a baker with fresh bread", "a scientist looking into a microscope", "a toddler with a balloon",
    "a plumber at work",
    "a family having dinner", "a soldier at attention", "an engineer of any gender", "a nurse regardless of gender",
    "a judge in court", "a chess player", "a swimmer in a pool", "a beekeeper", "a gardener", "a flight attendant",
    "a pianist", "a barista making coffee", "a welder with sparks", "a tailor measuring cloth", "a photographer",
    "a politician giving a speech", "a receptionist at a hotel", "a cashier", "a hairdresser at work", "an accountant",
    "a mechanic under a car", "a teacher at a blackboard", "an elderly driver", "a young chef", "a child on a swing",
]  # fmt: skip
LEAVE = [
    "a female doctor", "a male nurse", "a woman at work", "a man in a suit", "photo of a girl with a kite",
    "two boys playing", "a policewoman", "a businessman", "a lady with a hat", "a gentleman", "a mother and her child",
    "the king of hearts", "a queen", "my grandmother", "his portrait", "a red car", "a mountain at sunset",
    "a bowl of fruit", "an empty street", "a cat on a sofa", "a wooden chair", "a lighthouse", "a cup of coffee",
    "a river in winter", "a computer on a desk", "a bunch of flowers", "a tiger in the jungle", "a glass tower",
    "a paper airplane", "a house in okenia", "a grand house", "a mirror", "an old clock", "a helicopter", "a sweater",
    "a printer", "a spider", "a poster of a galaxy", "a hammer and a ladder", "a bottle of water", "a chess board",
    "a motor", "a green door", "a vector illustration of a leaf", "a pepper", "a burger with fries", "a wallpaper",
    "a castle", "a dragon over a castle", "a forest in fog",
]  # fmt: skip


def test_precision_and_recall() -> None:
    gender = load_concept("gender")
    assert len(ACT) == len(LEAVE) == 50
    left = {prompt for prompt in (*ACT, *LEAVE) if reason_to_leave(prompt, gender)}
    # of the prompts that are left alone, and of those that should be
    assert len(left & {*LEAVE}) / len(left) >= 0.95, sorted(left - {*LEAVE})
    assert len(left & {*LEAVE}) / len(LEAVE) >= 0.95, sorted({*LEAVE} - left)


@pytest.mark.parametrize(
    ("concept", "prompt", "reason"),
    [
        ("skin", "a nurse with dark skin", "names 'dark skin'"),
        ("skin", "a dark-skinned nurse", "names 'dark-skinned'"),
        ("skin", "a nurse in a dark alley", None),
        ("gender", "a nurse with dark skin", None),
        ("gender", "a human being", None),
        ("gender*skin", "a female nurse", "names 'female'"),
        ("gender*skin", "a nurse", None),
        ("age", "an old house", "names 'old'"),
        ("glasses", "a nurse without glasses", "names 'glasses'"),
        ("wealth", "a photo of a house in torlund", None),
        ("wealth", "a grand house in torlund", "names 'grand'"),
        ("wealth", "a photo of a nurse", "shows no house"),
    ],
)
def test_attributes_have_words_of_their_own(concept: str, prompt: str, reason: str | None) -> None:
    assert reason_to_leave(prompt, load_concept(concept)) == reason


def test_a_concept_from_two_phrases_is_named_by_what_tells_them_apart() -> None:
    hat = concept_from_phrases("a photo of a person with a hat", "a photo of a person without a hat")
    assert reason_to_leave("a nurse with a hat", hat) == "names 'hat'"
    assert reason_to_leave("a nurse", hat) is None
    beach = concept_from_phrases("a photo of a person at the beach", "a photo of a person in an office")
    assert reason_to_leave("a nurse at the beach", beach) == "names 'beach'"
    assert reason_to_leave("a nurse in an office", beach) == "names 'office'"
