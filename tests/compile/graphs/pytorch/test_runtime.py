"""Forms that ONNX's vectors do not hold, against ONNX Runtime: older opsets, and attributes in combination."""

import numpy as np
import onnx_ir as ir
import pytest

from compile.graphs.pytorch.evaluate import evaluate
from tests.compile.graphs.passes.made import graph, run

# What an operator was before its inputs and attributes changed: opset, then the graph of it.
OLDER = {
    "softmax of a matrix": (11, "g (float[2, 3, 4] x) => (y) { y = Softmax(x) }"),
    "softmax of a matrix, axis": (11, "g (float[2, 3, 4] x) => (y) { y = Softmax <axis = 2> (x) }"),
    "log softmax of a matrix": (11, "g (float[2, 3, 4] x) => (y) { y = LogSoftmax <axis = -2> (x) }"),
    "squeeze": (11, "g (float[1, 3, 1] x) => (y) { y = Squeeze <axes = [0, 2]> (x) }"),
    "unsqueeze": (11, "g (float[2, 3] x) => (y) { y = Unsqueeze <axes = [0, -1]> (x) }"),
    "reduce sum": (11, "g (float[2, 3, 4] x) => (y) { y = ReduceSum <axes = [1, -1], keepdims = 0> (x) }"),
    "reduce mean": (13, "g (float[2, 3, 4] x) => (y) { y = ReduceMean <axes = [2]> (x) }"),
    "reduce l2": (13, "g (float[2, 3, 4] x) => (y) { y = ReduceL2 (x) }"),
    "clip": (10, "g (float[2, 3] x) => (y) { y = Clip <min = -0.5, max = 0.25> (x) }"),
    "pad": (10, 'g (float[2, 3] x) => (y) { y = Pad <mode = "constant", pads = [1, 0, 0, 2], value = 3.0> (x) }'),
    "slice": (9, "g (float[4, 6] x) => (y) { y = Slice <axes = [1], starts = [-4], ends = [100]> (x) }"),
    "split": (11, "g (float[2, 6] x) => (y, z) { y, z = Split <axis = 1, split = [2, 4]> (x) }"),
    "equal split": (11, "g (float[2, 6] x) => (y, z) { y, z = Split <axis = -1> (x) }"),
    "dropout": (10, "g (float[2, 6] x) => (y) { y = Dropout <ratio = 0.3> (x) }"),
    "top k": (10, "g (float[2, 6] x) => (y) <int64[1] k = {2}> { y, i = TopK (x, k) }"),
    "batch norm": (
        9,
        "g (float[1, 2, 3, 3] x) => (y) <float[2] s = {2, 3}, float[2] b = {1, 4}, float[2] m = {0.5, 0}, float[2] v = {1, 9}>"
        " { y = BatchNormalization <epsilon = 0.1> (x, s, b, m, v) }",
    ),
    "group norm": (
        18,
        "g (float[2, 4, 3, 3] x) => (y) <float[2] s = {2, 3}, float[2] b = {1, 4}>"
        " { y = GroupNormalization <num_groups = 2> (x, s, b) }",
    ),
    "upsample": (
        9,
        'g (float[1, 2, 3, 4] x) => (y) <float[4] s = {1, 1, 2, 3}> { y = Upsample <mode = "nearest"> (x, s) }',
    ),
    "upsample, linear": (
        9,
        'g (float[1, 2, 3, 4] x) => (y) <float[4] s = {1, 1, 2, 2}> { y = Upsample <mode = "linear"> (x, s) }',
    ),
    "resize": (
        10,
        'g (float[1, 2, 3, 4] x) => (y) <float[4] s = {1, 1, 2, 2}> { y = Resize <mode = "linear"> (x, s) }',
    ),
}


def differ(model: ir.Model, *, tolerance: float = 2e-6) -> list[str]:
    """Name the outputs that are not ONNX Runtime's on a random image."""
    draw = np.random.default_rng(0)
    feed = {value.name: draw.standard_normal(tuple(value.shape)).astype(np.float32) for value in model.graph.inputs}
    got = evaluate(model, feed)
    wrong = []
    for (name, one), other in zip(got.items(), run(model, **feed), strict=True):
        if one.shape != other.shape or not np.allclose(
            one, other, rtol=0, atol=tolerance * max(1, np.abs(other).max())
        ):
            wrong.append(f"{name}: {one.tolist()}, not {other.tolist()}")
    return wrong


@pytest.mark.parametrize("name", OLDER)
def test_older_forms(name: str) -> None:
    opset, text = OLDER[name]
    assert differ(graph(text, opset)) == []


