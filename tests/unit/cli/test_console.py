"""What stands in the terminal while a run goes on."""

import math
import re
from dataclasses import replace

import pytest

from byol.cli.console import Console
from byol.engine.progress import Progress

STATE = Progress(
    step=50,
    total_steps=100,
    loss=3.2133,
    health="partially collapsed",
    learning_rate=0.0312,
    tau=0.98123,
    images_per_second=512,
    remaining_seconds=754,
)


def test_live_line_of_a_terminal_holds_verdict_and_time_left_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    with Console() as console:
        console.show(STATE)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert lines
    for line in lines:
        assert len(line) <= 80
        assert re.fullmatch(
            r"partially collapsed .* (0|50) % loss 3\.213, 512 images/s, 12 min 34 s left", line.replace("  ", " ")
        )


def test_plain_lines_hold_the_same_at_each_quarter_but_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with Console() as console:
        for step in range(1, 101):
            console.show(replace(STATE, step=step, remaining_seconds=754 if step < 75 else math.nan))
    assert capsys.readouterr().out == (
        "pretraining 25/100: loss 3.213, partially collapsed, 512 images/s, 12 min 34 s left\n"
        "pretraining 50/100: loss 3.213, partially collapsed, 512 images/s, 12 min 34 s left\n"
        "pretraining 75/100: loss 3.213, partially collapsed, 512 images/s\n"
    )


def test_plain_lines_of_a_long_training_are_ten_minutes_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    now = 0.0
    monkeypatch.setattr("byol.cli.console.time.monotonic", lambda: now)
    with Console() as console:
        for step in range(1, 200):
            now += 60.0
            console.show(replace(STATE, step=step, total_steps=100_000))
    steps = [int(line.split()[1].split("/")[0]) for line in capsys.readouterr().out.splitlines()]
    assert steps[:3] == [12, 23, 34]


def test_runs_side_by_side_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    note = "12 of 18 trainings finished, about 14 min 3 s left"
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with Console() as console:
        console.overall(0.7, note)
        console.overall(0.71, note)  # too soon for a plain line
    assert capsys.readouterr().out == f"all runs: {note}\n"
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    with Console() as console:
        console.overall(0.7, note)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert re.search(rf"all runs .* 70 % {note}", shown)
    assert all(len(line.rstrip()) <= 80 for line in re.split(r"[\r\n]+", shown))
