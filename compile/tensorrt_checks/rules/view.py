"""A graph as the rules read it: which values are constants, which are quantized, what is between two operators."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding, Severity
from compile.graphs.nodes import Array, constant, input_at, is_standard
from compile.graphs.quantizers import COMMUTING, dequantizers_behind
from compile.tensorrt_checks.operators import Table

UNVERIFIED = "not-verified"  # the rule of what TensorRT for RTX takes and nothing promises for another version


class View(NamedTuple):
    """One model, its functions inlined and its shapes inferred, and the table of a version of TensorRT.

    ``nodes`` are those of the graph and its subgraphs. ``functions`` are the names of the functions that it had,
    ``untyped`` the outputs to which the file gives no type.
    """

    model: ir.Model
    nodes: tuple[ir.Node, ...]
    opset: int
    table: Table
    functions: tuple[str, ...]
    untyped: tuple[str, ...]

    def each(self, *operators: str) -> Iterator[ir.Node]:
        """Yield the nodes of standard operators, in order."""
        for node in self.nodes:
            if node.op_type in operators and is_standard(node):
                yield node


Check: TypeAlias = Callable[[View], Iterator[Finding]]


class Rule(NamedTuple):
    """A rule: its name, its number among the eleven of docs/reference/lint.md ("" for the tables), severity, check and sentence."""

    name: str
    number: str
    severity: Severity
    check: Check
    says: str


def name_of(node: ir.Node) -> str:
    """Return a node's name; where it has none, its operator and first output."""
    return node.name or f"{node.op_type} of {next((value.name for value in node.outputs if value.name), '?')}"


def tensor_of(value: ir.Value | None) -> str:
    """Return a value's name."""
    return "" if value is None else value.name or ""


def producer(value: ir.Value | None, *operators: str) -> ir.Node | None:
    """Return the node that makes a value if it is one of these operators."""
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node) and node.op_type in operators else None


def data_scale(node: ir.Node) -> Array | None:
    """Return the scale of a Q or DQ node, None if it is computed."""
    return constant(input_at(node, 1))


def quantized(value: ir.Value | None) -> ir.Node | None:
    """Return the first DQ node a value comes from, straight or across commuting operators; None if any part is float."""
    return next(iter(dequantizers_behind(value)), None)


def beyond(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Yield (node, index) for what reads a value, seen across operators that TensorRT moves a DQ across; each once."""
    waiting, seen = [value], {value}
    while waiting:
        for reader, index in waiting.pop(0).uses():
            if is_standard(reader) and reader.op_type in COMMUTING:
                fresh = [output for output in reader.outputs if output not in seen]
                seen.update(fresh)
                waiting += fresh
            else:
                yield reader, index
