"""A graph that cannot be run is refused by name when it is read, and one that can be is not."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, parser
from onnx_ir.passes.common import ShapeInferencePass

from bundle.base.errors import GraphError
from compile.graphs.load_onnx import read_contract
from compile.graphs.read_onnx import read_model
from compile.graphs.structure import NESTING, check_structure
from compile.tensorrt_checks.rtx_build import prove
from compile.tensorrt_checks.run import view_of
from tests.cli.run import tdss

HEAD = '<ir_version: 9, opset_import: ["": 20]>\nsome (float[1,3,8,8] image) => (float[1,3,8,8] semseg) '
BROKEN = {
    "undefined": (HEAD + "{ semseg = Add (image, s) }", "Add semseg reads 's', which nothing"),
    "cycle": (
        HEAD + "{ a = Add (image, b)\n b = Relu (a)\n semseg = Relu (b) }",
        "need each other: .*(Relu b.*Add a|Add a.*Relu b)",
    ),
    "itself": (HEAD + "{ semseg = Add (image, semseg) }", "need each other"),
    "no output": (HEAD + "{ a = Relu (image) }", "output 'semseg' of graph 'some' is given by no node"),
    "twice": (HEAD + "{ semseg = Relu (image)\n semseg = Abs (image) }", "gives 'semseg', which is given already"),
    "no opset": (
        HEAD.replace('"": 20', '"x": 1') + "{ semseg = Relu (image) }",
        "Relu semseg is of domain '', and no opset of it is named",
    ),
    "unknown domain": (HEAD + "{ semseg = y.Relu (image) }", "domain 'y', and no opset"),
    "opset": (HEAD.replace("20", str(2**62)) + "{ semseg = Relu (image) }", f"there is no opset {2**62}"),
    "input again": (HEAD + "{ image = Relu (image)\n semseg = Abs (image) }", "gives 'image', which is given already"),
}


def save(text: str, path: Path) -> Path:
    onnx.save(parser.parse_model(text), path)
    return path


@pytest.mark.parametrize("kind", BROKEN)
def test_a_graph_that_cannot_be_run_is_refused_by_every_reader(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said = BROKEN[kind]
    path = save(text, tmp_path / "m.onnx")
    readers = (read_model, lambda one: read_contract(one, mean=(0, 0, 0), std=(1, 1, 1)), lambda one: prove([one]))
    for read in readers:
        with pytest.raises(GraphError, match=rf"(?s)m\.onnx cannot be read as ONNX.*{said}") as caught:
            read(path)
        assert caught.value.where == str(path)
    code, out, error = tdss("lint", str(path), capsys=capsys)
    assert (code, out) == (2, "") and "expected:" in error


def nested(depth: int) -> onnx.ModelProto:
    """A graph in a branch of a graph, and so on."""
    body = helper.make_graph([helper.make_node("Identity", ["image"], ["o0"])], "g0", [], [value("o0")])
    for level in range(1, depth):
        node = helper.make_node(
            "If", ["c"], [f"o{level}"], then_branch=body, else_branch=body if level == 1 else leaf(level)
        )
        body = helper.make_graph([node], f"g{level}", [], [value(f"o{level}")])
    body.input.extend([value("image"), helper.make_tensor_value_info("c", TensorProto.BOOL, [])])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def leaf(level: int) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Identity", ["image"], [f"e{level}"])], "e", [], [value(f"e{level}")])


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8])


def test_nesting_has_a_limit() -> None:
    check_structure(nested(NESTING))
    with pytest.raises(ValueError, match=f"more than {NESTING} deep"):
        check_structure(nested(NESTING + 1))


def field(number: int, content: bytes) -> bytes:
    """A message in a message, as protobuf writes it."""
    size, length = b"", len(content)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


@pytest.mark.parametrize("depth", [20, 60, 2000])
def test_graphs_too_deep_for_anyone_are_refused(depth: int, tmp_path: Path) -> None:
    """Written byte by byte: no library makes such a file."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(4, b"If") + field(5, field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"))
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09" + field(7, graph) + field(8, b"\x10\x14"))
    with pytest.raises(GraphError, match="cannot be read as ONNX"):
        read_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("where", ["input", "weight", "external", "constant", "output"])
def test_a_negative_size_is_refused(where: str, tmp_path: Path) -> None:
    model = parser.parse_model(
        HEAD + "<float[4] w = {1, 2, 3, 4}> { k = Constant <value = float[1] {1}> ()\n"
        " t = Add (image, k)\n semseg = Mul (t, w) }"
    )
    if where in ("input", "output"):
        values = model.graph.input if where == "input" else model.graph.output
        values[0].type.tensor_type.shape.dim[2].dim_value = -8
    elif where == "constant":
        model.graph.node[0].attribute[0].t.dims[0] = -1
    else:
        weight = model.graph.initializer[0]
        weight.dims[0] = -4
        if where == "external":
            weight.ClearField("float_data")
            weight.data_location = TensorProto.EXTERNAL
            weight.external_data.add(key="location", value="w.bin")
            (tmp_path / "w.bin").write_bytes(bytes(16))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match="negative size"):
        read_model(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "{ b = Relu (a)\n a = Abs (image)\n semseg = Relu (b) }",  # TensorRT and ONNX Runtime sort by themselves
        HEAD + "{ a, = Dropout (image)\n semseg = Clip (a, , ) }",
        '<ir_version: 9, opset_import: ["": 20]> some (float[1,3,8,8] image, bool c) => (float[1,3,8,8] semseg) { a = Abs (image)\n'
        " semseg = If (c) <then_branch = t () => (float[1,3,8,8] x) { x = Relu (a) },"
        " else_branch = e () => (float[1,3,8,8] y) { y = Identity (image) }> }",
    ],
    ids=["unsorted", "optional", "captured"],
)
def test_what_can_be_run_is_taken(text: str) -> None:
    check_structure(parser.parse_model(text))


