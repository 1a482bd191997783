"""The map of sites and steps: what a linear reader can and cannot find, on made-up features and on the toy model."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from evenhand.concepts.library import load_concept
from evenhand.methods.decision_map import Recorder, decision_map, explained
from evenhand.methods.vector_trials import Trials
from evenhand.report.decision_plot import PLOT, decision_svg, write_decision_plots
from evenhand.testing.toy import toy_host
from evenhand.testing.toy_fitting import FITTING_WORLD, toy_fitting

RNG = torch.Generator().manual_seed(3)
LABELS = torch.nn.functional.one_hot(torch.randint(0, 2, (80,), generator=RNG), 2).float()
NOISE = torch.randn(80, 5, generator=RNG)
ONE_GROUP = torch.zeros(80, dtype=torch.long)


def test_features_that_hold_the_label_explain_all_of_it() -> None:
    assert explained(torch.cat([LABELS, NOISE], dim=1), LABELS, ONE_GROUP) > 0.95


def test_noise_explains_nothing_however_wide_it_is() -> None:
    assert explained(NOISE, LABELS, ONE_GROUP) < 0.05
    assert explained(torch.randn(80, 400, generator=RNG), LABELS, ONE_GROUP) < 0.05  # in sample it would explain all


def test_a_label_at_equal_strength_with_noise_is_half_explained() -> None:
    # y = 1/2 +- 1/2, the feature y + noise of variance 1/4: 1 - 1/2 of the variance, less what estimating costs
    many = torch.randint(0, 2, (2000,), generator=RNG).float()
    feature = (many + 0.5 * torch.randn(2000, generator=RNG)).unsqueeze(1)
    found = explained(feature, torch.stack([many, 1 - many], dim=1), torch.zeros(2000, dtype=torch.long))
    assert found == pytest.approx(0.5, abs=0.05)


def test_what_the_prompt_decides_is_not_counted() -> None:
    groups = LABELS[:, 0].long()
    assert explained(LABELS, LABELS, groups) == 0.0  # within a prompt every image shows the same
    assert explained(torch.nn.functional.one_hot(groups, 2).float(), LABELS[torch.randperm(80)], groups) < 0.05


def test_on_the_toy_the_latents_decide_and_the_text_does_not() -> None:
    with toy_host(FITTING_WORLD) as host:
        fitting = toy_fitting(host, FITTING_WORLD, rows=["a photo of a person"])

        def read(samples: object) -> list[str | None]:
            return [labels[0] for labels in fitting.read(samples, [load_concept("gender")])]  # type: ignore[arg-type]

        trials = Trials(
            fitting=fitting,
            concept=load_concept("gender"),
            rows=fitting.rows(load_concept("gender")),
            read=read,
            seed=1,
        )
        before = host.evaluations
        found = decision_map(trials, {"mid_block": ("mid_block",)}, 40)
        assert host.evaluations - before == 20 * 64  # 40 images in batches of 32, the last one padded
    assert found["images"] == 40
    assert len(found["sites"]["mid_block"]) == len(found["timesteps"]) == 20
    # its middle block holds the prompt's shares, which are the same for every image
    assert max(found["sites"]["mid_block"]) == 0.0


def test_the_recorder_leaves_the_output_alone() -> None:
    class Step:
        index, timestep = 0, 999.0

    output = torch.randn(2, 3, 8, 8)
    recorder = Recorder("mid_block")
    assert recorder.shift(Step(), output) is output  # type: ignore[arg-type]
    assert recorder.steps[0][0].shape == (2, 3 * 16)
    tokens = Recorder("blocks.0")
    tokens.shift(Step(), torch.ones(2, 7, 5))  # type: ignore[arg-type]
    assert tokens.steps[0][0].shape == (2, 5)


DECIDED = {"sites": {"mid_block": [0.1, 0.9], "a<b": [0.0, 0.25]}, "timesteps": [999.0, 499.0], "images": 12}


def test_the_picture_has_a_cell_for_every_site_and_step() -> None:
    root = ET.fromstring(decision_svg(DECIDED, "gender"))
    tips = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "mid_block at timestep 499: 0.90" in tips
    assert "a<b at timestep 999: 0.00" in tips
    assert len(tips) == 1 + 4


def test_the_picture_lies_beside_the_card(tmp_path: Path) -> None:
    cards = {str(tmp_path): {"effect": {"decided": DECIDED}, "concept": {"name": "gender"}}}
    write_decision_plots(cards)
    assert (tmp_path / PLOT).read_text().startswith("<svg")
    write_decision_plots({str(tmp_path / "other"): {"effect": {}, "concept": {"name": "gender"}}})
    assert not (tmp_path / "other").exists()
