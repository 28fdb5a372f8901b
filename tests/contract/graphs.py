"""Tiny ONNX graphs, each with its inputs and its answer in NumPy float64, written without looking at any runtime."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]
TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
RANDOM = np.random.default_rng(7)


@dataclass(frozen=True)
class Case:
    """A graph, what to feed it and what must come out (float64, or the exact integers)."""

    name: str
    model: onnx.ModelProto
    feed: Arrays
    expected: Arrays
    quantized: bool = False


def draw(*shape: int) -> NDArray[np.float32]:
    """Standard normal float32 values."""
    return RANDOM.standard_normal(shape).astype(np.float32)


def wide(array: Array) -> NDArray[np.float64]:
    """The same values as float64."""
    return array.astype(np.float64)


def case(
    name: str,
    nodes: list[onnx.NodeProto],
    feed: Arrays,
    expected: Arrays,
    weights: Arrays | None = None,
    quantized: bool = False,
) -> Case:
    """Build a checked model of opset 20 whose inputs and outputs are those of ``feed`` and ``expected``."""
    inputs = [helper.make_tensor_value_info(key, TYPES[str(value.dtype)], value.shape) for key, value in feed.items()]
    outputs = [
        helper.make_tensor_value_info(
            key, TensorProto.FLOAT if value.dtype == np.float64 else TYPES[str(value.dtype)], value.shape
        )
        for key, value in expected.items()
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), key) for key, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return Case(name, model, feed, expected, quantized)


node = helper.make_node


def matmul_bias() -> Case:
    x, w, b = draw(1, 7, 12), draw(12, 9), draw(9)
    nodes = [node("MatMul", ["x", "w"], ["xw"]), node("Add", ["xw", "b"], ["y"])]
    return case("matmul_bias", nodes, {"x": x}, {"y": wide(x) @ wide(w) + wide(b)}, {"w": w, "b": b})


def dynamic_matmul() -> Case:
    a, b = draw(1, 3, 5, 8), draw(1, 3, 8, 6)
    return case("dynamic_matmul", [node("MatMul", ["a", "b"], ["y"])], {"a": a, "b": b}, {"y": wide(a) @ wide(b)})


def layer_normalization() -> Case:
    x, scale, bias = 3 + 5 * draw(1, 6, 16), draw(16), draw(16)
    v = wide(x)
    y = (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5) * wide(scale) + wide(bias)
    nodes = [node("LayerNormalization", ["x", "scale", "bias"], ["y"], axis=-1, epsilon=1e-5)]
    return case("layer_normalization", nodes, {"x": x}, {"y": y}, {"scale": scale, "bias": bias})


def gelu() -> Case:
    x = 3 * draw(2, 33)
    y = wide(x) * 0.5 * (1 + np.vectorize(math.erf)(wide(x) / math.sqrt(2)))
    return case("gelu", [node("Gelu", ["x"], ["y"], approximate="none")], {"x": x}, {"y": y})


def softmax_rows(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    e = np.exp(v - v.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def softmax() -> Case:
    x = 10 * draw(1, 4, 49)
    return case("softmax", [node("Softmax", ["x"], ["y"], axis=-1)], {"x": x}, {"y": softmax_rows(wide(x))})


def convolve(x: Array, w: Array, stride: int, groups: int) -> NDArray[np.float64]:
    """Convolution with a padding of 1, from its definition: one sum over each window."""
    padded = np.pad(wide(x), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    per = w.shape[0] // groups
    parts = [
        np.einsum(
            "bchwij,ocij->bohw", windows[:, g * w.shape[1] : (g + 1) * w.shape[1]], wide(w)[g * per : (g + 1) * per]
        )
        for g in range(groups)
    ]
    return np.concatenate(parts, 1)


def convolution(name: str, stride: int, groups: int) -> Case:
    x, w, b = draw(1, 6, 9, 11), draw(12, 6 // groups, 3, 3), draw(12)
    y = convolve(x, w, stride, groups) + wide(b)[:, None, None]
    nodes = [node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[stride, stride], group=groups)]
    return case(name, nodes, {"x": x}, {"y": y}, {"w": w, "b": b})


def bilinear(size: int, factor: int) -> NDArray[np.float64]:
    """The matrix [size·factor, size] of half-pixel linear interpolation with clamped borders."""
    matrix = np.zeros((size * factor, size))
    for row in range(size * factor):
        at = min(max((row + 0.5) / factor - 0.5, 0.0), size - 1.0)
        low = int(at)
        matrix[row, low] += 1 - (at - low)
        matrix[row, min(low + 1, size - 1)] += at - low
    return matrix


def resize_concat() -> Case:
    small, large = draw(1, 3, 5, 4), draw(1, 2, 10, 8)
    grown = np.einsum("ij,bcjk,lk->bcil", bilinear(5, 2), wide(small), bilinear(4, 2))
    options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    nodes = [
        node("Resize", ["small", "", "", "sizes"], ["grown"], **options),
        node("Concat", ["grown", "large"], ["y"], axis=1),
    ]
    feed = {"small": small, "large": large}
    return case(
        "resize_concat", nodes, feed, {"y": np.concatenate([grown, wide(large)], 1)}, {"sizes": np.array([1, 3, 10, 8])}
    )


def window_partition() -> Case:
    """Swin's cyclic shift by 2 and windows of 4: [1, 8, 12, c] → [6, 16, c]."""
    x = draw(1, 8, 12, 5)
    y = np.stack(
        [np.roll(wide(x), (-2, -2), (1, 2))[0, i : i + 4, j : j + 4].reshape(16, 5) for i in (0, 4) for j in (0, 4, 8)]
    )
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, Array] = {"two": np.array([2]), "zero": np.array([0]), "end": np.array([1 << 40])}
    source = "x"
    for axis in (1, 2):
        weights[f"axis{axis}"] = np.array([axis])
        nodes += [
            node("Slice", [source, "two", "end", f"axis{axis}"], [f"tail{axis}"]),
            node("Slice", [source, "zero", "two", f"axis{axis}"], [f"head{axis}"]),
            node("Concat", [f"tail{axis}", f"head{axis}"], [f"rolled{axis}"], axis=axis),
        ]
        source = f"rolled{axis}"
    weights |= {"grid": np.array([1, 2, 4, 3, 4, 5]), "flat": np.array([6, 16, 5])}
    nodes += [
        node("Reshape", [source, "grid"], ["gridded"]),
        node("Transpose", ["gridded"], ["moved"], perm=[0, 1, 3, 2, 4, 5]),
        node("Reshape", ["moved", "flat"], ["y"]),
    ]
    return case("window_partition", nodes, {"x": x}, {"y": y}, weights)


