"""A file of any exporter: what is prepared computes the same, and what cannot be quantized is refused by the name of its node."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundle.base.errors import ConfigError, GraphError
from compile.graphs.foreign import Prepared, prepare
from compile.graphs.load_onnx import contract_of
from compile.graphs.pin_input import InputFlags, read_shape, read_values
from compile.stage.compare import run_model

JETSON = (19, 20)
GENERATOR = np.random.default_rng(5)
WEIGHTS = {"w": GENERATOR.normal(size=(4, 3, 1, 1)), "g": GENERATOR.normal(size=4), "g2": GENERATOR.normal(size=2)}
CONV = "t = Conv (image, w)"


def saved(
    body: str,
    folder: Path,
    *,
    opset: int = 20,
    shape: str = "1,3,8,8",
    name: str = "image",
    out: str = "1,4,8,8",
    imports: str = "",
    **stored: np.ndarray,
) -> Path:
    """A graph from an image to ``semseg``, with weights by name."""
    text = f'<ir_version: 9, opset_import: ["": {opset}{imports}]> g (float[{shape}] {name}) => (float[{out}] semseg) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    arrays = {key: array.astype(np.float32) for key, array in WEIGHTS.items()} | stored
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), key) for key, array in arrays.items() if key in used
    )
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def equal(path: Path, prepared: Prepared) -> None:
    """Require that ONNX Runtime answers alike for the file itself and for what was made of it."""
    model = onnx.load(path)
    feed = GENERATOR.normal(size=(1, 3, 8, 8)).astype(np.float32)
    [want] = run_model(ir.from_proto(model), [{"image": feed}], threads=1)
    [got] = run_model(prepared.model, [{"image": feed}], threads=1)
    np.testing.assert_allclose(got["semseg"], want["semseg"], rtol=1e-5, atol=1e-6)


def operators(prepared: Prepared) -> list[str]:
    """The operators in order."""
    return [node.op_type for node in prepared.model.graph]


@pytest.mark.parametrize(
    ("body", "stored", "left"),
    [
        ("n = ReduceL2 <keepdims=1> (w, a)\n v = Div (w, n)\n semseg = Conv (image, v)", {"a": np.int64([1, 2, 3])}, 1),
        ("v = Cast <to=1> (h)\n semseg = Conv (image, v)", {"h": WEIGHTS["w"].astype(np.float16)}, 1),
        ("v = Transpose <perm=[1,0,2,3]> (r)\n semseg = Conv (image, v)", {"r": np.ones((3, 4, 1, 1), np.float32)}, 1),
        (
            "s = Shape (image)\n b = Gather (s, zero)\n c = Unsqueeze (b, axes)\n d = Concat <axis=0> (c, rest)\n"
            f"{CONV}\n semseg = Reshape (t, d)",
            {"zero": np.int64(0), "axes": np.int64([0]), "rest": np.int64([4, 8, 8])},
            1,
        ),
    ],
    ids=["weight norm", "cast from FP16", "transposed", "computed shape"],
)
def test_what_only_constants_compute_is_folded(
    body: str, stored: dict[str, np.ndarray], left: int, tmp_path: Path
) -> None:
    path = saved(body, tmp_path, **stored)
    prepared = prepare(path, InputFlags(), JETSON)
    assert len(operators(prepared)) == left
    equal(path, prepared)


@pytest.mark.parametrize(("opset", "wanted"), [(18, "g2"), (20, "g2"), (21, "g"), (22, "g")])
def test_a_group_normalization_is_written_without_the_deprecated_operator(
    opset: int, wanted: str, tmp_path: Path
) -> None:
    body = f"{CONV}\n semseg = GroupNormalization <num_groups=2, epsilon=0.01> (t, {wanted}, {wanted})"
    path = saved(body, tmp_path, opset=opset)
    prepared = prepare(path, InputFlags(), JETSON)
    assert "GroupNormalization" not in operators(prepared) and prepared.model.graph.opset_imports[""] == 20
    equal(path, prepared)
    assert ("GroupNormalization" in operators(prepare(path, InputFlags(), None))) is (opset > 20)


@pytest.mark.parametrize("opset", [11, 13, 17, 21, 22, 23])
def test_an_opset_that_the_target_does_not_take_is_converted(opset: int, tmp_path: Path) -> None:
    path = saved(f"{CONV}\n u = Relu (t)\n semseg = Softmax <axis=1> (u)", tmp_path, opset=opset)
    prepared = prepare(path, InputFlags(), JETSON)
    assert prepared.model.graph.opset_imports[""] == 20 and prepared.changes[-1] == f"opset {opset} as 20"
    equal(path, prepared)
    assert prepare(path, InputFlags(), None).changes == ()


def test_an_opset_that_cannot_be_converted_is_refused_by_its_operator(tmp_path: Path) -> None:
    path = saved("semseg = RMSNormalization (image, s)", tmp_path, opset=23, out="1,3,8,8", s=np.ones(8, np.float32))
    prepare(path, InputFlags(), None)
    with pytest.raises(GraphError) as caught:
        prepare(path, InputFlags(), JETSON)
    assert caught.value.expected == "opset 20" and "RMSNormalization" in caught.value.got


def test_gelu_of_com_microsoft_is_that_of_onnx(tmp_path: Path) -> None:
    path = saved(f"{CONV}\n semseg = com.microsoft.Gelu (t)", tmp_path, opset=17, imports=', "com.microsoft": 1')
    prepared = prepare(path, InputFlags(), None)
    assert {node.domain for node in prepared.model.graph} == {
        ""
    } and "com.microsoft" not in prepared.model.graph.opset_imports
    equal(path, prepared)


@pytest.mark.parametrize("added", ["Add (t, c)", "Sub (t, c)", "Sub (c, t)"])
def test_a_scalar_bias_of_a_product_gets_a_number_for_each_channel(added: str, tmp_path: Path) -> None:
    path = saved(f"{CONV}\n semseg = {added}", tmp_path, c=np.float32(25))
    prepared = prepare(path, InputFlags(), JETSON)
    [bias] = [value for value in prepared.model.graph[-1].inputs if value is not None and value.is_initializer()]
    assert list(bias.shape or ()) == [1, 4, 1, 1]
    equal(path, prepared)


def test_initializers_among_the_inputs_are_weights(tmp_path: Path) -> None:
    path = saved("semseg = Conv (image, w)", tmp_path)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3, 1, 1]))
    onnx.save(model, path)
    prepared = prepare(path, InputFlags(), JETSON)
    assert [value.name for value in prepared.model.graph.inputs] == ["image"]


@pytest.mark.parametrize(
    ("body", "options", "named"),
    [
        (f"{CONV}\n semseg, = Dropout (t, , on)", {"on": np.bool_(True)}, "training mode"),
        (f"off = Cast <to=9> (one)\n {CONV}\n semseg = Dropout (t, , off)", {"one": np.int64(1)}, "training mode"),
        (f"{CONV}\n semseg = Dropout (t)", {"opset": 6}, "training mode"),
        (f"{CONV}\n r = RandomNormalLike (t)\n semseg = Add (t, r)", {}, "random"),
        (f"{CONV}\n semseg, m, v = BatchNormalization <training_mode=1> (t, g, g, g, g)", {}, "training mode"),
        (f"{CONV}\n semseg = com.microsoft.QuickGelu (t)", {"imports": ', "com.microsoft": 1'}, "no such operator"),
        (f"{CONV}\n semseg = mine.Magic (t)", {"imports": ', "mine": 1'}, "no such operator"),
        (
            f"{CONV}\n q = QuantizeLinear (t, s, z)\n semseg = DequantizeLinear (q, s, z)",
            {"s": np.float32(1), "z": np.uint8(128)},
            "quantized already",
        ),
        (
            "d = DequantizeLinear (q, s)\n semseg = Conv (image, d)",
            {"s": np.float32(1), "q": np.ones((4, 3, 1, 1), np.int8)},
            "quantized already",
        ),
        (
            "q, s, z = DynamicQuantizeLinear (image)\n d = DequantizeLinear (q, s, z)\n semseg = Conv (d, w)",
            {},
            "quantized already",
        ),
    ],
)
def test_what_cannot_be_quantized_is_refused_by_its_node(
    body: str, options: dict[str, object], named: str, tmp_path: Path
) -> None:
    with pytest.raises(GraphError) as caught:
        prepare(saved(body, tmp_path, **options), InputFlags(), JETSON)
    assert named in caught.value.message
    assert any(
        one in caught.value.got
        for one in ("Dropout", "Random", "Batch", "Gelu", "Magic", "quantizeLinear", "QuantizeLinear")
    )


@pytest.mark.parametrize("options", [{}, {"on": np.bool_(False)}, {"ratio": np.float32(0), "on": np.bool_(True)}])
def test_a_dropout_that_drops_nothing_is_taken(options: dict[str, np.ndarray], tmp_path: Path) -> None:
    inputs = ", ".join(["t", *([] if not options else ["ratio" if "ratio" in options else "", "on"])])
    path = saved(f"{CONV}\n semseg = Dropout ({inputs})", tmp_path, **options)
    equal(path, prepare(path, InputFlags(), JETSON))


def test_what_the_checker_refuses_is_the_fault_of_the_file(tmp_path: Path) -> None:
    path = saved(f"{CONV}\n semseg = Concat (t, t)", tmp_path)
    with pytest.raises(GraphError, match="no valid ONNX") as caught:
        prepare(path, InputFlags(), JETSON)
    assert "axis" in caught.value.got


@pytest.mark.parametrize(
    ("shape", "flags", "typed", "taken"),
    [
        ("1,3,8,8", {}, "--input pixels", (1, 3, 8, 8)),
        ("N,3,H,W", {"size": (16, 24)}, "--input pixels --shape 1,3,16,24", (1, 3, 16, 24)),
        ("N,3,8,W", {"size": (16, 24)}, "--input pixels --shape 1,3,8,24", (1, 3, 8, 24)),
        ("4,3,8,8", {}, "--input pixels --shape 1,3,8,8", (1, 3, 8, 8)),
        ("N,8,8,3", {}, "--input pixels --shape 1,8,8,3", (1, 3, 8, 8)),
    ],
)
def test_a_refusal_names_the_flags_that_make_the_file_fit(
    shape: str, flags: dict[str, tuple[int, int]], typed: str, taken: tuple[int, ...], tmp_path: Path
) -> None:
    transposed = "x = Transpose <perm=[0,3,1,2]> (pixels)" if shape.endswith("3") else "x = Identity (pixels)"
    body = f"{transposed}\n t = Conv (x, w)\n semseg = GlobalAveragePool (t)"
    path = saved(body, tmp_path, shape=shape, name="pixels", out="a,b,c,d")
    with pytest.raises(GraphError) as caught:
        prepare(path, InputFlags(**flags), JETSON)
    assert caught.value.fix == f"type {typed}"
    words = typed.split()
    given = InputFlags("pixels", read_shape(words[3] if len(words) > 2 else ""))
    prepared = prepare(path, given, JETSON)
    info = contract_of(prepared.model, path, mean=(0, 0, 0), std=(1, 1, 1))
    assert info.interface[0][0].shape == taken and info.interface[1][0].shape == (1, 4, 1, 1) and info.tasks == {}


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("float[1,3,8,8] a, float[1,3,8,8] b", "y = Add (a, b)"),
        ("float[1,2,8,8] a", "y = Relu (a)"),
        ("float[1,4,8,8] a", "y = Relu (a)"),
        ("float[1,8,8,5] a", "y = Relu (a)"),
        ("uint8[1,1,8,8] a", "y = Identity (a)"),
        ("float[1,64] a", "y = Relu (a)"),
        ("int64[1,3,8,8] a", "y = Neg (a)"),
        ("uint8[1,3,8,8] a", "y = Identity (a)"),
    ],
)
def test_where_no_flag_helps_none_is_named(text: str, body: str, tmp_path: Path) -> None:
    kind = text.split("[")[0]
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 20]> g ({text}) => ({kind}[1,1,1,1] y) {{ {body} }}'
    )
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(GraphError) as caught:
        prepare(tmp_path / "m.onnx", InputFlags(), JETSON)
    assert "--" not in caught.value.fix


@pytest.mark.parametrize(("channels", "shape"), [(4, "1,3,8,8"), (2, "1,1,8,8"), (3, "1,1,8,8"), (1, "1,3,8,8")])
def test_a_shape_of_other_channels_than_the_file_has_is_refused(channels: int, shape: str, tmp_path: Path) -> None:
    path = saved("semseg = Relu (image)", tmp_path, shape=f"N,{channels},H,W", out="a,b,c,d")
    with pytest.raises(GraphError) as caught:
        prepare(path, InputFlags(shape=read_shape(shape)), JETSON)
    assert "C 3 or 1" in caught.value.expected and f",{channels}," in caught.value.got


@pytest.mark.parametrize(
    ("kind", "shape", "size", "typed"),
    [
        ("float", "N,1,64,W", (64, 256), "--input pixels --shape 1,1,64,256"),
        ("float", "1,1,8,8", None, "--input pixels"),
        ("float", "N,H,W,1", (16, 24), "--input pixels --shape 1,16,24,1"),
        ("uint8", "N,8,8,1", None, "--input pixels --shape 1,8,8,1"),
    ],
)
def test_a_grey_input_is_taken(kind: str, shape: str, size: tuple[int, int] | None, typed: str, tmp_path: Path) -> None:
    text = f'<ir_version: 9, opset_import: ["": 20]> g ({kind}[{shape}] pixels) => ({kind}[a,b,c,d] y) {{ y = Identity (pixels) }}'
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(GraphError) as caught:
        prepare(path, InputFlags(size=size), JETSON)
    assert caught.value.fix == f"type {typed}"
    prepared = prepare(path, InputFlags("pixels", read_shape(typed.partition("--shape ")[2])), JETSON)
    info = contract_of(prepared.model, path, mean=(), std=(0.5,))
    height, width = size or (8, 8)
    image = GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8)
    luma = image @ np.array([0.299, 0.587, 0.114])
    fed = info.feed(image)["image"]
    assert fed.shape == info.interface[0][0].shape and 1 in fed.shape[1::2]
    assert np.abs(fed.reshape(height, width) * (0.5 * 255 if kind == "float" else 1) - luma).max() < 0.51
    with pytest.raises(ConfigError, match="grey"):
        contract_of(prepared.model, path, mean=(0.1, 0.2, 0.3), std=())


@pytest.mark.parametrize(
    ("text", "values"), [("", ()), ("0.5", (0.5,)), ("0.485,0.456,0.406", (0.485, 0.456, 0.406)), ("-1", (-1.0,))]
)
def test_a_normalisation_is_one_value_or_three(text: str, values: tuple[float, ...]) -> None:
    assert read_values(text, "--mean") == values


@pytest.mark.parametrize("text", ["0.5,0.5", "x", "1,2,3,4", "0.5,", "0.5 0.5 0.5"])
def test_another_normalisation_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_values(text, "--std")
    assert caught.value.where == "--std"


def test_an_output_whose_size_the_values_decide_is_refused(tmp_path: Path) -> None:
    body = f"{CONV}\n n = NonZero (t)\n semseg = Cast <to=1> (n)"
    with pytest.raises(GraphError, match="size of an output is unknown"):
        prepare(saved(body, tmp_path, out="4,K"), InputFlags(), JETSON)


@pytest.mark.parametrize("text", ["1,3,224", "2,3,8,8", "1,4,8,8", "1,3,0,8", "1,3,-8,8", "x", "1,3,8,8,", "1, 3,8,8"])
def test_a_shape_that_is_none_of_an_image_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_shape(text)
