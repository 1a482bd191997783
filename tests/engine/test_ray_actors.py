"""A real Ray cluster of two workers: the same images as here, whatever happens to a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ledgers
import pytest
from engine_toys import CONFIG, SERIES, Broken, Toys, here
from toys import ToySource, toy_facts

from evenhand.engine.ray_actors import RayActors, Share, room
from evenhand.errors import EvenhandError, InputError
from evenhand.records import UNMADE, Request, Settings, Verdict
from evenhand.store import RunDirectory, units_of
from evenhand.verbs.observe import observe
from evenhand.watch import Silent


class Words(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


WORDS = Words()


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    return Toys(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="module")
def engine(cluster: Any, toys: Toys) -> Iterator[RayActors]:
    """Two workers, kept from test to test as from series to series."""
    with RayActors(toys, Share(), WORDS) as engine:
        yield engine


def there(path: Path, engine: RayActors) -> tuple[dict[Request, tuple[Verdict, ...]], list[dict[str, Any]]]:
    """The verdicts of a run on the workers, and what was set aside."""
    source = ToySource()
    WORDS.said.clear()
    with RunDirectory.open(path, config=CONFIG, facts=toy_facts()) as run:
        verdicts = observe(source, run, SERIES, Settings(), WORDS, engine=engine)
        assert source.made == []
        return verdicts, run.quarantined


def test_two_workers_make_what_one_process_makes_and_nothing_twice(
    engine: RayActors, toys: Toys, tmp_path: Path
) -> None:
    toys.plan(awaits={"0": 2})
    verdicts, aside = there(tmp_path / "ray", engine)
    assert verdicts == here(tmp_path / "local")
    assert aside == []
    assert ledgers.lines(tmp_path / "ray") == ledgers.lines(tmp_path / "local")
    assert sorted(toys.made()) == list(range(40))
    # and what one engine made the other finds done
    toys.plan()
    assert there(tmp_path / "local", engine)[0] == verdicts
    assert toys.made() == []


def test_a_killed_worker_is_replaced_and_its_unit_is_made_again(
    engine: RayActors, toys: Toys, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = toys.began()
    toys.plan(dies=[9], times=1, awaits={"38": begun + 1})
    verdicts, aside = there(tmp_path / "ray", engine)
    assert verdicts == here(tmp_path / "local")
    assert aside == []
    assert toys.began() == begun + 1
    counts = Counter(toys.made())
    assert {seed for seed, times in counts.items() if times > 1} <= {8, 9, 10, 11}  # its batch, and no other
    assert [text for text in WORDS.said if text.startswith("a unit of 4 images failed and is tried again")]
    assert capsys.readouterr() == ("", "")


def test_a_unit_that_fails_three_times_is_set_aside_and_the_rest_is_made(
    engine: RayActors, toys: Toys, tmp_path: Path
) -> None:
    toys.plan(raises=[13])
    verdicts, (aside,) = there(tmp_path / "ray", engine)
    assert toys.accidents(13) == aside["tries"] == 3
    assert aside["error"] == "RuntimeError: CUDA error: device-side assert at image 13"
    assert [one["seed"] for one in aside["images"]] == [12, 13, 14, 15]
    assert [one for one in WORDS.said if one.startswith("set aside after 3 tries: 4 images of toys, nurse")]
    calm = here(tmp_path / "local")
    for request, (verdict,) in verdicts.items():
        if 12 <= request.seed <= 15:
            assert (verdict.label, verdict.reason) == (None, UNMADE)
        else:
            assert (verdict,) == calm[request]
    assert len(ledgers.lines(tmp_path / "ray")) == 36
    # the same command tries them again
    toys.plan()
    assert there(tmp_path / "ray", engine) == (calm, [])
    assert sorted(toys.made()) == [12, 13, 14, 15]


def test_what_concerns_every_unit_is_raised_at_once_and_the_workers_stay(
    engine: RayActors, toys: Toys, tmp_path: Path
) -> None:
    toys.plan(refuses=[0])
    with pytest.raises(InputError, match="a setting that nobody can follow"):
        there(tmp_path / "ray", engine)
    toys.plan()
    assert there(tmp_path / "ray", engine) == (here(tmp_path / "local"), [])


@pytest.mark.slow
def test_workers_that_cannot_be_started_end_the_run_in_one_line(cluster: Any) -> None:
    missing = [(k, f"k{k}", request) for k, request in enumerate(SERIES.requests)]
    units = list(units_of(missing, prompt_set="toys", arm=None, batch_size=4))
    with RayActors(Broken(), Share(), Silent()) as broken, pytest.raises(EvenhandError) as error:
        list(broken.run(units, SERIES.asked))
    assert str(error.value) == "no worker can be started: OSError: the weights are not there"


def test_a_cluster_has_room_for_as_many_workers_as_its_scarcest_part() -> None:
    assert room({"CPU": 16.0}, Share(cpus=4)) == 4
    assert room({"CPU": 16.0, "GPU": 3.0}, Share(cpus=1, gpus=1)) == 3
    with pytest.raises(InputError, match="a worker needs 1 GPU, and the cluster has 0"):
        room({"CPU": 16.0}, Share(gpus=1))
    with pytest.raises(InputError, match=r"needs 8 CPU, and the cluster has 2; OMP_NUM_THREADS"):
        room({"CPU": 2.0}, Share(cpus=8))
