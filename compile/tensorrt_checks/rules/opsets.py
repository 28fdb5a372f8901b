"""Operators that an opset changed, and the types at the graph's border."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.tensorrt_checks import operators as tables
from compile.tensorrt_checks.rules.view import View, name_of, tensor_of

NAME = "known-opset"
MISREAD = "the parser of TensorRT {version} reads {operator} as it was before opset {opset}"
FIX = "export at opset 20 (torch.onnx.export(..., opset_version=20)), which TensorRT 10.x and 11.x both take"
BORDER = "the graph is rejected: a network has no input or output of type {kind}"


def check(view: View) -> Iterator[Finding]:
    """Look at the operators whose meaning changed, and at the graph's inputs and outputs."""
    for (operator, opset), version in tables.CHANGED.items():
        if view.opset >= opset and not view.table.has(version):
            for node in view.each(operator):
                effect = MISREAD.format(version=view.table.version, operator=operator, opset=opset)
                yield _finding(name_of(node), "", effect, FIX)
    graph = view.model.graph
    for value in (*graph.inputs, *graph.outputs):
        kind = value.dtype
        if isinstance(value.type, ir.SequenceType | ir.OptionalType):
            kind_name = type(value.type).__name__
        elif tensor_of(value) in view.untyped or (kind is not None and kind not in tables.TENSORS):
            kind_name = "none" if tensor_of(value) in view.untyped or kind is None else kind.name
        else:
            continue
        fix = "Cast outside of the graph, or export it with another type"
        yield _finding("the graph", tensor_of(value), BORDER.format(kind=kind_name), fix)


def _finding(node: str, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="error", node=node, tensor=tensor, effect=effect, fix=fix)
