"""The learning curve: what is read from a log, and what is drawn."""

import json
from pathlib import Path

import pytest

from bundle.base.errors import InputError
from compile.stage.command import run_script
from studies.learning_curve import Point, main, read_curves
from tests.exits import exit_code

LINES = [
    {"step": 20, "loss": 3.0},
    {"step": 40, "metrics": {"depth": 0.9, "semseg": 0.1}},
    {"step": 80, "metrics": {"depth": 0.7, "semseg": 0.2}, "stored": 1},
]


def test_reads_evaluations_and_tells_the_stored_one(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    assert read_curves(log)["depth"] == [Point(40, 0.9, False), Point(80, 0.7, True)]


def test_a_log_without_evaluations_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(LINES[0]) + "\n")
    with pytest.raises(InputError, match="no evaluation"):
        read_curves(log)
    assert exit_code(run_script, main, [str(tmp_path / "none"), "--out", str(tmp_path / "x.png")]) == 2


def test_draws_one_panel_per_task(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    log = tmp_path / "tdss.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    assert exit_code(run_script, main, [str(log), "--out", str(tmp_path / "curve.png")]) == 0
    with image.open(tmp_path / "curve.png") as drawn:
        width, height = drawn.size
    assert width == pytest.approx(2 * height * 4 / 3, rel=0.01)  # two panels of 4 × 3 inches, side by side
