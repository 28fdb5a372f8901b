"""The limit of an IR on this runtime: its matrix products, convolutions and attentions alone, on the same shapes.

Each of them is cut out of the graph: an operand that something else computes becomes an input, before its quantizer where it
has one; constants stay. Attention is what OpenVINO's conversion makes one operator of, softmax(Q·Kᵀ …)·V. What is counted is
the time of their own kernels by OpenVINO's counters, never the copies and conversions around them, which the cutting made.
"""

from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bundle.base.errors import GraphError
from targets.intel.graph import read
from targets.intel.runtime import DTYPES, import_openvino, shared_core
from targets.intel.session import HINT

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from openvino import CompiledModel, Model, Node

ATTENTION = "ScaledDotProductAttention"
PRODUCTS = frozenset(
    {"MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", ATTENTION}
)
KERNELS = frozenset({"FullyConnected", "MatMul", "Convolution", "Deconvolution"})
MOVERS = frozenset({"Reorder", "Convert", "Reshape", "Transpose", "Input", "Output", "FakeQuantize"})
QUANTIZER = "FakeQuantize"
MOVING = frozenset(
    {
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Concat",
        "Split",
        "VariadicSplit",
        "Slice",
        "StridedSlice",
        "Gather",
    }
)
ORIGINALS = "originalLayersNames"


class Isolated(NamedTuple):
    """The cut-out products of a graph as one model, how many there are, and the names of the attentions among them."""

    model: "Model"
    products: int
    attentions: frozenset[str]


class _Graph(NamedTuple):
    """The operators of a model by their unique names, and the names of those that are constant."""

    operators: "dict[str, Node]"
    constant: set[str]


def isolate(path: Path) -> Isolated:
    """Cut the products, convolutions and attentions out of an IR.

    Raises:
        ArtifactError: a file is missing or cannot be read.
        GraphError: the graph has none of them.
        TargetUnavailable: OpenVINO is not installed.
    """
    openvino, model = import_openvino(), read(path)
    graph = _read_graph(model)
    kept = [
        one for name, one in graph.operators.items() if one.get_type_name() in PRODUCTS and name not in graph.constant
    ]
    if not kept:
        raise GraphError(
            "this graph has no product to measure",
            expected="a matrix product or a convolution",
            got="none",
            where=str(path),
            fix="measure a graph that has one",
        )
    inputs: list[Node] = []
    for one in kept:
        _cut(one, graph, inputs)
    attentions = frozenset(one.get_friendly_name() for one in kept if one.get_type_name() == ATTENTION)
    results = [openvino.opset13.result(one.output(0)) for one in kept]
    return Isolated(openvino.Model(results, inputs, "products"), len(kept), attentions)


def int8_share(path: Path) -> float:
    """Return the share of an IR's multiply-accumulates, attentions left out, whose computed operands are all quantized.

    Raises:
        ArtifactError: a file is missing or cannot be read.
        TargetUnavailable: OpenVINO is not installed.
    """
    graph, int8, total = _read_graph(read(path)), 0, 0
    for name, node in graph.operators.items():
        if node.get_type_name() in PRODUCTS - {ATTENTION} and name not in graph.constant:
            macs = _macs(node)
            computed = [source for source in _sources(node)[:2] if source.get_name() not in graph.constant]
            total += macs
            int8 += macs if all(_quantizer(source, graph) is not None for source in computed) else 0
    return int8 / max(total, 1)


def _macs(node: "Node") -> int:
    """Return the multiply-accumulates of a product: elements written times what each sums over."""
    read, weight, written = (
        [int(size) for size in port.get_shape()] for port in (node.input(0), node.input(1), node.output(0))
    )
    kind = node.get_type_name()
    if kind == "MatMul":
        return prod(written) * read[-2 if node.get_attributes()["transpose_a"] and len(read) > 1 else -1]
    own = prod(weight[2 if kind.startswith("Group") else 1 :])
    return own * prod(read if kind.endswith("BackpropData") else written)


def products_timer(path: Path, hint: str, *, threads: int) -> Callable[[], float]:
    """Return what runs an IR's products once and says what their kernels took, in milliseconds; raises as ``isolate``."""
    alone = isolate(path)
    properties = {HINT: hint, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "PERF_COUNT": True}
    compiled = shared_core().compile_model(alone.model, "CPU", properties)
    counted, request = counted_kernels(compiled, alone.attentions), compiled.create_infer_request()
    feed = _random_feed(compiled)

    def spent_ms() -> float:
        request.start_async(feed, share_inputs=True)
        request.wait()  # InferRequest.infer drops the errors of a graph that runs
        spent_s: float = sum(
            one.real_time.total_seconds() for one in request.profiling_info if one.node_name in counted
        )
        return spent_s * 1e3

    return spent_ms


def counted_kernels(compiled: "CompiledModel", attentions: frozenset[str]) -> set[str]:
    """Return the names of the kernels that are products, or compute a part of one of these attentions."""
    found = set[str]()
    for one in compiled.get_runtime_model().get_ops():
        info = one.get_rt_info()
        kind, originals = str(info["layerType"].value), set(str(info[ORIGINALS].value).split(","))
        if kind in KERNELS or (kind not in MOVERS and not attentions.isdisjoint(originals)):
            found.add(one.get_friendly_name())
    return found


def _read_graph(model: "Model") -> _Graph:
    graph = _Graph({one.get_name(): one for one in model.get_ordered_ops()}, set())
    for name, one in graph.operators.items():
        sources = _names(_sources(one))
        if one.get_type_name() == "Constant" or (sources and graph.constant.issuperset(sources)):
            graph.constant.add(name)
    return graph


def _sources(node: "Node") -> "list[Node]":
    return [node.input_value(index).get_node() for index in range(node.get_input_size())]


def _names(nodes: "Iterable[Node]") -> list[str]:
    return [node.get_name() for node in nodes]


def _cut(node: "Node", graph: _Graph, inputs: "list[Node]") -> None:
    """Put an input in the place of each operand that is not constant, with the quantizer that it has in the graph."""
    for index, source in enumerate(_sources(node)):
        if source.get_name() in graph.constant:
            continue
        value = node.input_value(index)
        inputs.append(import_openvino().opset13.parameter(value.get_shape(), value.get_element_type()))
        quantizer = _quantizer(source, graph)
        operand = inputs[-1] if quantizer is None else _quantized(inputs[-1], quantizer)
        node.input(index).replace_source_output(operand.output(0))


def _quantizer(node: "Node", graph: _Graph) -> "Node | None":
    """Return the quantizer whose answer a node is, moved or not: NNCF puts it before what only moves numbers."""
    while node.get_type_name() in MOVING and (
        inputs := [s for s in _sources(node) if s.get_name() not in graph.constant]
    ):
        node = inputs[0]  # those of a Concat share their range
    return node if node.get_type_name() == QUANTIZER else None


def _quantized(operand: "Node", quantizer: "Node") -> "Node":
    """Return the operand after a copy of a quantizer."""
    ends, levels = [quantizer.input_value(index) for index in range(1, 5)], quantizer.get_attributes()["levels"]
    found: Node = import_openvino().opset13.fake_quantize(operand, *ends, levels)
    return found


def _random_feed(compiled: "CompiledModel") -> "dict[int, NDArray[np.generic]]":
    generator = np.random.default_rng(0)
    return {
        index: generator.standard_normal(tuple(port.get_shape())).astype(DTYPES[port.get_element_type().to_string()])
        for index, port in enumerate(compiled.inputs)
    }
