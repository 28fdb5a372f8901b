"""A checkpoint built at another size: the graph, the reference and the record are of that size."""

import json
from pathlib import Path

import numpy as np
import pytest

from compile.evaluation.build_context import prepare_build
from compile.stage.artifacts import ExportedSettings
from compile.stage.config import BuildConfig
from compile.stage.graph_info import read_settings
from compile.stage_runs import run_export
from tdss.config_file import checkpoint_digest
from tests.cli.run import tdss
from tests.compile import made

SIZE = (24, 40)
WINDOWS = "windows of 4 × 4, padded with zeros in stage 0, 6 × 10; stage 1, 3 × 5"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The made scenes, which are 32 × 32, with a policy."""
    root = made.scenes(tmp_path / "scenes")
    spec = json.loads((root / "dataset.json").read_text()) | {"schema_version": 2, "size_policy": "letterbox"}
    (root / "dataset.json").write_text(json.dumps(spec))
    return root


@pytest.mark.slow
def test_the_export_is_of_the_size_and_says_what_that_changed(checkpoint: Path, root: Path, tmp_path: Path) -> None:
    lines = list[str]()
    asked = BuildConfig(
        target="reference", checkpoint=checkpoint, data=root, out=tmp_path / "out", size=SIZE, threads=1
    )
    context = prepare_build(asked, lines.append)
    assert context.folder == tmp_path / "out" / "tiny-24x40" / "reference"  # that of its own size stays
    settings = read_settings(ExportedSettings, run_export(context))
    assert (settings.graph.preprocess.height, settings.graph.preprocess.width) == SIZE
    assert settings.changes == ("image 24 × 40 in the place of 32 × 32", WINDOWS)
    assert [f"  {change}" for change in settings.changes] == [line for line in lines if line.startswith("  ")][:2]
    assert context.subject.sha256 == checkpoint_digest(checkpoint, SIZE) != checkpoint_digest(checkpoint)
    answer = context.subject.open(1).run(np.zeros((*SIZE, 3), np.uint8), name="black")
    assert answer["depth"].shape == (1, *SIZE)


@pytest.mark.slow
def test_evaluate_measures_the_checkpoint_at_the_size(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(checkpoint), "--data", str(root), "--size", *map(str, SIZE), "--json"]
    code, out, error = tdss(*words, capsys=capsys)
    assert code == 0 and WINDOWS in error and set(json.loads(out)) == set(made.TASKS)
    code, recorded, _ = tdss(*words, "--arrays", str(tmp_path / "arrays.npz"), capsys=capsys)
    assert code == 0 and json.loads(recorded) == pytest.approx(json.loads(out), rel=1e-5)
    with np.load(tmp_path / "arrays.npz") as arrays:
        assert str(arrays["checkpoint"]) == checkpoint_digest(checkpoint, SIZE)
