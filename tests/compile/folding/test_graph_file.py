"""``tdss fold`` on an ONNX file: what it writes, proves, explains and refuses."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from bundle.base.errors import GraphError, InputError
from compile.folding.drawing import draw
from compile.folding.engine import eliminate
from compile.folding.graph_file import fold_file, read_graph
from compile.folding.linear import expand
from compile.folding.linear.matrices import Matrix
from compile.folding.proof import beyond, prove, worst
from compile.folding.record import scope_of
from compile.graphs.cost import graph_cost
from targets.folding import Rates, rates_of
from tests.cli.run import tdss
from tests.compile.folding.engine_cases import RATES
from tests.compile.folding.exporting import export_simplified

WIDTH = 256


class Adapted(nn.Module):
    """A linear layer with an unmerged low-rank update, between non-linear ones."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.down, self.up = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, 8, bias=False),
            nn.Linear(8, WIDTH, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer and its update."""
        x = torch.relu(x)
        return torch.tanh(self.base(x) + 0.5 * self.up(self.down(x)))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer as a file, on 64 tokens."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("graph") / "adapted.onnx"
    ir.save(export_simplified(Adapted().eval(), torch.zeros(1, 64, WIDTH)), path)
    return path


def quiet(_: str) -> None:
    """Say nothing."""


@pytest.mark.slow
def test_an_update_is_merged_into_its_layer(graph: Path, tmp_path: Path) -> None:
    out = tmp_path / "folded.onnx"
    record = fold_file(graph, out, None, 2, "reference", quiet)
    folded = onnx.load(out)
    assert record.outcome == "folded"
    assert sorted(node.op_type for node in folded.graph.node) == ["Add", "MatMul", "Relu", "Tanh"]
    assert record.macs_after == graph_cost(read_graph(out)).macs == 64 * WIDTH * WIDTH
    assert max(record.proof.float64.values()) < 1e-11
    assert {one.decision for one in record.values} == {"kept", "eliminated"}


def test_the_same_file_gives_the_same_bytes_and_may_be_written_over(graph: Path, tmp_path: Path) -> None:
    out = tmp_path / "folded.onnx"
    fold_file(graph, out, None, 1, "reference", quiet)
    first = out.read_bytes()
    fold_file(graph, out, None, 1, "reference", quiet)
    assert out.read_bytes() == first


def test_another_file_is_not_written_over(graph: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"something else")
    with pytest.raises(InputError, match="something here already"):
        fold_file(graph, other, None, 1, "reference", quiet)
    assert other.read_bytes() == b"something else"


@pytest.mark.slow
def test_a_wrong_elimination_is_named(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_graph(graph)
    feed = {"x": np.random.default_rng(0).standard_normal((1, 64, WIDTH)).astype(np.float32)}
    wrong = "down"
    right = expand._composed

    def broken(network, read, term):  # type: ignore[no-untyped-def]
        found = right(network, read, term)
        name = network.values[read.source].name
        return (
            found._replace(matrix=found.matrix @ Matrix(1.001 * np.eye(term.matrix.columns)))
            if wrong in name
            else found
        )

    monkeypatch.setattr(expand, "_composed", broken)
    folding = eliminate(model, RATES)
    with pytest.raises(GraphError) as caught:
        prove(model, folding, [feed], RATES)
    assert wrong in caught.value.where and "elimination of" in caught.value.where


def test_inputs_may_be_given(graph: Path, tmp_path: Path) -> None:
    good, wrong = tmp_path / "good.npz", tmp_path / "wrong.npz"
    np.savez(good, x=np.ones((1, 64, WIDTH), np.float32))
    np.savez(wrong, x=np.ones((1, 3, WIDTH), np.float32))
    assert fold_file(graph, None, good, 1, "reference", quiet).proof.images == 1
    with pytest.raises(InputError, match="does not fit"):
        fold_file(graph, None, wrong, 1, "reference", quiet)


def test_an_older_opset_is_folded_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [
        helper.make_tensor(
            name, TensorProto.FLOAT, shape, rng.standard_normal(shape).astype(np.float32).tobytes(), raw=True
        )
        for name, shape in (("a", (64, 8)), ("b", (8, 8)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["y"]),
        helper.make_node("MatMul", ["y", "b"], ["z"]),
        helper.make_node("Relu", ["z"], ["s"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])]
    outputs = [helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, 8])]
    model = helper.make_model(
        helper.make_graph(nodes, "old", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 13)]
    )
    path = tmp_path / "old.onnx"
    onnx.save(model, path)
    assert fold_file(path, None, None, 1, "reference", quiet).nodes_after == 2


@pytest.mark.parametrize("operator", ["QuantizeLinear", "If", "Cast"])
def test_what_cannot_be_folded_is_refused(operator: str, tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    if operator == "If":
        branch = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["b"])], "branch", [], [value("b", TensorProto.FLOAT, [4])]
        )
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
        inputs = [value("c", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, [4])]
        outputs, constants = [value("y", TensorProto.FLOAT, [4])], []
    elif operator == "Cast":  # two float types
        nodes = [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Cast", ["r"], ["h"], to=TensorProto.FLOAT16),
            helper.make_node("Relu", ["h"], ["y"]),
        ]
        inputs, outputs, constants = [value("x", TensorProto.FLOAT, [4])], [value("y", TensorProto.FLOAT16, [4])], []
    else:
        nodes = [helper.make_node("QuantizeLinear", ["x", "s"], ["y"])]
        inputs, outputs = [value("x", TensorProto.FLOAT, [4])], [value("y", TensorProto.UINT8, [4])]
        constants = [helper.make_tensor("s", TensorProto.FLOAT, [], [0.1])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 20)]
    )
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(GraphError, match="cannot be folded"):
        fold_file(path, None, None, 1, "reference", quiet)


@pytest.mark.slow
def test_the_command_prints_a_line_json_or_tables(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folded.onnx"
    code, line, _ = tdss("fold", str(graph), "--out", str(out), capsys=capsys)
    assert code == 0 and line.startswith("folded for reference: ")
    record = json.loads(tdss("fold", str(graph), "--out", str(out), "--json", capsys=capsys)[1])
    assert record["outcome"] == "folded" and record["macs_before"] > record["macs_after"]
    _, shown, err = tdss("fold", str(graph), "--explain", "--out", str(out), capsys=capsys)
    assert "Where there was a choice" in shown and f"written: {out}" in err
    assert "written" not in tdss("fold", str(graph), "--explain", capsys=capsys)[2]
    assert "give the file to write" in tdss("fold", str(graph), capsys=capsys)[2]
    assert "give the folder to write" in tdss("fold", str(tmp_path), capsys=capsys)[2]
    assert tdss("fold", str(graph), "--out", str(out), "--tasks", "depth", capsys=capsys)[0] == 2


@pytest.mark.parametrize(("name", "scope"), [("a.b/Add", "a.b"), ("/a/b/Conv_output_0", "a.b"), ("val_3", "")])
def test_a_scope_is_read_from_a_name(name: str, scope: str) -> None:
    assert scope_of(name) == scope


def test_frames_of_bytes_are_folded_in_float32(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [
        helper.make_tensor(
            name, TensorProto.FLOAT, shape, rng.standard_normal(shape).astype(np.float32).tobytes(), raw=True
        )
        for name, shape in (("a", (64, 8)), ("b", (8, 8)))
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "a"], ["y"]),
        helper.make_node("MatMul", ["y", "b"], ["z"]),
        helper.make_node("Relu", ["z"], ["s"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 64])]
    outputs = [helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, 8])]
    model = helper.make_model(
        helper.make_graph(nodes, "bytes", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 20)]
    )
    onnx.save(model, tmp_path / "bytes.onnx")
    np.savez(tmp_path / "x.npz", x=rng.integers(0, 256, (1, 64)).astype(np.uint8))
    record = fold_file(tmp_path / "bytes.onnx", tmp_path / "out.onnx", tmp_path / "x.npz", 1, "reference", quiet)
    assert record.nodes_after == 3 and max(record.proof.float64.values()) < 1e-11


def test_a_number_that_is_none_is_no_proof() -> None:
    want = {"y": np.ones(3)}
    relative, absolute = worst([(want, {"y": np.array([1.0, np.nan, 1.0])}), (want, want)])
    assert (
        np.isnan(relative["y"]) and np.isnan(absolute["y"]) and beyond((relative, absolute), 1e-11, dict) == "nan on y"
    )
    assert beyond(worst([(want, want)]), 1e-11, dict) == ""


@pytest.mark.slow
def test_the_target_says_what_work_costs(graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dear = RATES.model_copy(update={"element": 20.0})
    costs = {"intel": RATES, "jetson": dear}
    monkeypatch.setattr("compile.folding.graph_file.rates_of", costs.__getitem__)
    found = {name: fold_file(graph, None, None, 1, name, quiet) for name in costs}
    assert {name: (one.target, one.rates) for name, one in found.items()} == {
        name: (name, rates) for name, rates in costs.items()
    }
    written, bias = (
        2 * 64 * WIDTH,
        WIDTH,
    )  # elements of Relu and Tanh; a product adds its bias for the price of reading it
    assert found["jetson"].cost_after - found["intel"].cost_after == 10 * (written + bias)


@pytest.mark.slow
def test_a_table_without_rows_is_not_drawn(graph: Path) -> None:
    record = fold_file(graph, None, None, 1, "reference", quiet)
    drawn = {
        reasons: len(draw(record.model_copy(update={"untouched": dict.fromkeys(reasons, ("x",))})).renderables)
        for reasons in ((), ("why",))
    }
    assert drawn[("why",)] == drawn[()] + 1


@pytest.mark.slow
def test_the_command_names_the_target_and_its_rates(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "folded.onnx")
    _, answer, _ = tdss("fold", str(graph), "--target", "jetson", "--out", out, "--json", capsys=capsys)
    record = json.loads(answer)
    assert record["target"] == "jetson" and Rates.model_validate(record["rates"]) == rates_of("jetson")
    _, shown, _ = tdss("fold", str(graph), "--explain", capsys=capsys)
    assert "for reference" in shown and f"adds {rates_of('reference').element:g} for each element" in " ".join(
        shown.split()
    )


def test_a_target_is_known(graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "folded.onnx")
    code, _, said = tdss("fold", str(graph), "--target", "tpu", "--out", out, capsys=capsys)
    assert code == 2 and "there is no target 'tpu'" in said
