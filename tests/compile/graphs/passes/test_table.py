"""Running a list of passes on a file."""

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from bundle.base.errors import ConfigError, GraphError
from compile.graphs.passes import table
from targets.table import TARGETS
from tests.compile.graphs.passes.made import graph
from tests.compile.graphs.passes.test_make_activations_signed import UNSIGNED


def test_passes_run_in_order_and_say_what_changed(tmp_path: Path) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    ir.save(graph(UNSIGNED), source)
    before = source.read_bytes()
    changed = table.apply_passes(("make_activations_signed", "drop_bias_dequantization"), source, target)
    assert changed == {"make_activations_signed": True, "drop_bias_dequantization": False}
    assert source.read_bytes() == before
    names = {initializer.name for initializer in onnx.load(target).graph.initializer}
    assert "s" not in names  # what nothing reads any more is gone


def test_an_unknown_pass_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown pass 'shrink'"):
        table.apply_passes(("shrink",), tmp_path / "in.onnx", tmp_path / "out.onnx")


def test_a_pass_that_breaks_the_graph_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(model: ir.Model) -> tuple[ir.Model, bool]:
        next(iter(model.graph)).op_type = "NoSuchOperator"
        return model, True

    monkeypatch.setattr(table, "PASSES", {**table.PASSES, "spoil": spoil})
    ir.save(graph(UNSIGNED), tmp_path / "in.onnx")
    with pytest.raises(GraphError, match="the pass spoil left an invalid graph") as caught:
        table.apply_passes(("make_activations_signed", "spoil"), tmp_path / "in.onnx", tmp_path / "out.onnx")
    assert "make_activations_signed, spoil" in caught.value.where


def test_every_target_names_passes_of_the_table() -> None:
    assert {name for target in TARGETS.values() for name in (*target.passes, *target.fusing_passes)} <= set(
        table.PASSES
    )
