"""Tasks without labels: what their metric says against numbers worked out by hand, and a judgement by it alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import RegressionFailed
from bundle.formats.contents import VECTORS
from bundle.formats.manifest import Bundle, Manifest, default_budgets, load_bundle, write_manifest
from bundle.formats.vectors import Vectors, write_vectors
from bundle.judging.checks import require_passed, task_sentence
from bundle.judging.image_sources import labelled
from bundle.judging.regression_report import Device, Execution
from bundle.judging.run import run
from bundle.tasks.spec import Array
from bundle.tasks.table import TASKS as ROWS
from bundle.tasks.table import task
from tests.bundle import made
from tests.bundle.made_scenes import write_folder

SHAPES: Mapping[str, tuple[int, ...]] = {"semseg": (2, 2), "normals": (3, 1, 2), "depth": (1, 2), "saliency": (1, 2)}
UNLABELLED = ("semseg", "depth")


@pytest.mark.parametrize(
    ("name", "reference", "compiled", "agreement"),
    [
        ("semseg", [[0, 0], [1, 1]], [[0, 0], [1, 0]], (2 / 3 + 1 / 2) / 2),  # IoU of each class
        ("depth", [[3.0, 4.0]], [[3.0, 4.5]], 1 - 0.5 / 5),  # √(0.25 / 25)
        ("saliency", [[0.6, 0.8]], [[0.6, 0.5]], 1 - 0.3),
        ("normals", [[[1, 0]], [[0, 0]], [[0, 1]]], [[[1, 1]], [[0, 0]], [[0, 1]]], 1 - np.pi / 8),  # 0° and 45°
    ],
)
def test_an_agreement_is_what_a_hand_makes_of_it(
    name: str, reference: list[object], compiled: list[object], agreement: float
) -> None:
    row = task(name).by_agreement()
    kind, channels = np.dtype(row.kind.dtype), row.channels or 2
    one, other = np.array(reference, kind), np.array(compiled, kind)
    if row.kind.axes:
        other = (other / np.linalg.norm(other, axis=0)).astype(kind)
    metric = row.judge(channels)
    assert metric.reduce(metric.per_image(one, one)) == pytest.approx(1)
    assert metric.reduce(metric.per_image(other, one)) == pytest.approx(agreement, abs=1e-6)
    assert row.metric == "agreement" and row.direction == "higher"


def test_budgets_by_agreement_are_their_own() -> None:
    names = [row.name for row in ROWS]
    assert set(default_budgets(names, strict=False, agreement=names).values()) == {0.05}
    assert default_budgets(["depth", "edge"], strict=True, agreement=["edge"]) == pytest.approx(
        {"depth": 0.001, "edge": 0.005}
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle of which two tasks have no labels."""
    (tmp_path / "f32.onnx").write_bytes(b"no graph")
    (tmp_path / "fold.json").write_text("[]\n")
    images = (
        replace(one, labels={name: one.labels[name] for name in made.TASKS if name not in UNLABELLED})
        for one in made.evaluated(12)
    )
    write_vectors(tmp_path / VECTORS, images, tasks=made.TASKS, spec=made.SPEC, unlabelled=UNLABELLED)
    manifest = made.manifest(tmp_path)
    changes = {
        "agreement": UNLABELLED,
        "files": manifest.files,
        "budgets": default_budgets(made.TASKS, strict=False, agreement=UNLABELLED),
    }
    write_manifest(tmp_path, Manifest.model_validate(manifest.model_dump() | changes))
    return load_bundle(tmp_path)


EXECUTION = Execution(device=Device(name="cpu", isa=()), precision="f32", executed_on="device")


def test_equal_answers_agree_wholly_and_others_do_not(bundle: Bundle) -> None:
    with Vectors(bundle.vectors) as vectors:
        assert vectors.unlabelled == UNLABELLED
        assert all(set(stored.labels) == set(made.TASKS) - set(UNLABELLED) for stored in vectors.images())
    same = run(bundle, made.session("raw"), EXECUTION)
    for name in UNLABELLED:
        result = same.tasks[name]
        assert (result.metric, result.reference, result.compiled, result.verdict) == ("agreement", 1, 1, "pass")
    assert same.tasks["normals"].metric == task("normals").metric

    def doubled(name: str, raw: Array) -> Array:
        return np.asarray(raw * 1.2 if name == "depth" else raw)

    other = run(bundle, made.session("raw", doubled), EXECUTION)
    assert other.tasks["depth"].drop_relative == pytest.approx(0.2, abs=1e-3)
    assert other.tasks["depth"].verdict == "regression" and other.tasks["semseg"].verdict == "pass"
    assert "agreement 1.0000 → 0.80" in task_sentence(other, "depth") and "labelled" not in task_sentence(
        other, "depth"
    )


def test_on_other_images_the_message_says_where_the_references_answers_are(bundle: Bundle, tmp_path: Path) -> None:
    """More labels would not help: nothing compares the answers of a task by agreement with a label."""
    examples = {one.id: (one.image, one.labels) for one in made.evaluated(12)}
    root = write_folder(tmp_path / "rooms", {"val": tuple(examples)}, examples, made.SPEC).root
    report = run(bundle, made.session("raw"), EXECUTION, source=labelled(bundle.manifest, root, "val", None))
    causes = {name: (row.verdict, row.cause) for name, row in report.tasks.items()}
    assert set(causes.values()) == {("inconclusive", "no_reference")}
    assert "leave --data out" in task_sentence(report, "semseg") and "--reference" not in task_sentence(
        report, "semseg"
    )
    assert "--reference" in task_sentence(report, "normals") and "leave" not in task_sentence(report, "normals")
    with pytest.raises(RegressionFailed) as caught:
        require_passed(report)
    fixes = dict(part.split(": ") for part in caught.value.fix.split("; "))
    assert fixes[", ".join(name for name in made.TASKS if name in UNLABELLED)] == "leave --data out"
    assert "--reference FILE" in fixes[", ".join(name for name in made.TASKS if name not in UNLABELLED)]
