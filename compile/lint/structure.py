"""Whether an ONNX file's graphs can be run at all: every value is given once, before it is needed, and has a possible shape.

The libraries behind it take a broken graph in their own ways: an input is invented, a cycle is found minutes later.
"""

from collections.abc import Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import onnx

from bundle.limits import LIMITS

NESTING = LIMITS["onnx_nesting"].most


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
            a size is negative; graphs lie too deep in each other.
    """
    _check(_part_of(model.graph), frozenset(), 1)
    _check_sizes(model.graph)
    for function in model.functions:
        part = Part(function.name, frozenset(function.input), function.node, tuple(function.output))
        _check(part, frozenset(), 1)


def _part_of(graph: onnx.GraphProto) -> Part:
    given = [value.name for value in graph.input] + [tensor.name for tensor in graph.initializer]
    given += [tensor.values.name for tensor in graph.sparse_initializer]
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
    """Return the node that gives each value, by place."""
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


def _check_sizes(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        _refuse_negative(value.name, [size.dim_value for size in value.type.tensor_type.shape.dim])
    for tensor in graph.initializer:
        _refuse_negative(tensor.name, tensor.dims)
    for node in graph.node:
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                _refuse_negative(f"{attribute.name} of {_called(node)}", tensor.dims)
        for inner in graphs_of(node):
            _check_sizes(inner)


def _refuse_negative(name: str, sizes: Iterable[int]) -> None:
    if min(sizes, default=0) < 0:
        raise ValueError(f"{name} has a negative size: {list(sizes)}")


def _called(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or ', '.join(node.output)}"