@pytest.mark.parametrize("size", [10**9, 10**18])
def test_an_image_of_any_size_is_no_reason_to_ask_for_memory(size: int, tmp_path: Path) -> None:
    text = HEAD.replace("8,8", f"{size},8") + "{ semseg = Relu (image) }"
    with pytest.raises(GraphError, match=r"(?s)no graph that can be quantized.*preprocess|height"):
        read_contract(save(text, tmp_path / "m.onnx"), mean=(0, 0, 0), std=(1, 1, 1))


def test_a_normalisation_by_zero_is_refused(tmp_path: Path) -> None:
    path = save(HEAD + "{ semseg = Relu (image) }", tmp_path / "m.onnx")
    for std in ((0, 1, 1), (1, float("nan"), 1), (1, 1, float("inf"))):
        with pytest.raises(GraphError, match="std"):
            read_contract(path, mean=(0, 0, 0), std=std)


def calling(depth: int, last: str) -> onnx.ModelProto:
    """A graph that calls a function, which calls the next one twice, and so on."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
    functions = []
    for index in range(depth):
        name, domain = (f"F{index + 1}", "f") if index + 1 < depth else (last, "f" if last.startswith("F") else "")
        nodes = [helper.make_node(name, [read], [given], domain=domain) for read, given in (("a", "c"), ("c", "b"))]
        functions.append(helper.make_function("f", f"F{index}", ["a"], ["b"], nodes, opsets))
    graph = helper.make_graph(
        [helper.make_node("F0", ["image"], ["semseg"], domain="f")], "g", [value("image")], [value("semseg")]
    )
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize(
    ("depth", "last", "said"),
    [(40, "Relu", f"{2**40} nodes"), (3, "F1", "functions call each other: F"), (1, "F0", "F0 → F0")],
)
def test_functions_that_are_too_many_nodes_or_none_at_all_are_refused_before_they_are_inlined(
    tmp_path: Path, depth: int, last: str, said: str
) -> None:
    onnx.save(calling(depth, last), tmp_path / "m.onnx")
    for read in (read_model, lambda one: prove([one])):
        with pytest.raises(GraphError) as caught:
            read(tmp_path / "m.onnx")
        assert said in caught.value.got


def test_functions_that_call_each_other_in_turn_are_read(tmp_path: Path) -> None:
    onnx.save(calling(4, "Relu"), tmp_path / "m.onnx")
    assert len(view_of(read_model(tmp_path / "m.onnx")).nodes) == 16


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"offset": "-8"}, "offset of external data of w is no number: '-8'"),
        ({"length": "-4"}, "length of external data of w is no number"),
        ({"offset": "x"}, "'x'"),
        ({"offset": "1" * 5000}, "is no number"),
        ({"length": "4"}, "w needs 32 bytes, and names 4"),
    ],
)
def test_a_place_of_external_data_that_is_none_is_named(tmp_path: Path, place: dict[str, str], said: str) -> None:
    model = parser.parse_model(HEAD + "<float[8] w = {0,0,0,0,0,0,0,0}> { semseg = Add (image, w) }")
    (tensor,) = model.graph.initializer
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": "w.bin", **place}.items():
        tensor.external_data.add(key=key, value=text)
    (tmp_path / "w.bin").write_bytes(bytes(64))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(GraphError) as caught:
        read_model(tmp_path / "m.onnx")
    assert said in caught.value.got


def test_shapes_that_cannot_be_inferred_are_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = read_model(save(HEAD + "{ semseg = Softmax<axis=99> (image) }", tmp_path / "m.onnx"))
    ShapeInferencePass()(model)
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and error.startswith("note: ") and "'axis' must be in [-4 , 3]" in error


@pytest.mark.parametrize("listed", ["initializer", "input"])
def test_a_name_that_is_given_twice_is_refused(listed: str, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Add (x, w) }'
    )
    getattr(model.graph, listed).append(getattr(model.graph, listed)[0])
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(GraphError) as caught:
        read_model(tmp_path / "m.onnx")
    assert "is given twice" in caught.value.got and listed in caught.value.got


def test_a_size_of_minus_one_is_an_unknown_one(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[2,3] x) => (float[2,3] y) { y = Relu (x) }'
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(model, tmp_path / "m.onnx")
    shape = read_model(tmp_path / "m.onnx").graph.inputs[0].shape
    assert shape is not None and not shape.is_static() and shape[1] == 3
