"""The reference on a whole split: the arrays a device judges by are those of the eager checkpoint."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bundle.judging.image_sources import read_arrays
from bundle.tasks.dataset import FolderDataset
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from compile.evaluation.eager import EagerModel
from compile.evaluation.reference_arrays import record_reference
from compile.pipeline import build_bundle
from compile.stage.config import BuildConfig, CalibrationConfig, EvaluationConfig, TimingConfig
from tdss.config_file import checkpoint_digest
from tests.bundle import made as bundles
from tests.cli.run import tdss
from tests.compile import made


def test_the_arrays_are_those_of_the_eager_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, root, out = (
        made.checkpoint(tmp_path / "model"),
        made.scenes(tmp_path / "data"),
        tmp_path / "a" / "arrays.npz",
    )
    data = FolderDataset(root=root, spec=made.SPEC)
    ids = data.ids("val")[:3]
    found = record_reference(checkpoint, data, ids, out, lambda names: names)
    model, name = EagerModel(checkpoint), "normals"
    for figure in task(name).figures(3):
        expected = figure.per_image(
            predict(task(name), model.run(data.image(ids[1]), name=ids[1])[name]), data.label(name, ids[1])
        )
        np.testing.assert_array_equal(found[name][figure.name][1], expected)
    (tmp_path / "empty").mkdir()
    manifest = bundles.manifest(tmp_path / "empty").model_copy(update={"tasks": made.TASKS})
    reference = manifest.reference.model_copy(update={"checkpoint_sha256": checkpoint_digest(checkpoint)})
    read = read_arrays(out, manifest.model_copy(update={"reference": reference}), ids[::-1])
    np.testing.assert_array_equal(read["depth"]["delta_1.25"], found["depth"]["delta_1.25"][::-1])
    code, printed, _ = tdss(
        "evaluate", str(checkpoint), "--data", str(root), "--arrays", str(out), "--json", capsys=capsys
    )
    plain = tdss("evaluate", str(checkpoint), "--data", str(root), "--json", capsys=capsys)[1]
    assert code == 0 and printed == plain


@pytest.mark.slow
def test_a_bundle_of_some_tasks_is_judged_on_a_whole_folder(
    checkpoint: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the arrays of all tasks and with those of its own; the other tasks need no label."""
    kept = ("depth", "semseg")
    bundle = build_bundle(
        BuildConfig(
            target="intel",
            checkpoint=checkpoint,
            data=scenes,
            out=tmp_path,
            threads=1,
            tasks=kept,
            budgets=dict.fromkeys(kept, 10.0),
            timing=TimingConfig(runs=1, warmup=0),
            calibration=CalibrationConfig(count=1),
            evaluation=EvaluationConfig(count=2, hard=0),
        ),
        lambda line: None,
    )
    some = Path(shutil.copytree(scenes, tmp_path / "some"))
    for name in set(made.TASKS) - set(kept):
        shutil.rmtree(some / name)
    every, own, reports = tmp_path / "every.npz", tmp_path / "own.npz", []
    assert tdss("evaluate", str(checkpoint), "--data", str(scenes), "--arrays", str(every), capsys=capsys)[0] == 0
    few = ("--data", str(some), "--tasks", "semseg,depth")
    assert tdss("evaluate", str(checkpoint), *few, "--arrays", str(own), capsys=capsys)[0] == 0
    for data, arrays in ((scenes, every), (some, own)):
        asked = ("--data", str(data), "--reference", str(arrays), "--threads", "1", "--allow-inconclusive", "--json")
        code, printed, error = tdss("regress", str(bundle), *asked, capsys=capsys)
        assert code == 0, error
        reports.append(json.loads(printed))
    assert reports[0]["tasks"] == reports[1]["tasks"] and set(reports[0]["tasks"]) == set(kept)
    assert reports[0]["images"] == len(FolderDataset(root=scenes, spec=made.SPEC).ids("val"))
    code, _, error = tdss("evaluate", str(checkpoint), "--data", str(some), "--tasks", "sky", capsys=capsys)
    assert code == 2 and "cannot be kept" in error
