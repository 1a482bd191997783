"""Saved interventions come back as they were, and only to where they belong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from peft import LoraConfig

from evenhand.errors import InputError, ModelError
from evenhand.host.host import Host
from evenhand.interventions.storage import CARD, TENSORS, Card, Frame, load_intervention, save_intervention


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host.wrap(tiny_pipelines.build("sd1"), name="tiny") as host:
        yield host


@pytest.fixture
def card(host: Host) -> Card:
    return Card(
        method="concept-vector",
        site="activation",
        frame=Frame.of(host, module="mid_block", image_size=(16, 16)),
        estimator={"name": "mean-difference", "images": 40},
        prompts={"female": ["a woman"], "male": ["a man"]},
        seeds={"fit": 7},
        guidance=2.0,
        steps=25,
    )


def test_the_round_trip_keeps_every_bit_and_the_card(tmp_path: Path, host: Host, card: Card) -> None:
    tensors = {"female": torch.randn(32), "male": torch.randn(32)}
    save_intervention(tmp_path / "mine", tensors, card)
    found, again = load_intervention(tmp_path / "mine", host)
    assert again.to_dict() == card.to_dict()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    first = (tmp_path / "mine" / TENSORS).read_bytes(), (tmp_path / "mine" / CARD).read_bytes()
    save_intervention(tmp_path / "mine", tensors, card)
    assert first == ((tmp_path / "mine" / TENSORS).read_bytes(), (tmp_path / "mine" / CARD).read_bytes())


def test_another_model_is_refused_in_a_sentence_that_says_what_differs(tmp_path: Path, host: Host, card: Card) -> None:
    save_intervention(tmp_path / "mine", {"female": torch.zeros(32)}, card)
    said = r"fitted on tiny \(sd1, weights .*\); other \(sd2, .* is another model"
    with Host.wrap(tiny_pipelines.build("sd2"), name="other") as other, pytest.raises(ModelError, match=said):
        load_intervention(tmp_path / "mine", other)
    elsewhere = dataclasses.replace(card, frame=dataclasses.replace(card.frame, prediction="v_prediction"))
    save_intervention(tmp_path / "mine", {"female": torch.zeros(32)}, elsewhere)
    with pytest.raises(ModelError, match="predicts v_prediction, here the scheduler says epsilon"):
        load_intervention(tmp_path / "mine", host)


def test_what_is_no_saved_intervention_is_said(tmp_path: Path, host: Host, card: Card) -> None:
    with pytest.raises(InputError, match=r"has no card\.json"):
        load_intervention(tmp_path, host)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    with pytest.raises(InputError, match="holds something else"):
        save_intervention(tmp_path / "letters", {}, card)
    save_intervention(tmp_path / "broken", {"female": torch.zeros(32)}, card)
    (tmp_path / "broken" / TENSORS).write_bytes(b"short")
    with pytest.raises(InputError, match="cannot read"):
        load_intervention(tmp_path / "broken", host)
    (tmp_path / "broken" / CARD).write_text("{}")
    with pytest.raises(InputError, match=r"expected 'evenhand\.intervention/1'"):
        load_intervention(tmp_path / "broken", host)


def test_what_was_fitted_on_a_model_goes_onto_it_with_a_lora_but_not_back(tmp_path: Path, card: Card) -> None:
    save_intervention(tmp_path / "mine", {"female": torch.zeros(32)}, card)
    with Host.wrap(tiny_pipelines.build("sd1"), name="derivative") as derivative:
        derivative.denoiser.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
        assert derivative.weights_hash != card.frame.model_hash
        assert derivative.base_hash == card.frame.model_hash
        load_intervention(tmp_path / "mine", derivative)
        own = dataclasses.replace(card, frame=Frame.of(derivative))
        save_intervention(tmp_path / "own", {"female": torch.zeros(32)}, own)
        load_intervention(tmp_path / "own", derivative)
    with Host.wrap(tiny_pipelines.build("sd1"), name="base") as base:
        assert base.base_hash == base.weights_hash
        with pytest.raises(ModelError, match=r"base .* is another model"):
            load_intervention(tmp_path / "own", base)
