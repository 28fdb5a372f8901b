"""The two ends of a graph: what comes before its first weighted operator, and what comes after its last."""

import onnx_ir as ir

from compile.graphs.insert import MADE_BY
from compile.graphs.nodes import WEIGHTED

FIXED = frozenset({"pool_as_product", "resize_as_products"})  # passes whose products have weights that were not learned
HEAD = "before the first weighted operator: arithmetic on pixels"


TAIL = "after the last weighted operator: it only gives the answer"


def end_nodes(graph: ir.Graph) -> dict[ir.Node, str]:
    """Return, with the reason, the nodes that no weighted operator comes before, and those that none comes after."""
    nodes = list(graph)
    behind: set[ir.Node] = set()
    for node, inputs in live_inputs(graph).items():
        producers = [producer for value in inputs if (producer := value.producer()) is not None]
        if any(is_weighted(producer) or producer in behind for producer in producers):
            behind.add(node)
    ahead: set[ir.Node] = set()
    for node in reversed(nodes):
        consumers = [consumer for value in node.outputs for consumer, _ in value.uses()]
        if any(is_weighted(consumer) or consumer in ahead for consumer in consumers):
            ahead.add(node)
    rest = [node for node in nodes if not is_weighted(node)]
    found = {node: TAIL for node in rest if node not in ahead}
    return found | {node: HEAD for node in rest if node not in behind}


def live_inputs(graph: ir.Graph) -> dict[ir.Node, list[ir.Value]]:
    """Return each node's inputs that depend on the image."""
    live, found = set(graph.inputs), dict[ir.Node, list[ir.Value]]()
    for node in graph:
        found[node] = [value for value in node.inputs if value is not None and value in live]
        if found[node]:
            live.update(node.outputs)
    return found


def is_weighted(node: ir.Node) -> bool:
    """Say whether a node multiplies by learned weights; the products of a rewritten resize or mean do not, and stay float."""
    return node.op_type in WEIGHTED and node.metadata_props.get(MADE_BY) not in FIXED
