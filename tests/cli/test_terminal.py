"""Bars that tell the truth about work that is done in batches."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from evenhand.cli.terminal import Bars, rate


def test_the_rate_is_that_since_the_start_also_for_batches_and_resumed_work() -> None:
    now = [0.0]
    progress = Progress(console=Console(file=io.StringIO()), get_time=lambda: now[0], auto_refresh=False)
    number = progress.add_task("images", total=40, completed=16, begun=16)
    (task,) = progress.tasks
    assert rate(task) is None
    now[0] = 10.0  # eight images come at once after ten seconds
    for _ in range(8):
        progress.advance(number)
    assert rate(task) == pytest.approx(0.8)


def test_the_rate_of_a_full_bar_stays_while_others_run() -> None:
    now = [0.0]
    progress = Progress(console=Console(file=io.StringIO()), get_time=lambda: now[0], auto_refresh=False)
    number = progress.add_task("images", total=8, begun=0)
    now[0] = 4.0
    progress.advance(number, 8)
    now[0] = 400.0
    assert rate(progress.tasks[0]) == pytest.approx(2.0)


def test_a_quiet_bar_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(quiet=True) as bars:
        bars.start("images", total=2, done=0)
        bars.advance()
        bars.say("a remark")
    assert capsys.readouterr() == ("", "")


def test_a_training_goes_on_after_the_images_made_in_between(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars() as bars:
        bars.start("training", total=10, done=2)
        bars.advance(3)
        for _ in range(2):
            bars.start("images", total=4, done=0)
            bars.advance(4)
            bars.advance()  # a step of the training
    shown = capsys.readouterr().err
    assert "7/10" in shown
    assert shown.count("4/4") == 2
    assert "-1 day" not in shown
