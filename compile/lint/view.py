"""A graph as the rules read it: which values are constants, which are quantized, what lies between two operators."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import onnx_ir as ir

from compile.passes.base import DEQUANTIZE, QUANTIZE, Array, constant
from report.legal import Finding, Severity

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# TensorRT moves a Q or DQ across these, so that what stands beyond still runs in INT8 (guide: "commuting layers").
COMMUTING = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Relu", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
SEVERAL_DATA = frozenset({"Concat"})  # of these every input is data; of the other commuting ones only the first


class View(NamedTuple):
    """One model, its functions inlined and its shapes inferred; ``nodes`` are those of the graph and its subgraphs."""

    model: ir.Model
    nodes: tuple[ir.Node, ...]
    opset: int

    def each(self, *operators: str) -> Iterator[ir.Node]:
        """Yield the nodes of standard operators, in order."""
        for node in self.nodes:
            if node.op_type in operators and is_standard(node):
                yield node


Check: TypeAlias = Callable[[View], Iterator[Finding]]


class Rule(NamedTuple):
    """A rule: its name, its number among the eleven of docs/lint.md ("" for the tables), severity, check and sentence."""

    name: str
    number: str
    severity: Severity
    check: Check
    says: str


def is_standard(node: ir.Node) -> bool:
    """Say whether a node's operator is ONNX's own."""
    return node.domain in ("", "ai.onnx")


def name_of(node: ir.Node) -> str:
    """Return a node's name; where it has none, its operator and first output."""
    return node.name or f"{node.op_type} of {next((value.name for value in node.outputs if value.name), '?')}"


def tensor_of(value: ir.Value | None) -> str:
    """Return a value's name."""
    return "" if value is None else value.name or ""


def shape_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return a value's static shape, None if any axis is unknown."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(str(size)) for size in value.shape)


def producer(value: ir.Value | None, *operators: str) -> ir.Node | None:
    """Return the node that makes a value if it is one of these operators."""
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node) and node.op_type in operators else None


def place(node: ir.Node, index: int) -> ir.Value | None:
    """Return a node's input, None where it has none there."""
    return node.inputs[index] if index < len(node.inputs) else None


def integer(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None or attribute.is_ref() else attribute.as_int()


def readers(node: ir.Node) -> list[ir.Node]:
    """Return every node that reads an output of this one."""
    return [reader for value in node.outputs for reader, _ in value.uses()]


def is_constant(value: ir.Value | None) -> bool:
    """Say whether a value is made of constants only: an initializer, or computed from nothing else."""
    waiting, seen = [value], set[int]()
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen or current.const_value is not None:
            continue
        seen.add(id(current))
        node = current.producer()
        if node is None:
            return False
        waiting.extend(node.inputs)
    return value is not None


def data_scale(node: ir.Node) -> Array | None:
    """Return the scale of a Q or DQ node, None if it is computed."""
    return constant(place(node, 1))


def pair_of(dequantize: ir.Node) -> ir.Node | None:
    """Return the Q node whose output a DQ node reads."""
    return producer(place(dequantize, 0), QUANTIZE)


def quantized(value: ir.Value | None) -> ir.Node | None:
    """Return the DQ node a value comes from, straight or through operators that TensorRT moves a DQ across."""
    return _source(value, {})


def _source(value: ir.Value | None, known: dict[ir.Value, ir.Node | None]) -> ir.Node | None:
    """Look a value up, each once: shifts split and join a tensor again and again."""
    if value is None or value in known:
        return None if value is None else known[value]
    found, node = producer(value, DEQUANTIZE), producer(value, *COMMUTING)
    if found is None and node is not None:
        parts = node.inputs if node.op_type in SEVERAL_DATA else node.inputs[:1]
        sources = [_source(part, known) for part in parts]
        found = sources[0] if sources and all(source is not None for source in sources) else None
    known[value] = found
    return found


def beyond(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Yield (node, place) for what reads a value, seen across operators that TensorRT moves a DQ across; each once."""
    waiting, seen = [value], {value}
    while waiting:
        for reader, index in waiting.pop(0).uses():
            if is_standard(reader) and reader.op_type in COMMUTING:
                fresh = [output for output in reader.outputs if output not in seen]
                seen.update(fresh)
                waiting += fresh
            else:
                yield reader, index


def gemm_size(node: ir.Node) -> tuple[int, int, int] | None:
    """Return (M, K, N) of a weighted operator as the matrix product it is; None where a shape is unknown."""
    left, right, out = shape_of(place(node, 0)), shape_of(place(node, 1)), shape_of(node.outputs[0])
    if not left or not right or not out:
        return None
    rows = 1
    if node.op_type in ("Conv", "ConvTranspose"):
        for size in out[2:]:
            rows *= size
        depth = 1
        for size in right[1:] if node.op_type == "Conv" else (right[0], *right[2:]):
            depth *= size
        return rows, depth, out[1]
    depth = left[0] if integer(node, "transA", 0) else left[-1]
    if len(out) < 2:
        return 1, depth, out[-1]
    for size in out[:-1] if len(right) == 2 else (out[-2],):
        rows *= size
    return rows, depth, out[-1]
