"""Files of any origin: functions with opsets of their own, sparse tensors, and external data that is not all there."""

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from bundle.base.errors import GraphError
from compile.tensorrt_checks.run import lint_file, lint_model
from tests.cli.run import tdss

SPARSE = helper.make_sparse_tensor(
    helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0]),
    helper.make_tensor("places", TensorProto.INT64, [2], [0, 3]),
    [4],
)
ADD = helper.make_node("Add", ["x", "w"], ["y"])


def saved(folder: Path, nodes: Sequence[onnx.NodeProto], *initializers: onnx.TensorProto, valid: bool = True) -> Path:
    """Write a model of four numbers as a file."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [4]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])], initializers
    )
    return written(folder, graph, valid=valid)


def written(folder: Path, graph: onnx.GraphProto, *, valid: bool) -> Path:
    """Write a graph as a file."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if valid:
        onnx.checker.check_model(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def external(**record: str | int) -> onnx.TensorProto:
    """A weight of 16 bytes in a file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "weights.bin", **record}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def main_graph(folder: Path, tensor: onnx.TensorProto) -> Path:
    return saved(folder, [ADD], tensor, valid=False)


def constant(folder: Path, tensor: onnx.TensorProto) -> Path:
    return saved(folder, [helper.make_node("Constant", [], ["w"], value=tensor), ADD], valid=False)


def branch(folder: Path, tensor: onnx.TensorProto) -> Path:
    return _branches(folder, [helper.make_node("Add", ["x", "w"], ["a"])], [tensor])


def branch_constant(folder: Path, tensor: onnx.TensorProto) -> Path:
    nodes = [helper.make_node("Constant", [], ["w"], value=tensor), helper.make_node("Add", ["x", "w"], ["a"])]
    return _branches(folder, nodes, [])


def _branches(folder: Path, nodes: Sequence[onnx.NodeProto], initializers: Sequence[onnx.TensorProto]) -> Path:
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "ab"]
    one = helper.make_graph(nodes, "t", [], made[:1], initializers)
    other = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "e", [], made[1:])
    return saved(folder, [helper.make_node("If", ["c"], ["y"], then_branch=one, else_branch=other)], valid=False)


def function(folder: Path, tensor: onnx.TensorProto) -> Path:
    nodes = [helper.make_node("Constant", [], ["w"], value=tensor), helper.make_node("Add", ["x", "w"], ["y"])]
    own = helper.make_function("own", "f", ["x"], ["y"], nodes, [helper.make_opsetid("", 20)])
    path = saved(folder, [helper.make_node("f", ["x"], ["y"], domain="own")], valid=False)
    model = onnx.load(path)
    model.functions.append(own)
    model.opset_import.append(helper.make_opsetid("own", 1))
    path.write_bytes(model.SerializeToString())
    return path


PLACES = pytest.mark.parametrize("write", [main_graph, constant, branch, branch_constant, function])
Write = Callable[[Path, onnx.TensorProto], Path]


@PLACES
def test_missing_data_is_named_wherever_a_tensor_names_it(write: Write, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"model\.onnx cannot be read") as caught:
        lint_file(write(tmp_path, external()))
    assert "external data weights.bin is missing" in caught.value.got


@PLACES
def test_data_that_is_cut_short_is_named(write: Write, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(20))
    assert lint_file(write(tmp_path, external(offset=4, length=16))).errors == ()
    (tmp_path / "weights.bin").write_bytes(bytes(19))
    with pytest.raises(GraphError) as caught:
        lint_file(write(tmp_path, external(offset=4)))
    assert "weights.bin holds 19 bytes, and w ends at 20" in caught.value.got


def test_data_that_lies_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    with pytest.raises(GraphError) as caught:
        lint_file(main_graph(tmp_path / "model", external(location="../weights.bin")))
    assert "lies outside" in caught.value.got


def test_damage_ends_the_command_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(15))
    code, out, err = tdss("lint", str(main_graph(tmp_path, external())), capsys=capsys)
    assert (code, out) == (2, "") and "holds 15 bytes" in err


def test_a_tensor_of_no_known_type_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"model\.onnx cannot be read"):
        lint_file(main_graph(tmp_path, TensorProto(name="w", data_type=99, dims=[4])))


def test_a_tensor_that_is_cut_short_in_the_model_itself_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"model\.onnx cannot be read"):
        lint_file(branch(tmp_path, TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], raw_data=bytes(12))))


def test_a_constant_without_a_value_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(GraphError) as caught:
        lint_file(saved(tmp_path, [helper.make_node("Constant", [], ["w"]), ADD], valid=False))
    assert "Constant of w has 0 values" in caught.value.got


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Add", ["x"], ["y"]),
        helper.make_node("Add", ["x", "x"], []),
        helper.make_node("Mul", [], ["y"]),
    ],
)
def test_a_node_that_lacks_an_input_or_an_output_is_no_model(node: onnx.NodeProto, tmp_path: Path) -> None:
    with pytest.raises(GraphError) as caught:
        lint_file(saved(tmp_path, [node], valid=False))
    assert f"{node.op_type} of" in caught.value.got and "lacks" in caught.value.got


@pytest.mark.parametrize("name", ["axis", "other"])
def test_an_attribute_twice_or_without_a_type_is_no_model(name: str, tmp_path: Path) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    node.attribute.add(name=name, type=onnx.AttributeProto.INT if name == "axis" else onnx.AttributeProto.UNDEFINED)
    with pytest.raises(GraphError) as caught:
        lint_file(saved(tmp_path, [node], valid=False))
    assert "attribute twice, or one without a type" in caught.value.got


def test_a_name_that_is_no_text_is_no_model(tmp_path: Path) -> None:
    path = saved(tmp_path, [helper.make_node("Relu", ["x"], ["y"], name="quite")])
    path.write_bytes(path.read_bytes().replace(b"quite", b"qu\xffte"))
    with pytest.raises(GraphError):
        lint_file(path)


def test_a_sparse_constant_is_an_error_with_a_type_and_a_shape(tmp_path: Path) -> None:
    path = saved(tmp_path, [helper.make_node("Constant", [], ["w"], sparse_value=SPARSE), ADD])
    [finding] = lint_file(path).findings
    assert (finding.rule, finding.node) == ("known-operator", "sparse Constant of w")
    assert "no importer" in finding.effect


def test_a_sparse_initializer_is_an_error_and_no_input(tmp_path: Path) -> None:
    model = onnx.load(saved(tmp_path, [ADD], valid=False))
    model.graph.sparse_initializer.append(SPARSE)
    [finding] = lint_file(written(tmp_path, model.graph, valid=True)).findings
    assert (finding.rule, finding.node) == ("known-operator", "sparse initializer of w")


OWN = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
g (float[2] x) => (float[2] y) { y = own.outer (x) }
<domain: "own", opset_import: ["" : 17, "own" : 2]>
outer (a) => (b) { b = own.inner (a) }
<domain: "own", opset_import: ["" : 18]>
inner (a) => (b) { s = OP (a)  b = Mul (a, s) }"""


@pytest.mark.parametrize(("operator", "errors"), [("Sigmoid", 0), ("Det", 1)])
def test_a_function_with_opsets_of_its_own_is_looked_into(operator: str, errors: int) -> None:
    report = lint_model(ir.from_onnx_text(OWN.replace("OP", operator)), "made")
    assert (report.opset, report.nodes, len(report.errors)) == (20, 2, errors)


def test_a_function_that_reads_what_it_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(GraphError, match="made has a function that cannot be inlined"):
        lint_model(ir.from_onnx_text(OWN.replace("OP (a)", "Relu (nothing)")), "made")


def test_a_function_that_calls_itself_is_refused_by_name() -> None:
    with pytest.raises(GraphError, match="made has a function that cannot be inlined") as caught:
        lint_model(ir.from_onnx_text(OWN.replace("OP", "own.outer")), "made")
    assert "own::outer" in caught.value.got
