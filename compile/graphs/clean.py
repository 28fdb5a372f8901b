"""Clean-up of a freshly exported graph: dead parts removed, metadata stripped, nodes named after their module.

The exporter leaves absolute local paths in ``stack_trace`` metadata, so everything but the name scopes goes. A node is
renamed ``<module path>/<operator>``; later stages find the gate path, and a report names a layer, by these names.
"""

import ast
from collections import Counter

import onnx_ir as ir
from onnx_ir.passes import PassManager
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
    TopologicalSortPass,
)

SCOPES = "pkg.torch.onnx.name_scopes"
SCOPE = "scope"


def clean_export(model: ir.Model) -> ir.Model:
    """Return the exported model without dead nodes, local paths or foreign metadata, its nodes named by module."""
    passes = PassManager(
        [
            RemoveUnusedNodesPass(),
            CommonSubexpressionEliminationPass(),
            RemoveUnusedFunctionsPass(),
            RemoveUnusedOpsetsPass(),
            TopologicalSortPass(),
        ]
    )
    cleaned = passes(model).model
    _name_nodes(cleaned.graph)
    strip_metadata(cleaned)
    return cleaned


def _name_nodes(graph: ir.Graph) -> None:
    outputs = {value.name for value in graph.outputs}
    counts: Counter[str] = Counter()
    for node in graph:
        base = f"{_scope(node)}/{node.op_type}"
        node.name = f"{base}_{counts[base]}" if counts[base] else base
        counts[base] += 1
        for index, value in enumerate(node.outputs):
            if value.name not in outputs:
                value.name = node.name if index == 0 else f"{node.name}:{index}"


def _scope(node: ir.Node) -> str:
    """Return the path of the module a node came from; the exporter's last scope is the operator itself."""
    text = node.metadata_props.get(SCOPES)
    if text is None:
        return "graph"
    modules = [name.removeprefix("model.") for name in ast.literal_eval(text)[:-1] if name not in ("", "model")]
    return str(modules[-1]) if modules else "graph"


def strip_metadata(model: ir.Model) -> None:
    """Take everything from a model that is no part of what it computes; a node keeps its scope, which its name begins with."""
    for node in model.graph:
        scope = node.name.rpartition("/")[0] if node.name else ""
        node.metadata_props.clear()
        node.metadata_props[SCOPE] = scope
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    model.graph.metadata_props.clear()
    model.metadata_props.clear()
    model.graph.name, model.graph.doc_string, model.doc_string = "model", None, None
    model.producer_name, model.producer_version = "", ""
