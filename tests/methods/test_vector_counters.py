"""What a vector moves beside its concept is taken back, by as much as trying says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from evenhand.concepts.library import load_concept
from evenhand.concepts.prompts import PromptRow
from evenhand.host.host import Host
from evenhand.host.noise_level import NoiseLevel
from evenhand.host.runs import Runs
from evenhand.host.sites import Call, Step
from evenhand.interventions.activation_pin import Landmarks
from evenhand.methods.class_texts import Texts
from evenhand.methods.trajectories import MeanActivation
from evenhand.methods.vector_counters import Shift, contrasts, countered, mended, shift_of, with_counters
from evenhand.methods.vector_direction import Direction, Part, direction_of, tensors_of
from evenhand.methods.vector_trials import Trials
from evenhand.methods.vector_widening import along_texts, narrowed, with_widenings
from evenhand.records import Request
from evenhand.testing.toy import ToyWorld, toy_host

SKIN, GENDER = load_concept("skin"), load_concept("gender")
LEVEL = NoiseLevel(alpha=0.6, sigma=0.8, prediction="epsilon")


def activations(rows: Sequence[Sequence[float]]) -> MeanActivation:
    """Of images at two steps; the second gives twice the first."""
    seen = MeanActivation("mid_block", spatial=True, each=True)
    for index in (0, 1):
        step = Step(index=index, total=2, timestep=900.0 - index, after=0.0, level=LEVEL, guidance=1.0)
        seen.shift(step, torch.tensor(rows)[:, :, None, None] * (1 + index))
    return seen


def test_classes_are_contrasted_within_their_texts() -> None:
    """The second text lies 100 away from the first, and shows fewer dark people; that says nothing of dark."""
    labels = {
        "old": [(name, gender) for name in ("dark", "light") for gender in ("female", "male") for _ in range(4)],
        "young": [(name, gender) for name in ("dark", "light") for gender in ("female", "male") for _ in range(4)],
    }
    value = {"dark": 3.0, "light": 1.0}
    means = {
        "mid_block": {
            text: activations([[value[skin] + away, float(gender == "male")] for skin, gender in labels[text]])
            for text, away in (("old", 0.0), ("young", 100.0))
        }
    }
    found = contrasts(means, labels, [SKIN, GENDER])["mid_block"]
    # over two steps, x and 2 x, on the mean 1.5 x
    assert found["skin", "dark"].flatten().tolist() == pytest.approx([3.0, 0.0], abs=1e-2)
    assert found["gender", "male"].flatten().tolist() == pytest.approx([0.0, 1.5], abs=1e-2)
    assert ("skin", "medium") not in found  # nobody shows it


def test_what_the_texts_are_about_has_no_contrast() -> None:
    labels = {"one": [("dark", "female"), ("light", "male")] * 8, "two": [("light", "female"), ("light", "male")] * 8}
    labels["one"] = [("dark", gender) for _, gender in labels["one"]]
    means = {"mid_block": {name: activations([[0.0, 1.0]] * 16) for name in labels}}
    assert {key for key, _ in contrasts(means, labels, [SKIN, GENDER])["mid_block"]} == {"gender"}


def test_a_shift_is_certain_by_its_own_error() -> None:
    plain = ["light"] * 100
    steered = ["dark"] * 10 + ["light"] * 90
    found = shift_of(("light", "medium", "dark"), plain, steered)
    assert found.values == pytest.approx({"light": -0.1, "medium": 0.0, "dark": 0.1})
    # two classes moved by .1, each with variance .1 x .9 / 100: 1 - 2 (.0009) / 2 (.01)
    assert found.certain == pytest.approx(0.91)
    assert found.size == pytest.approx(0.02)


def test_chance_is_not_taken_back() -> None:
    both_ways = shift_of(("a", "b"), ["a"] * 9 + ["b"] * 9, ["b"] * 5 + ["a"] * 4 + ["a"] * 4 + ["b"] * 5)
    assert both_ways.certain == 0
    assert shift_of(("a", "b"), ["a"], ["a"]) == Shift(values={"a": 0.0, "b": 0.0}, certain=0.0)


@pytest.mark.parametrize(
    ("after", "amount"),
    # .3 took back half: twice as much; all of it: as much; twice of it: half as much; a tenth: twice, no more
    [(0.04, 0.6), (0.0, 0.3), (-0.08, 0.15), (0.072, 0.6), (0.08, 0.0), (0.1, 0.0)],
)
def test_the_amount_is_mended_by_what_it_did(after: float, amount: float) -> None:
    before = Shift(values={"dark": 0.08, "light": -0.08}, certain=1.0)
    assert mended(0.3, before, Shift(values={"dark": after, "light": -after}, certain=1.0)) == pytest.approx(amount)


@dataclasses.dataclass(frozen=True)
class _Picture:
    request: Request
    dark: bool


class _Fitting:
    """A model whose share of dark skin rises by .2 with the vector, and falls by .5 for each counter's length."""

    host = None

    def __init__(self) -> None:
        self.made = 0

    def make(self, interventions: Sequence[Any], requests: Sequence[Request]) -> list[_Picture]:
        share = 0.3
        if interventions:
            (pin,) = interventions
            name = pin.pins(Call(prompts=None, images=1))[0][0].name
            counter = pin.landmarks["age"].counters.get(name, torch.zeros(3))
            share += (0.2 if name == "old" else 0.0) - 0.5 * float(counter[1])
        self.made += len(requests)
        return [_Picture(one, number < share * len(requests)) for number, one in enumerate(requests)]

    def read(self, samples: Sequence[_Picture], concepts: Sequence[Any]) -> list[tuple[str, ...]]:
        return [("dark" if one.dark else "light",) for one in samples]


