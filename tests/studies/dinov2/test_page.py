"""The page compares two cards: which of two numbers is better depends on the task."""

from pathlib import Path

import pytest

from bundle.base.errors import CheckpointError
from bundle.judging import wording
from bundle.tasks.table import task
from studies.dinov2.page import MODELS, cards
from tdss.card import Card, load_card

METRICS = {"semseg": 0.4, "normals": 30.0}


def write(folder: Path, metrics: dict[str, float]) -> Path:
    folder.mkdir()
    card = Card(trained_on="made", steps=7, hours=0.5, metrics=metrics, parameters=2_000_000, trained=1000)
    (folder / "card.json").write_text(card.model_dump_json())
    (folder / "model.safetensors").write_bytes(bytes(5_000_000))
    return folder


def test_better_is_higher_or_lower_by_the_task(tmp_path: Path) -> None:
    text = cards([write(tmp_path / "a", METRICS), write(tmp_path / "b", {"semseg": 0.5, "normals": 33.0})])
    lines = text.splitlines()
    assert "0.4000 | 0.5000 | +25.0%" in lines[2] and "30.000° | 33.000° | −10.0%" in lines[3]
    assert "1 of 2 tasks are better." in lines
    assert lines[-1].endswith("/b`: 2 M parameters, 1 k of them trained; 5.0 MB; 7 steps, 30 minutes.")


def test_a_model_without_a_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(CheckpointError, match="has no card"):
        cards([write(tmp_path / "a", METRICS), tmp_path / "b"])


@pytest.mark.parametrize("model", MODELS)
def test_the_row_of_the_readme_is_the_models_card(model: Path) -> None:
    card = load_card(model)
    assert card is not None
    values = [wording.metric_value(task(name).metric, value) for name, value in card.metrics.items()]
    assert f"| `{model}` | {' | '.join(values)} |" in Path("README.md").read_text(encoding="utf-8")
