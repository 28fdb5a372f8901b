"""The graphs that folding is measured on: each case has its configuration, and every graph computes what the model does."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from bundle.errors import ConfigError
from compile import bench_eliminations, bench_graphs
from compile.bench_eliminations import GRAPHS, NAMES, case_named, case_table, write_graphs
from compile.bench_models import random_model, tiny
from compile.graph import INPUT
from compile.graph_cost import read_cost
from tdss.config import TdssConfig


def test_every_case_is_a_model_and_an_image_of_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compile.bench_models.random_model", lambda config, seed: config)
    for name in NAMES:
        case = case_named(name, tmp_path / name)
        [(_, image)] = case.images.read()
        assert image.shape[:2] == (case.config.image.height, case.config.image.width), name


def test_an_unknown_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no case 'swin'"):
        case_named("swin", tmp_path)


def test_the_graphs_compute_what_the_model_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_graphs, "config_of", lambda preset, gate: tiny(gate, tasks=2))
    errors = write_graphs("swin_dynamic", tmp_path / "swin", threads=1)
    feed = {INPUT: np.load(tmp_path / "swin" / "image.npy")}
    config = tiny("dynamic", tasks=2)
    assert isinstance(config.adapter, TdssConfig)
    with torch.no_grad():
        want = random_model(config, bench_eliminations.SEED)(torch.tensor(feed[INPUT]))
    for graph in GRAPHS:
        got = onnxruntime.InferenceSession(tmp_path / "swin" / f"{graph}.onnx").run(list(want), feed)
        for task, array in zip(want.values(), got, strict=True):
            np.testing.assert_allclose(array, task.numpy(), rtol=0, atol=1e-5 * float(task.abs().max()))
    assert errors.keys() == {*GRAPHS[1:]} and max(errors.values()) < 1e-5
    head, _, *rows = case_table(["swin"], tmp_path).splitlines()
    cells = [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows]
    assert [row[1] for row in cells] == list(GRAPHS)
    resizes = [float(row[3]) > 0 for row in cells]
    assert (
        resizes == [False, False, True, False, False, True, False] and "resizes" in head
    )  # targets/intel/rewrites.json has them on
    assert read_cost(tmp_path / "swin" / "rules_ort.onnx").macs < read_cost(tmp_path / "swin" / "plain.onnx").macs
