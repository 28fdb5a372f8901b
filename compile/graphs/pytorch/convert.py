"""Turn an ONNX graph of static shapes into a ``torch.fx.GraphModule``: one call for each node that needs an input.

What is computed from constants alone is computed here, once: shapes, indices, the sizes of a resize. Shapes are found by
running every call on meta tensors, which have no values. A float initializer becomes a parameter of the module, any other
constant a buffer, under the name it has in the graph.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from bundle.base.errors import GraphError
from compile.graphs.nodes import is_standard, label
from compile.graphs.pytorch.base import Operator, Result
from compile.graphs.pytorch.constants import Static, Types, constant_node, python_value, torch_tensor
from compile.graphs.pytorch.table import OPERATORS, find_operator

FAULTS = (ArithmeticError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
Attribute: TypeAlias = Static | Tensor | torch.dtype


class Call(NamedTuple):
    """How one node is called: what each input is, a Python number where the operator wants one, and the attributes."""

    row: Operator
    inputs: tuple[ir.Value | Static | None, ...]
    attributes: dict[str, Attribute]


def to_module(model: ir.Model, examples: Mapping[str, Tensor], outputs: Sequence[str], types: Types) -> fx.GraphModule:
    """Convert what the values ``outputs`` need of a graph; the module maps its inputs in order to a tuple.

    ``examples`` names the module's inputs, any values of the graph: of each tensor only the shape and the type count.

    Raises:
        GraphError: the graph has no such value, or a node cannot be computed; the message says which one and why.
    """
    values = values_of(model.graph)
    for name in (*examples, *outputs):
        if name not in values:
            raise GraphError(
                f"the graph has no value {name!r}",
                expected="a graph input, an initializer or a node's output",
                got=name,
                where=f"graph {model.graph.name!r}",
                fix="name another value",
            )
    conversion = _Conversion(model, types)
    for name, example in examples.items():
        conversion.add_input(values[name], example)
    wanted = [values[name] for name in outputs]
    with torch.no_grad():
        for node in needed(model.graph, wanted, {values[name] for name in examples}):
            conversion.add_node(node)
        return conversion.finish(wanted)


def values_of(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return every value of a graph by its name."""
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    return {value.name: value for value in values if value.name}


def needed(graph: ir.Graph, outputs: Sequence[ir.Value], given: set[ir.Value]) -> list[ir.Node]:
    """Return the nodes that compute ``outputs`` from the values ``given``, in the graph's order."""
    found, waiting = set[ir.Node](), list(outputs)
    while waiting:
        value = waiting.pop()
        node = None if value in given else value.producer()
        if node is not None and node not in found:
            found.add(node)
            waiting += [source for source in node.inputs if source is not None]
    return [node for node in graph if node in found]