CONVOLUTIONS = [
    "pads = [1, 0, 2, 3], strides = [2, 1]",
    "dilations = [2, 1], pads = [1, 1, 1, 1]",
    "group = 2",
    'auto_pad = "SAME_UPPER", strides = [2, 2]',
    'auto_pad = "SAME_LOWER", strides = [2, 2]',
    'auto_pad = "VALID"',
]


@pytest.mark.parametrize("form", CONVOLUTIONS)
def test_convolutions(form: str) -> None:
    groups = 2 if "group" in form else 1
    weight = f"float[6, {4 // groups}, 3, 2] w"
    assert (
        differ(graph(f"g (float[2, 4, 9, 8] x, {weight}, float[6] b) => (y) {{ y = Conv <{form}> (x, w, b) }}")) == []
    )


TRANSPOSED = [
    "strides = [3, 2], output_padding = [1, 1]",
    "pads = [1, 0, 1, 1], strides = [2, 2]",
    "group = 2, dilations = [2, 1]",
    'auto_pad = "SAME_UPPER", strides = [3, 3]',
    'auto_pad = "SAME_LOWER", strides = [3, 3]',
    "output_shape = [8, 9], strides = [3, 2]",
    "output_shape = [16, 10], strides = [3, 2]",
    'auto_pad = "SAME_UPPER", output_shape = [12, 8], strides = [3, 2]',
    "pads = [1, 1, 0, 0], output_padding = [1, 1], strides = [2, 2]",
]


@pytest.mark.parametrize("form", TRANSPOSED)
def test_transposed_convolutions(form: str) -> None:
    weight = f"float[4, {3 if 'group' in form else 6}, 3, 3] w"
    text = f"g (float[2, 4, 5, 4] x, {weight}, float[6] b) => (y) {{ y = ConvTranspose <{form}> (x, w, b) }}"
    assert differ(graph(text)) == []


WINDOWS = [
    "strides = [2, 2]",
    "strides = [2, 2], ceil_mode = 1",
    "pads = [1, 1, 1, 1], strides = [2, 3], ceil_mode = 1",
    "pads = [1, 0, 2, 1], strides = [2, 2]",
    'auto_pad = "SAME_UPPER", strides = [2, 2]',
    'auto_pad = "SAME_LOWER"',
    "dilations = [2, 1], strides = [1, 2]",
    "pads = [2, 0, 1, 1], dilations = [1, 2], strides = [2, 2], ceil_mode = 1",
]


@pytest.mark.parametrize("form", WINDOWS)
def test_pooling(form: str) -> None:
    text = "g (float[2, 3, 9, 8] x) => (y) { y = OP <kernel_shape = [3, 3], FORM> (x) }".replace("FORM", form)
    assert differ(graph(text.replace("OP", "MaxPool"))) == []
    assert differ(graph(text.replace("OP", "AveragePool"))) == []
    assert (
        differ(
            graph(
                text.replace("OP", "AveragePool").replace("FORM", form).replace("> (x)", ", count_include_pad = 1> (x)")
            )
        )
        == []
    )


MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
LENGTHS = {"up": (10, 9), "twice": (10, 12), "down": (4, 4), "to one": (1, 1), "mixed": (5, 13)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_resize_to_sizes(mode: str, lengths: str) -> None:
    height, width = LENGTHS[lengths]
    forms = ('"linear"', '"cubic"', *(f'"nearest", nearest_mode = "{near}"' for near in NEAREST))
    nodes = [
        f'y{number} = Resize <coordinate_transformation_mode = "{mode}", mode = {form}> (x, , , s)'
        for number, form in enumerate(forms)
    ]
    outputs = ", ".join(f"y{number}" for number in range(len(nodes)))
    text = f"g (float[1, 2, 5, 6] x) => ({outputs}) <int64[4] s = {{1, 2, {height}, {width}}}> {{ {' '.join(nodes)} }}"
    assert differ(graph(text)) == [], forms


NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
SCALED = [
    'mode = "linear"',
    'mode = "linear", coordinate_transformation_mode = "align_corners"',
    'mode = "cubic", coordinate_transformation_mode = "align_corners"',
    'mode = "cubic", cubic_coeff_a = -0.5, exclude_outside = 1',
    'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"',
    'mode = "linear", antialias = 1',
]


@pytest.mark.parametrize("form", SCALED)
@pytest.mark.parametrize("scales", ["0.6, 0.6", "2, 2", "1.7, 2.3"])
def test_resize_by_scales(form: str, scales: str) -> None:
    """A length that the scale does not give exactly is cut; the coordinates keep the scale."""
    text = f"g (float[1, 2, 5, 6] x) => (y) <float[4] s = {{1, 1, {scales}}}> {{ y = Resize <{form}> (x, , s) }}"
    assert differ(graph(text)) == []
