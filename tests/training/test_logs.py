"""Logs: every step is on the disk at once, and the alarm sounds when winners get worse."""

from __future__ import annotations

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evenhand.training.logs import TrainingLog


def facts(step: int, winner_error: float) -> dict[str, float]:
    return {"step": step, "loss": 0.5, "winner_error": winner_error}


def test_every_step_is_a_line(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "new")
    log.write(facts(1, 1.0))
    log.write(facts(2, 0.9))
    lines = (tmp_path / "new" / "log.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_steps_that_are_made_again_stand_there_once(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in (1, 2, 3):
        log.write(facts(step, 1.0))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed while it wrote
    TrainingLog(tmp_path, step=2).write(facts(3, 0.5))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [(one["step"], one["winner_error"]) for one in lines] == [(1, 1.0), (2, 1.0), (3, 0.5)]


def test_the_alarm_sounds_once_when_twenty_steps_are_five_percent_worse(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    said = [log.write(facts(step, 1.0 if step <= 20 else 1.2)) for step in range(1, 60)]
    # the mean of 20 steps: 5 of them at 1.2 give 1.05, 6 give 1.06
    assert [step for step, text in enumerate(said, 1) if text] == [26]
    assert "error of winners is 1.06 times" in str(said[25])


def test_few_steps_raise_no_alarm(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    assert not any(log.write(facts(step, 2.0)) for step in range(1, 20))
    assert log.write(facts(20, 2.0))


def test_tensorboard_reads_the_same_numbers(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, tensorboard=True)
    for step in (1, 2):
        log.write(facts(step, 1.0 / step))
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [one.value for one in events.Scalars("winner_error")] == [1.0, 0.5]
    assert events.Tags()["scalars"] == ["loss", "winner_error"]
