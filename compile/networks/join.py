"""Graphs of one opset, each before the other, as one graph."""

from collections.abc import Mapping

import onnx_ir as ir

from compile.stage.graph_info import INPUT


def join(before: ir.Model, graph: ir.Model, after: Mapping[str, ir.Model]) -> ir.Model:
    """Return ``graph`` behind ``before`` and, for each of its outputs, before the graph of that name in ``after``.

    Each of the others has one input and one output, and names its own nodes and values.
    """
    for value in (*graph.graph.inputs, *graph.graph.outputs):
        value.name = f"network/{value.name}"
    taken, given = _moved(before, graph, "before", first=True)
    [image] = graph.graph.inputs
    ir.convenience.replace_all_uses_with(image, given)
    graph.graph.inputs[:] = [taken]
    outputs = list(graph.graph.outputs)
    for raw, (name, part) in zip(outputs, after.items(), strict=True):
        taken_raw, answer = _moved(part, graph, f"after/{name}", first=False)
        ir.convenience.replace_all_uses_with(taken_raw, raw)
        graph.graph.outputs[outputs.index(raw)] = answer
        answer.name = name
    taken.name = INPUT
    return graph


def _moved(part: ir.Model, graph: ir.Model, prefix: str, *, first: bool) -> tuple[ir.Value, ir.Value]:
    """Move the nodes of a part into the graph, at its start or its end; return the part's input and output."""
    [taken], [given], nodes = part.graph.inputs, part.graph.outputs, list(part.graph)
    for value in part.graph.initializers.values():
        graph.graph.register_initializer(ir.Value(name=f"{prefix}/{value.name}", const_value=value.const_value))
        ir.convenience.replace_all_uses_with(value, graph.graph.initializers[f"{prefix}/{value.name}"])
    part.graph.inputs.clear()
    part.graph.outputs.clear()
    part.graph.remove(nodes)
    for node in nodes:
        node.name = f"{prefix}/{node.name}"
        for value in node.outputs:
            value.name = f"{prefix}/{value.name}"
    start = graph.graph[0]
    if first:
        graph.graph.insert_before(start, nodes)
    else:
        graph.graph.extend(nodes)
    return taken, given
