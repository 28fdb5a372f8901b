"""The reference on a whole split: the arrays a device judges by are those of the eager checkpoint."""

from pathlib import Path

import numpy as np
import pytest

from bundle.dataset import FolderDataset
from bundle.metrics import measures
from bundle.postprocess import predict
from bundle.sources import read_arrays
from bundle.tasks import task
from compile.eager import EagerModel
from compile.reference_arrays import checkpoint_digest, record_reference
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
    for figure in measures(task(name), 3):
        expected = figure.metric.per_image(
            predict(task(name), model.run(data.image(ids[1]), name=ids[1])[name]), data.label(name, ids[1])
        )
        np.testing.assert_array_equal(found[name][figure.name][1], expected)
    manifest = bundles.manifest(tmp_path / "model").model_copy(update={"tasks": made.TASKS})
    reference = manifest.reference.model_copy(update={"checkpoint_sha256": checkpoint_digest(checkpoint)})
    read = read_arrays(out, manifest.model_copy(update={"reference": reference}), ids[::-1])
    np.testing.assert_array_equal(read["depth"]["delta_1.25"], found["depth"]["delta_1.25"][::-1])
    code, printed, _ = tdss(
        "evaluate", str(checkpoint), "--data", str(root), "--arrays", str(out), "--json", capsys=capsys
    )
    plain = tdss("evaluate", str(checkpoint), "--data", str(root), "--json", capsys=capsys)[1]
    assert code == 0 and printed == plain