def direction() -> Direction:
    marks = Landmarks(
        module="mid_block",
        axes=torch.tensor([[1.0, 0.0, 0.0]]),
        timesteps=torch.tensor([900.0, 899.0]),
        levels={"young": torch.tensor([[0.0], [0.0]]), "old": torch.tensor([[1.0], [1.0]])},
    )
    vectors = {"young": torch.zeros(3), "old": torch.ones(3)}
    return Direction(
        concept="age", site="mid_block", parts=(Part(module="mid_block", vectors=vectors, landmarks=marks),)
    )


RUNS = Runs(seeds=(1, 2, 3, 4), steps=2)
SKIN_TEXTS = {
    text: tuple(0.8 if other == name else 0.1 for other in SKIN.class_names)
    for name, text in Texts.of(SKIN).classes.items()
}


@pytest.fixture
def skin_host() -> Iterator[Host]:
    with toy_host(ToyWorld(classes=SKIN.class_names, prompts={"": (1 / 3, 1 / 3, 1 / 3), **SKIN_TEXTS})) as one:
        yield one


class _Narrowing:
    """A third of the images each are light, medium and dark; with the vector medium gains .16 from either side alike.

    A widening of gain g takes .2 g back, and counters nothing.
    """

    def __init__(self, host: Any) -> None:
        self.host = host

    def make(self, interventions: Sequence[Any], requests: Sequence[Request]) -> list[tuple[Request, float]]:
        gained = 0.0
        if interventions:
            (pin,) = interventions
            name = pin.pins(Call(prompts=None, images=1))[0][0].name
            widened = pin.landmarks["age"].widenings.get(name, {})
            gained = (0.16 if name == "old" else 0.0) - 0.2 * sum(one.gain for one in widened.values())
        return [(one, gained) for one in requests]

    def read(self, samples: Sequence[tuple[Request, float]], concepts: Sequence[Any]) -> list[tuple[str, ...]]:
        count = len(samples)
        found = []
        for number, (_, gained) in enumerate(samples):
            place = (number + 0.5) / count
            found.append(("light" if place < (1 - gained) / 3 else "dark" if place > (2 + gained) / 3 else "medium",))
        return found


def taken_back(fitting: Any = None) -> tuple[Direction, dict[str, Any], Any]:
    fitting = fitting or _Fitting()
    trials = Trials(
        fitting=fitting,
        concept=load_concept("age"),
        rows=tuple(PromptRow(name=name, templates=(f"a photo of a {name}",)) for name in ("nurse", "baker")),
        read=lambda samples: [None] * len(samples),
        seed=0,
    )
    contrast = torch.tensor([0.0, 1.0, 0.0])
    known = {"mid_block": {("skin", "dark"): contrast, ("skin", "light"): -contrast}}
    return *countered(trials, [SKIN], direction(), known, ("young", "old"), RUNS), fitting


def test_a_share_that_is_moved_comes_back() -> None:
    found, told, fitting = taken_back()
    assert set(told) == {"old"}
    skin = told["old"]["skin"]
    assert skin["before"] == pytest.approx({"dark": 0.2, "light": -0.2, "medium": 0.0}, abs=0.01)
    assert skin["tried"]["dark"] < 0  # of the first guess, 2 (.2 + .2) = .8, .5 each is too much
    (part,) = found.parts
    assert part.landmarks is not None
    counter = part.landmarks.counters["old"]
    assert counter.tolist() == pytest.approx([0.0, 0.4, 0.0], abs=0.03)  # .5 x .4 = .2
    assert fitting.made == 4 * 192  # plain, young, old and old again


