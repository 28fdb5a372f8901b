"""The graphs that folding is measured on: each case has its configuration, and every graph computes what the model does."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from bundle.base.errors import ConfigError, InputError
from compile.graphs.cost import read_cost
from compile.stage.graph_info import INPUT
from studies.folding import eliminations as bench_eliminations
from studies.folding import graphs as bench_graphs
from studies.folding.eliminations import NAMES, case_named, case_table, graphs_of, main, write_graphs
from studies.folding.models import random_model, tiny
from tdss.adapters.config import TdssConfig


def test_every_case_is_a_model_and_an_image_of_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.folding.models.random_model", lambda config, seed: config)
    for name in NAMES:
        case = case_named(name, tmp_path / name)
        [(_, image)] = case.images.read()
        assert image.shape[:2] == (case.config.image.height, case.config.image.width), name


def test_an_unknown_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no case 'swin'"):
        case_named("swin", tmp_path)


@pytest.mark.slow
def test_the_graphs_compute_what_the_model_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules are gone: what stands for their graphs here is the plain one."""
    monkeypatch.setattr(bench_graphs, "config_of", lambda preset, gate: tiny(gate, tasks=2))
    out, rules = tmp_path / "swin", tmp_path / "older" / "swin_dynamic"
    assert write_graphs("swin_dynamic", out, None, threads=1).keys() == {*graphs_of(out)[1:]}
    assert graphs_of(out) == ["plain", "elimination", "elimination_intel", "elimination_ort"]
    rules.mkdir(parents=True)
    for name in ("rules", "rules_intel", "rules_ort"):
        shutil.copyfile(out / "plain.onnx", rules / f"{name}.onnx")
    errors = write_graphs("swin_dynamic", out, rules.parent, threads=1)
    feed = {INPUT: np.load(out / "image.npy")}
    config = tiny("dynamic", tasks=2)
    assert isinstance(config.adapter, TdssConfig)
    with torch.no_grad():
        want = random_model(config, bench_eliminations.SEED)(torch.tensor(feed[INPUT]))
    graphs = graphs_of(out)
    for graph in graphs:
        got = onnxruntime.InferenceSession(out / f"{graph}.onnx").run(list(want), feed)
        for task, array in zip(want.values(), got, strict=True):
            np.testing.assert_allclose(array, task.numpy(), rtol=0, atol=1e-5 * float(task.abs().max()))
    assert len(graphs) == 7 and errors.keys() == {*graphs[1:]} and max(errors.values()) < 1e-5
    head, _, *rows = case_table(["swin"], tmp_path).splitlines()
    cells = [[cell.strip() for cell in row.strip("| ").split("|")] for row in rows]
    assert [row[1] for row in cells] == graphs and "resizes" in head
    resizes = {row[1] for row in cells if float(row[3]) > 0}
    assert resizes == {"elimination_intel"}  # targets/intel/rewrites.json has them on
    assert read_cost(out / "elimination_ort.onnx").macs < read_cost(out / "plain.onnx").macs


@pytest.mark.slow
def test_graphs_of_the_rules_that_are_not_there_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_graphs, "config_of", lambda preset, gate: tiny(gate, tasks=1))
    with pytest.raises(InputError, match=r"there is no rules\.onnx"):
        write_graphs("swin_static", tmp_path / "swin", tmp_path, threads=1)
    with pytest.raises(InputError, match="the page holds the rows"):
        main(tmp_path / "out", page=tmp_path / "page.md")
