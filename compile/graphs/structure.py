"""Whether an ONNX file's graphs can be run at all: every value is given once, before it is needed, and has a possible shape.

The libraries behind it take a broken graph in their own ways: an input is invented, a cycle is found minutes later.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import onnx

from bundle.base.limits import LIMITS

NESTING, NODES = LIMITS["onnx_nesting"].most, LIMITS["onnx_nodes"].most
STANDARD = ("", "ai.onnx")
UNKNOWN_SIZE = -1
NUMBERS = ("offset", "length")  # of external data; onnx-ir speaks of something else where one is no number


class Part(NamedTuple):
    """A graph or a function: what is given to it, its nodes, what it answers."""

    name: str
    given: frozenset[str]
    nodes: Sequence[onnx.NodeProto]
    outputs: tuple[str, ...]


def check_structure(model: onnx.ModelProto) -> None:
    """Check every graph of a model, those in nodes and functions too.

    Raises:
        ValueError: a node reads what nothing gives, or what it gives itself; a value is given twice; an output is not given;
            a size is negative; graphs lie too deep in each other; an operator set is not named; functions call each other in
            a circle, or stand for too many nodes.
    """
    _check_opsets(_nodes_of(model.graph), model.opset_import)
    for function in model.functions:
        _check_opsets(_below(function.node), function.opset_import)
    _check_calls(model)
    _check(_part_of(model.graph), frozenset(), 1)
    _check_sizes(model.graph)
    for function in model.functions:
        part = Part(function.name, frozenset(function.input), function.node, tuple(function.output))
        _check(part, frozenset(), 1)


def forget_unknown_sizes(graph: onnx.GraphProto) -> None:
    """Take the sizes of −1 off inputs, outputs and values: some exporters write an unknown size so."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_value == UNKNOWN_SIZE:
                size.ClearField("dim_value")
    for node in graph.node:
        for inner in graphs_of(node):
            forget_unknown_sizes(inner)


def _part_of(graph: onnx.GraphProto) -> Part:
    stored = [tensor.name for tensor in graph.initializer]
    stored += [tensor.values.name for tensor in graph.sparse_initializer]
    given = [value.name for value in graph.input]
    for kind, names in (("initializer", stored), ("input", given)):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"{kind} {twice[0]!r} of graph {graph.name!r} is given twice")
    given += stored
    return Part(graph.name, frozenset(given), graph.node, tuple(value.name for value in graph.output))


def _check(part: Part, outer: frozenset[str], depth: int) -> frozenset[str]:
    """Check one graph within the values of the graphs about it; return those that it reads of them."""
    if depth > NESTING:
        raise ValueError(f"graphs lie more than {NESTING} deep in each other")
    given = _given_by(part)
    known = outer | part.given | given.keys()
    needs = []
    for index, node in enumerate(part.nodes):
        inner = [_check(_part_of(graph), known, depth + 1) for graph in graphs_of(node)]
        needs.append(frozenset(node.input).union(*inner) - {""})
        if missing := sorted(needs[index] - known):
            raise ValueError(f"{_called(node)} reads {missing[0]!r}, which nothing in graph {part.name!r} gives")
    _refuse_cycle(part, given, needs)
    if missing := [name for name in part.outputs if name not in known]:
        raise ValueError(f"output {missing[0]!r} of graph {part.name!r} is given by no node")
    return frozenset().union(*needs, part.outputs) - part.given - given.keys()


def _given_by(part: Part) -> dict[str, int]:
    """Return the node that gives each value, by position."""
    given: dict[str, int] = {}
    for index, node in enumerate(part.nodes):
        for name in filter(None, node.output):
            if name in given or name in part.given:
                raise ValueError(f"{_called(node)} gives {name!r}, which is given already")
            given[name] = index
    return given


def _refuse_cycle(part: Part, given: dict[str, int], needs: Sequence[frozenset[str]]) -> None:
    sorter = TopologicalSorter(
        {index: [given[name] for name in names if name in given] for index, names in enumerate(needs)}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        names = " → ".join(_called(part.nodes[index]) for index in error.args[1][:8])
        raise ValueError(f"nodes need each other: {names}") from None


def graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs in a node's attributes."""
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.HasField("g") else []
        yield from attribute.graphs


def _nodes_of(graph: onnx.GraphProto, depth: int = 1) -> Iterator[onnx.NodeProto]:
    yield from _below(graph.node, depth)


def _below(nodes: Iterable[onnx.NodeProto], depth: int = 1) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those of the graphs in them."""
    if depth > NESTING:
        raise ValueError(f"graphs lie more than {NESTING} deep in each other")
    for node in nodes:
        yield node
        for graph in graphs_of(node):
            yield from _below(graph.node, depth + 1)


def _check_opsets(nodes: Iterable[onnx.NodeProto], imports: Iterable[onnx.OperatorSetIdProto]) -> None:
    named = {"" if one.domain in STANDARD else one.domain for one in imports}
    for node in nodes:
        if ("" if node.domain in STANDARD else node.domain) not in named:
            raise ValueError(f"{_called(node)} is of domain {node.domain!r}, and no opset of it is named")


def _check_calls(model: onnx.ModelProto) -> None:
    """Count the nodes with each function in the place of its calls, which readers put there."""
    bodies = {
        (function.domain, function.name, function.overload): list(_below(function.node)) for function in model.functions
    }
    calls = {name: {_callee(node) for node in body} & bodies.keys() for name, body in bodies.items()}
    counts: dict[tuple[str, str, str], int] = {}
    try:
        order = tuple(TopologicalSorter(calls).static_order())
    except CycleError as error:
        names = " → ".join(name for _, name, _ in error.args[1][:8])
        raise ValueError(f"functions call each other: {names}") from None
    for name in order:
        counts[name] = _count(bodies[name], counts)
    if (nodes := _count(_nodes_of(model.graph), counts)) > NODES:
        raise ValueError(f"with each function in the place of its calls there are {nodes} nodes, more than {NODES}")


def _callee(node: onnx.NodeProto) -> tuple[str, str, str]:
    return node.domain, node.op_type, node.overload


def _count(nodes: Iterable[onnx.NodeProto], counts: Mapping[tuple[str, str, str], int]) -> int:
    return sum(counts.get(_callee(node), 1) for node in nodes)


def _check_sizes(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
        _refuse_negative(value.name, [size for size in sizes if size != UNKNOWN_SIZE])
    for tensor in graph.initializer:
        _refuse_negative(tensor.name, tensor.dims)
        _check_place(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                _refuse_negative(f"{attribute.name} of {_called(node)}", tensor.dims)
                _check_place(tensor)
        for inner in graphs_of(node):
            _check_sizes(inner)


def _check_place(tensor: onnx.TensorProto) -> None:
    """Refuse external data whose position in its file is no number."""
    for entry in tensor.external_data:
        if entry.key in NUMBERS and not (entry.value.isascii() and entry.value.isdecimal() and len(entry.value) < 20):
            raise ValueError(f"the {entry.key} of external data of {tensor.name} is no number: {entry.value[:40]!r}")


def _refuse_negative(name: str, sizes: Iterable[int]) -> None:
    if min(sizes, default=0) < 0:
        raise ValueError(f"{name} has a negative size: {list(sizes)}")


def _called(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or ', '.join(node.output)}"