def attention() -> Case:
    """softmax(q kᵀ/√d + bias) v, the scale applied to q before the product."""
    q, k, v, bias = draw(2, 3, 16, 8), draw(2, 3, 16, 8), draw(2, 3, 16, 8), draw(3, 16, 16)
    scale = np.float32(8**-0.5)
    y = softmax_rows((wide(q) * float(scale)) @ wide(k).swapaxes(-1, -2) + wide(bias)) @ wide(v)
    nodes = [
        node("Mul", ["q", "scale"], ["scaled"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["scaled", "kt"], ["scores"]),
        node("Add", ["scores", "bias"], ["biased"]),
        node("Softmax", ["biased"], ["weights"], axis=-1),
        node("MatMul", ["weights", "v"], ["y"]),
    ]
    return case("attention", nodes, {"q": q, "k": k, "v": v}, {"y": y}, {"bias": bias, "scale": np.array(scale)})


def dynamic_gate() -> Case:
    """A gate per image that scales hidden units before a constant matrix: softmax(GAP(n) V) ⊙ u, times M."""
    n, u, gate, matrix = draw(1, 5, 6, 8), draw(1, 5, 6, 4), draw(8, 4), draw(4, 7)
    g = softmax_rows(wide(n).mean((1, 2)) @ wide(gate))
    nodes = [
        node("ReduceMean", ["n", "axes"], ["pooled"], keepdims=1),
        node("MatMul", ["pooled", "gate"], ["logits"]),
        node("Softmax", ["logits"], ["g"], axis=-1),
        node("Mul", ["u", "g"], ["gated"]),
        node("MatMul", ["gated", "matrix"], ["y"]),
    ]
    weights = {"gate": gate, "matrix": matrix, "axes": np.array([1, 2])}
    return case("dynamic_gate", nodes, {"n": n, "u": u}, {"y": (wide(u) * g[:, None, None]) @ wide(matrix)}, weights)


def camera() -> Case:
    """uint8 frames in, normalised NCHW and a uint8 label map out, as the edge graphs do."""
    frame = RANDOM.integers(0, 256, (1, 6, 5, 3), dtype=np.uint8)
    scale, shift = draw(3), draw(3)
    image = (wide(frame) * wide(scale) - wide(shift)).transpose(0, 3, 1, 2)
    nodes = [
        node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        node("Mul", ["float", "scale"], ["scaled"]),
        node("Sub", ["scaled", "shift"], ["shifted"]),
        node("Transpose", ["shifted"], ["image"], perm=[0, 3, 1, 2]),
        node("ArgMax", ["image"], ["index"], axis=1, keepdims=0),
        node("Cast", ["index"], ["labels"], to=TensorProto.UINT8),
    ]
    expected = {"image": image, "labels": image.argmax(1).astype(np.uint8)}
    return case("camera", nodes, {"frame": frame}, expected, {"scale": scale, "shift": shift})


def shared_outputs() -> Case:
    """One value under two output names, and an input passed through: names must survive."""
    x = draw(1, 4)
    nodes = [node("Relu", ["x"], ["first"]), node("Identity", ["first"], ["second"]), node("Identity", ["x"], ["same"])]
    relu = np.maximum(wide(x), 0)
    return case("shared_outputs", nodes, {"x": x}, {"second": relu, "first": relu, "same": wide(x)})


def quantize(v: Array, scale: float) -> NDArray[np.float64]:
    """QuantizeLinear to int8 with zero-point 0 as ONNX defines it (round half to even, saturate), then DequantizeLinear."""
    return np.asarray(np.clip(np.rint(wide(v) / scale), -128, 127) * scale)


def quantized_linear(name: str, x: Array, w: Array, x_scale: float) -> Case:
    """DQ(Q(x)) · DQ(int8 w, one scale per output channel), scales powers of two so that float32 rounds nothing."""
    w_scale = 2.0 ** np.ceil(np.log2(np.abs(w).max(0) / 127))
    stored = np.clip(np.rint(w / w_scale), -127, 127).astype(np.int8)
    nodes = [
        node("QuantizeLinear", ["x", "x_scale", "zero"], ["x_int8"]),
        node("DequantizeLinear", ["x_int8", "x_scale", "zero"], ["x_float"]),
        node("DequantizeLinear", ["w", "w_scale", "zeros"], ["w_float"], axis=1),
        node("MatMul", ["x_float", "w_float"], ["y"]),
    ]
    weights = {
        "x_scale": np.float32(x_scale),
        "zero": np.int8(0),
        "w": stored,
        "w_scale": w_scale.astype(np.float32),
        "zeros": np.zeros(len(w_scale), np.int8),
    }
    y = quantize(x, x_scale) @ (wide(stored) * w_scale)
    return case(
        name, nodes, {"x": x}, {"y": y}, {key: np.asarray(value) for key, value in weights.items()}, quantized=True
    )


def q_dq() -> Case:
    return quantized_linear("q_dq", draw(1, 32, 64), draw(64, 48), 2.0**-5)


def q_dq_extreme() -> Case:
    """Every product at the end of its range: a 16-bit sum of two of them overflows."""
    return quantized_linear(
        "q_dq_extreme", np.full((1, 32, 64), 4.0, np.float32), np.full((64, 48), 1.0, np.float32), 2.0**-5
    )


BUILDERS: tuple[Callable[[], Case], ...] = (
    matmul_bias,
    dynamic_matmul,
    layer_normalization,
    gelu,
    softmax,
    lambda: convolution("conv", 1, 1),
    lambda: convolution("conv_stride_2", 2, 1),
    lambda: convolution("conv_depthwise", 1, 6),
    resize_concat,
    window_partition,
    attention,
    dynamic_gate,
    camera,
    shared_outputs,
    q_dq,
    q_dq_extreme,
)
CASES: dict[str, Case] = {built.name: built for built in (build() for build in BUILDERS)}
