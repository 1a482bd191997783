"""Associations: the prompt names each group in turn from the same seeds, and the page states what an audit states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_studio import NURSE, PictureJudge, toy_bench

from evenhand.errors import ConceptError, InputError
from evenhand.metrics.paired import mcnemar, paired_difference
from evenhand.studio.bench import Bench
from evenhand.studio.depict_handlers import DepictHandlers
from evenhand.studio.depicting import Depicted, begin_depiction, depict
from evenhand.studio.depicting_markup import association_images, association_table
from evenhand.studio.handlers import Handlers
from evenhand.studio.look import Look
from evenhand.studio.session import Session
from evenhand.studio.takeaway import command, python_lines
from evenhand.testing.toy import ToyWorld
from evenhand.verbs.series import series_of


class SpaceJudge(PictureJudge):
    """Has a space: an image lies at its grey level, a text at its length."""

    def image_features(self, images: object) -> list[torch.Tensor | None]:
        return [None if one is None else _unit(float(one.mean()) / 255) for one in images]  # type: ignore[attr-defined]

    def text_features(self, texts: object) -> torch.Tensor:
        return torch.stack([_unit(len(text) % 11 / 11) for text in texts])  # type: ignore[attr-defined]


def _unit(angle: float) -> torch.Tensor:
    return torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32)


@pytest.fixture
def space() -> Bench:
    plain = toy_bench()
    return Bench(plain.model, SpaceJudge(ToyWorld()), "a/toy")


@pytest.fixture
def made(look: Look, space: Bench) -> Depicted:
    wanted = begin_depiction(look, "gender", "age, a strong leader", 10, space.judge)
    list(depict(Session(), space, wanted))
    return wanted


def test_every_seed_has_an_image_for_each_group(made: Depicted) -> None:
    assert len(made.seeds()) == 10
    for one, two in made.seeds():
        assert one.request.seed == two.request.seed
        assert [one.request.prompt, two.request.prompt] == [f"{NURSE}, woman", f"{NURSE}, man"]


def test_the_difference_is_that_of_pairs(made: Depicted) -> None:
    """The toy judge says of age what it says of gender, so that men are never what women are."""
    attribute = made.swap.association.attributes[0].class_names[0]
    place = made.series.asked.index(made.swap.association.attributes[0])
    first, second = ([seed[k].verdicts[place].label == attribute for seed in made.seeds()] for k in (0, 1))
    found = next(one for one in made.estimates(SpaceJudge(ToyWorld())) if one.metric == "association")
    assert found.value == pytest.approx(paired_difference(first, second)[0])
    assert found.p_value == pytest.approx(mcnemar(first, second))
    assert found.n == 10


def test_likeness_of_one_prompt_is_exact_and_that_of_images_is_estimated(made: Depicted) -> None:
    judge = SpaceJudge(ToyWorld())
    found = {one.metric: one for one in made.estimates(judge)}
    text = found["text_association"]
    leader, woman, man = judge.text_features(["a strong leader", f"{NURSE}, woman", f"{NURSE}, man"]).numpy()
    assert text.value == pytest.approx(float(man @ leader - woman @ leader))
    assert (text.low, text.high, text.n) == (text.value, text.value, 1)
    images = found["image_association"]
    assert images.low is not None
    assert images.high is not None
    assert images.low < images.high
    assert images.n == 10


def test_a_judge_without_a_space_says_so(look: Look, bench: Bench) -> None:
    wanted = begin_depiction(look, "gender", "a strong leader", 4, bench.judge)
    list(depict(Session(), bench, wanted))
    assert "has no space of texts and images" in association_table(wanted, bench.judge)


def test_what_is_stopped_counts_whole_seeds_alone(look: Look, space: Bench) -> None:
    session, wanted = Session(), begin_depiction(look, "gender", "age", 9, space.judge)
    work = depict(session, space, wanted)
    next(work)
    session.stop.set()
    assert list(work)[-1] == "Stopped after 2 of 9 seeds."
    assert {one.n for one in wanted.estimates(space.judge) if one.metric == "association"} == {2}


def test_the_command_makes_the_same_images(made: Depicted) -> None:
    line = command(made.config)
    assert line.startswith("evenhand audit a/toy --association 'gender:age,a strong leader' --prompts")
    assert "--images-per-prompt 10" in line
    assert "associations=('gender:age,a strong leader',)" in python_lines(made.config)
    (series,) = series_of(made.config.question, made.config.effort, {})
    assert set(series.requests) == {one.request for seed in made.seeds() for one in seed}


def test_the_page_shows_groups_side_by_side_with_alt_texts(made: Depicted) -> None:
    page = association_images(made)
    assert page.count("<img") == 20
    assert page.count('aria-label="Seed ') == 10
    assert f'alt="The prompt {NURSE}, woman, seed 1, female; perceived: ' in page
    table = association_table(made, SpaceJudge(ToyWorld()))
    assert "likeness of the prompt, in text space" in table
    assert "male over female" in table


def test_unsafe_images_of_groups_are_covered(look: Look) -> None:
    bench = toy_bench(unsafe="female")
    wanted = begin_depiction(look, "gender", "age", 4, bench.judge)
    list(depict(Session(), bench, wanted))
    covered = association_images(wanted).count("eh-cover")
    assert covered > 0
    wanted.shown.update(range(8))
    assert association_images(wanted).count("eh-cover") == 0


@pytest.mark.parametrize(
    ("group", "attributes", "images", "said"),
    [
        ("", "age", 4, "which groups"),
        ("gender", " , ", 4, "which attributes"),
        ("gender", "age", 1, "how many images"),
        ("gender", "gender", 4, "given twice"),
        ("gender", "age", 501, "at most 1000"),
    ],
)
def test_what_cannot_be_used_is_said(look: Look, group: str, attributes: str, images: int, said: str) -> None:
    with pytest.raises((InputError, ConceptError), match=said):
        begin_depiction(look, group, attributes, images, PictureJudge(ToyWorld()))


def test_the_table_waits_for_the_last_image(look: Look, space: Bench) -> None:
    events = DepictHandlers(Handlers(space, folder=look.folder))
    shown = list(events.compare(Session(), NURSE, 0, "gender", "age", 4))
    assert all("stated when all images are there" in table for _, table, _ in shown[:-1])
    assert "male over female" in shown[-1][1]
    *_, (_, _, said) = events.compare(Session(), NURSE, 0, None, "age", 4)
    assert 'role="alert"' in said
