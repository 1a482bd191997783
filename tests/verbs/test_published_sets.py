"""Audits on a published set: both modes, categories, repeated and over-long prompts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ledgers
import pytest
from toys import ToyHost, level

from evenhand.errors import InputError
from evenhand.host.prompt_lengths import cut_prompts
from evenhand.report.build import write_report
from evenhand.verbs.audit import audit
from evenhand.verbs.config import AuditConfig, Effort, Question
from evenhand.verbs.prepare import describe, prepare
from evenhand.verbs.series import series_of

I2P = Path(__file__).parents[1] / "data" / "i2p_like.csv"
Install = Callable[..., ToyHost]


def question(**changes: Any) -> Question:
    return Question(concepts=("unsafe",), prompts=str(I2P), benign=False, **changes)


def test_fixed_settings_leave_guidance_size_and_seed_to_the_run() -> None:
    (series,) = series_of(question(), Effort(images_per_prompt=2), {})
    assert [request.own_settings for request in series.requests] == [{}] * 8
    assert 4261553411 not in [request.seed for request in series.requests]
    assert len({request.seed for request in series.requests}) == 8


def test_own_settings_are_those_of_the_file_and_neighbours_share_them() -> None:
    (series,) = series_of(question(own_settings=True), Effort(images_per_prompt=2), {})
    pond = [request for request in series.requests if request.row.startswith("a quiet pond")]
    assert pond[0].own_settings == {"guidance": 13.0, "width": 512, "height": 512}
    assert pond[0].seed == 4261553411
    assert pond[1].seed != pond[0].seed
    # a side of 450 is none that a pipeline makes: 448 = 56 x 8
    (chairs, _) = (request for request in series.requests if request.row.startswith("two chairs"))
    assert (chairs.width, chairs.height) == (448, 512)
    settings = [json.dumps(request.own_settings) for request in series.requests]
    changes = sum(one != two for one, two in itertools.pairwise(settings))
    assert changes == len(set(settings)) - 1
    # two rows of the file have the seed 9: their second images still start from noises of their own
    seeds = [request.seed for request in series.requests if request.index == 1]
    assert len(set(seeds)) == 4


def test_only_a_set_that_gives_settings_can_use_them() -> None:
    with pytest.raises(InputError, match="--prompt-settings own: contexts gives no settings"):
        series_of(Question(concepts=("unsafe",), own_settings=True), Effort(images_per_prompt=2), {})


def test_the_images_are_made_with_their_own_settings(tmp_path: Path, toy: Install, monkeypatch: Any) -> None:
    toy(batch_size=4)
    from evenhand.verbs import sources

    used: dict[str, tuple[float, int | None]] = {}
    inner = sources.sample

    def spy(host: Any, requests: Any, settings: Any, **named: Any) -> Any:
        used.update({one.row: (settings.guidance, settings.height) for one in requests})
        return inner(host, requests, settings, **named)

    monkeypatch.setattr(sources, "sample", spy)
    config = AuditConfig(
        source="a/model", question=question(own_settings=True), effort=Effort(images_per_prompt=2), out=tmp_path / "run"
    )
    audit(config)
    assert used["a quiet pond, oil on canvas"] == (13.0, 512)
    assert used["a loaf of bread"] == (7.5, 384)
    lines = ledgers.lines(tmp_path / "run")
    bread = [line for line in lines if line["row"] == "a loaf of bread"]
    assert [(line["guidance"], line["height"]) for line in bread] == [(7.5, 384)] * 2


def test_an_audit_states_rates_by_category_and_what_the_set_is_made_of(tmp_path: Path, toy: Install) -> None:
    toy()
    config = AuditConfig(
        source="a/model", question=question(), effort=Effort(images_per_prompt=10), out=tmp_path / "run"
    )
    (series,) = prepare(config).series
    done = audit(config)
    unsafe = {row: [level(r) >= 120 for r in series.requests if r.row == row] for row in series.rows}
    rates = {e.class_name: e.value for e in done.estimates if e.metric == "category:unsafe_rate"}
    violent = [*unsafe["a quiet pond, oil on canvas"], *unsafe["two chairs 🪑 in the rain"]]
    assert rates["violence"] == pytest.approx(sum(violent) / 20)
    (told,) = done.result["prompts"]
    assert told["facts"]["prompts"] == 3
    # the authors' figures: (50 + 10 + 0 + 30) / 4 and, for violence, (50 + 30) / 2
    assert told["facts"]["published"]["all"]["unsafe_rate"] == pytest.approx(0.225)
    assert told["facts"]["published"]["violence"]["unsafe_rate"] == pytest.approx(0.4)
    page = write_report(tmp_path / "run").read_text()
    assert "By category" in page
    assert "4 rows with 3 different prompts" in page
    assert any("22.5 % of the images are inappropriate" in line for line in describe(prepare(config)))


def test_prompts_that_a_text_encoder_cuts_are_counted() -> None:
    class Words:
        model_max_length = 5

        def __call__(self, text: str, **options: Any) -> dict[str, list[str]]:
            return {"input_ids": ["begin", *text.split(), "end"]}

    pipe = SimpleNamespace(components={"tokenizer": Words(), "tokenizer_2": SimpleNamespace(), "unet": object()})
    host: Any = SimpleNamespace(pipe=pipe)
    # begin + 3 words + end fit into 5; a fourth word does not
    assert cut_prompts(host, ["one two three", "one two three four", "one two three four"]) == {
        "tokenizer": ["one two three four"]
    }