def test_what_is_narrowed_is_widened_where_no_counter_helps(skin_host: Host) -> None:
    found, told, _ = taken_back(_Narrowing(skin_host))
    assert set(told) == {"old"}
    skin = told["old"]["skin"]
    assert skin["amount"] == 0
    assert skin["before"] == skin["tried"]
    widened = skin["widened"]
    assert widened["before"]["medium"] == pytest.approx(0.16 * 2 / 3, abs=0.01)
    # .5 took .1 of the .16 back: .5 x .16 / .1, less the 6 % that may be chance
    assert widened["amount"] == pytest.approx(0.75, abs=0.04)
    (part,) = found.parts
    assert part.landmarks is not None
    (one,) = part.landmarks.widenings["old"].values()
    assert one.gain == pytest.approx(widened["amount"], abs=1e-4)


def test_a_widening_leads_from_the_mean_of_the_texts_to_each_of_them(skin_host: Host) -> None:
    """The toy's middle block holds the logarithms of the shares that a text has."""
    along = along_texts(skin_host, [SKIN], direction(), RUNS)
    (part,) = with_widenings(direction(), along, "old", {"skin": 0.5}).parts
    assert part.landmarks is not None
    one = part.landmarks.widenings["old"]["skin"]
    texts = torch.tensor(list(SKIN_TEXTS.values())).log()
    for text in texts:
        assert torch.allclose(one.along(text, 500.0), 0.5 * (text - texts.mean(dim=0)), atol=1e-4)


def test_classes_that_are_widened_alike_share_no_memory_in_the_file(skin_host: Host) -> None:
    along = along_texts(skin_host, [SKIN], direction(), RUNS)
    both = with_widenings(with_widenings(direction(), along, "old", {"skin": 0.5}), along, "young", {"skin": 0.2})
    assert load(save(tensors_of(both))).keys() == tensors_of(both).keys()


def test_a_widening_that_was_given_up_is_not_stored(skin_host: Host) -> None:
    along = along_texts(skin_host, [SKIN], direction(), RUNS)
    assert tensors_of(with_widenings(direction(), along, "old", {"skin": 0.0})).keys() == tensors_of(direction()).keys()


def test_an_attribute_whose_texts_say_nothing_is_left_alone() -> None:
    with toy_host(ToyWorld(classes=("a", "b", "c"), prompts=dict.fromkeys(["", *SKIN_TEXTS], (0.2, 0.3, 0.5)))) as host:
        assert along_texts(host, [SKIN], direction(), RUNS) == {}


def test_a_shift_to_one_side_is_no_narrowing() -> None:
    assert narrowed({"light": -0.05, "medium": 0.08, "dark": -0.03})
    assert not narrowed({"light": -0.08, "medium": 0.03, "dark": 0.05})
    assert not narrowed({"female": -0.05, "male": 0.05})


def test_a_class_between_two_others_comes_back_by_those() -> None:
    """Medium has no direction of its own; light fell, and its contrast is what can be moved."""
    shift = Shift(values={"light": -0.06, "medium": 0.05, "dark": 0.01}, certain=1.0)
    scale = torch.tensor([0.0, 1.0, 0.0])
    known = {"mid_block": {("skin", "light"): -scale, ("skin", "medium"): 0 * scale, ("skin", "dark"): scale}}
    (part,) = with_counters(direction(), known, "old", {"skin": shift}, {"skin": 2.0}).parts
    assert part.landmarks is not None
    assert part.landmarks.counters["old"].tolist() == pytest.approx([0.0, 2 * 0.07, 0.0])


def reloaded(found: Direction) -> Landmarks:
    """The landmarks of what is stored of a direction."""
    stored: Any = dataclasses.make_dataclass("Stored", ["tensors", "card"])
    frame = dataclasses.make_dataclass("Frame", ["module"])("mid_block")
    card = dataclasses.make_dataclass("Card", ["concept", "frame", "estimator"])(
        {"name": "age", "kind": "attribute"}, frame, {}
    )
    (part,) = direction_of(stored(tensors_of(found), card)).parts
    assert part.landmarks is not None
    return part.landmarks


def test_counters_are_stored() -> None:
    found, _, _ = taken_back()
    (part,) = found.parts
    assert part.landmarks is not None
    assert torch.equal(reloaded(found).counters["old"], part.landmarks.counters["old"])


def test_widenings_are_stored(skin_host: Host) -> None:
    found, _, _ = taken_back(_Narrowing(skin_host))
    (part,) = found.parts
    assert part.landmarks is not None
    one, again = part.landmarks.widenings["old"]["skin"], reloaded(found).widenings["old"]["skin"]
    assert again.gain == pytest.approx(one.gain)
    assert torch.equal(again.axes, one.axes)
    assert torch.equal(again.centres, one.centres)