class _Conversion:
    """The module as far as it is made."""

    def __init__(self, model: ir.Model, types: Types) -> None:
        self.opset = model.opset_imports.get("", 0) or model.opset_imports.get("ai.onnx", 0)
        self.types = types
        self.graph = fx.Graph()
        self.nodes: dict[ir.Value, fx.Node] = {}
        self.known: dict[ir.Value, Tensor] = {}  # what needs no input, with its values
        self.shaped: dict[ir.Value, Tensor] = {}  # what needs one, on the meta device
        self.root: dict[str, Tensor] = {}
        self.taken: set[str] = set()  # paths of the module's attributes, and of the modules above them

    def add_input(self, value: ir.Value, example: Tensor) -> None:
        """Make a value an input of the module."""
        self.shaped[value] = example.to("meta")
        self.nodes[value] = self.graph.placeholder(f"input_{len(self.nodes)}")

    def add_node(self, node: ir.Node) -> None:
        """Compute a node where everything it reads is known, else add a call of it."""
        try:
            if node.op_type == "Constant" and is_standard(node):
                self.known[node.outputs[0]] = constant_node(node, self.types)
                return
            call = self._call(node)
            results = self._run(call)
            self._keep(node, call, results)
        except FAULTS as error:
            raise _refusal(node, f"{type(error).__name__}: {error}") from error

    def finish(self, outputs: Sequence[ir.Value]) -> fx.GraphModule:
        """Return the module, with ``outputs`` as a tuple."""
        self.graph.output(tuple(self._node(value) for value in outputs))
        return fx.GraphModule(self.root, self.graph, "OnnxGraph")

    def _call(self, node: ir.Node) -> Call:
        row = find_operator(node.op_type, self.opset) if is_standard(node) else None
        if row is None:
            raise _unknown(node, self.opset)
        inputs: list[ir.Value | Static | None] = list(node.inputs)
        while inputs and inputs[-1] is None:
            inputs.pop()
        for place in row.static:
            if place < len(inputs) and (value := node.inputs[place]) is not None:
                inputs[place] = self._static(value)
        attributes = {name: python_value(attribute, self.types) for name, attribute in node.attributes.items()}
        taken = row.attributes.split()
        foreign = sorted(set(attributes) - {*taken, *row.ignored.split()})
        if foreign:
            raise ValueError(f"attributes that are not known: {', '.join(foreign)}")
        call = Call(row, tuple(inputs), {name: attributes[name] for name in taken if name in attributes})
        if row.counts:
            call.attributes["outputs"] = len(node.outputs)
        return call

    def _static(self, value: ir.Value) -> Static:
        if value in self.shaped:
            raise ValueError(f"input {value.name!r} is computed from the graph's inputs; it has to be a constant")
        found: Static = self._known(value).tolist()
        return found

    def _known(self, value: ir.Value) -> Tensor:
        """Return a value that needs no input; constants are read when they are first used.

        Raises:
            GraphError: it is an input of the graph that was not given.
        """
        if value not in self.known:
            if value.const_value is None:
                raise _missing(value)
            self.known[value] = torch_tensor(value.const_value, self.types)
        return self.known[value]

    def _run(self, call: Call) -> Result:
        """Run a call: on values where all are known, else on meta tensors."""
        read = [value for value in call.inputs if isinstance(value, ir.Value)]
        device = "meta" if any(value in self.shaped for value in read) else "cpu"
        tensors = {value: self.shaped[value] if value in self.shaped else self._known(value) for value in read}
        arguments = [tensors[value].to(device) if isinstance(value, ir.Value) else value for value in call.inputs]
        return call.row.function(*arguments, **call.attributes)

    def _keep(self, node: ir.Node, call: Call, results: Result) -> None:
        """Keep what a node gives: values, or a call and the shapes of its results."""
        found, made = [results] if isinstance(results, Tensor) else list(results), None
        if any(value.name for value in node.outputs[len(found) :]):
            raise ValueError(f"only the first {len(found)} of its outputs can be computed")
        for place, (value, result) in enumerate(zip(node.outputs, found, strict=False)):
            if not result.is_meta:
                stray = result.is_floating_point() and result.dtype not in self.types.values()
                self.known[value] = result.to(self.types[ir.DataType.FLOAT]) if stray else result
                continue
            made = made or self._add_call(node, call)
            self.shaped[value] = result
            single = isinstance(results, Tensor)
            self.nodes[value] = made if single else self.graph.call_function(operator.getitem, (made, place))

    def _add_call(self, node: ir.Node, call: Call) -> fx.Node:
        arguments = tuple(self._node(value) if isinstance(value, ir.Value) else value for value in call.inputs)
        name = node.outputs[0].name or node.op_type
        return self.graph.create_node("call_function", call.row.function, arguments, call.attributes, name)  # type: ignore[arg-type]

    def _node(self, value: ir.Value) -> fx.Node:
        """Return a value's node; a constant becomes a parameter or a buffer of the module."""
        if value not in self.nodes:
            tensor = self._known(value)
            name = self._free_name(value.name or "constant")
            held = value.const_value is not None and tensor.is_floating_point()
            self.root[name] = nn.Parameter(tensor, requires_grad=False) if held else tensor
            self.nodes[value] = self.graph.get_attr(name)
        return self.nodes[value]

    def _free_name(self, name: str) -> str:
        """Return the path of a new attribute: the value's name, changed only where a module cannot have it."""
        parts = [part + "_" if hasattr(fx.GraphModule, part) else part for part in name.split(".") if part]
        path = ".".join(parts) or "constant"
        while path in self.taken or any(above in self.root for above in _above(path)):
            path = path.replace(".", "_") + "_"
        self.taken.update(_above(path), [path])
        return path


def _above(path: str) -> list[str]:
    """Return the paths of the modules that an attribute's path goes through."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _unknown(node: ir.Node, opset: int) -> GraphError:
    operator_name = node.op_type if is_standard(node) else f"{node.domain}::{node.op_type}"
    return GraphError(
        f"operator {operator_name} of opset {opset} cannot be computed here",
        expected=", ".join(sorted(OPERATORS)),
        got=operator_name,
        where=f"node {label(node)!r}",
        fix="express it in operators that can be",
    )


def _refusal(node: ir.Node, why: str) -> GraphError:
    return GraphError(
        f"{node.op_type} cannot be computed here",
        expected="a form of the operator that is known, on inputs that fit",
        got=why,
        where=f"node {label(node)!r}",
        fix="express it in another way, or fix its inputs' shapes",
    )


def _missing(value: ir.Value) -> GraphError:
    return GraphError(
        f"value {value.name!r} is needed and not given",
        expected="every input that the outputs depend on",
        got=f"none for {value.name!r}",
        where="the inputs given",
        fix="give it too",
    )
