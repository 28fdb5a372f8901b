"""The operator and type table: what TensorRT 10.3's parser knows, with the types and restrictions of each operator."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import input_at, integer, is_constant, is_standard
from compile.tensorrt_checks import operators_10_3 as table
from compile.tensorrt_checks.rules.view import View, name_of, tensor_of

NAME = "known-operator"
NARROWED = "narrowed-type"
UNKNOWN = f"the parser of TensorRT {table.VERSION} has no importer for {{operator}}: the graph is rejected"
CUSTOM = "TensorRT looks for a plugin called {operator} (domain {domain}); without one the graph is rejected"
FIX_UNKNOWN = "write it with operators of the table (compile/tensorrt_checks/operators_10_3.py), or bring a plugin"
STORED = "the engine is not built: an {kind} tensor may feed a DequantizeLinear only, and here it feeds {operator}"
FIX_STORED = "write the conversion as one DequantizeLinear with the scale, not as Cast and Mul or the like"
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")  # their types are the business of rules 1, 3 and 9


def check(view: View) -> Iterator[Finding]:
    """Look up every node."""
    for node in view.nodes:
        if not is_standard(node):
            if table.PLUGIN_MARK not in node.op_type:
                effect = CUSTOM.format(operator=node.op_type, domain=node.domain)
                yield _finding(node, "", effect, FIX_UNKNOWN)
        elif node.op_type not in table.OPERATORS:
            yield _finding(node, "", UNKNOWN.format(operator=node.op_type), FIX_UNKNOWN)
        else:
            yield from _restrictions(node)
            if node.op_type not in QUANTIZERS:
                yield from _types(node)


def check_narrowed(view: View) -> Iterator[Finding]:
    """Look for tensors in double precision."""
    for node in view.nodes:
        for value in node.outputs:
            if value.dtype in table.NARROWED:
                effect = "TensorRT computes it in single precision and clamps what does not fit"
                yield Finding(
                    rule=NARROWED,
                    severity="warning",
                    node=name_of(node),
                    tensor=tensor_of(value),
                    effect=effect,
                    fix="export the model in float32",
                )


def _types(node: ir.Node) -> Iterator[Finding]:
    allowed = table.OPERATORS[node.op_type]
    first = input_at(node, 0)
    if first is None or first.dtype is None or first.dtype in allowed or node.op_type in ("If", "Loop", "Scan"):
        return
    if first.dtype in table.STORED:
        yield _finding(node, tensor_of(first), STORED.format(kind=first.dtype.name, operator=node.op_type), FIX_STORED)
        return
    names = ", ".join(sorted(kind.name for kind in allowed))
    effect = f"the graph is rejected: {node.op_type} takes {names}, not {first.dtype.name}"
    yield _finding(node, tensor_of(first), effect, f"Cast to one of {names} before it")


def _restrictions(node: ir.Node) -> Iterator[Finding]:
    for (operator, name), allowed in table.ATTRIBUTES.items():
        attribute = node.attributes.get(name) if operator == node.op_type else None
        if attribute is None or attribute.is_ref():
            continue
        got = attribute.as_string() if attribute.type == ir.AttributeType.STRING else attribute.as_int()
        if got not in allowed:
            effect = f"the graph is rejected: {node.op_type} with {name} = {got}"
            yield _finding(node, "", effect, f"{name} must be {' or '.join(map(str, allowed))}")
    others = [value for value in node.outputs[1:] if value.uses() or value.is_graph_output()]
    if node.op_type in table.FIRST_OUTPUT and others:
        effect = f"the graph is rejected: only the first output of {node.op_type} exists in TensorRT"
        yield _finding(node, tensor_of(others[0]), effect, "do without the others")
    for index in table.BUILD_TIME.get(node.op_type, ()):
        value = input_at(node, index)
        if value is not None and not is_constant(value):
            effect = f"the graph is rejected: input {index} of {node.op_type} must be a constant"
            yield _finding(node, tensor_of(value), effect, "export with fixed shapes and axes")
    yield from _equation(node)
    yield from _training(node)


def _equation(node: ir.Node) -> Iterator[Finding]:
    equation = node.attributes.get("equation")
    if node.op_type == "Einsum" and equation is not None and not equation.is_ref() and "..." in equation.as_string():
        effect = (
            f"the graph is rejected: the parser of TensorRT {table.VERSION} knows no ellipsis in an Einsum's equation"
        )
        yield _finding(node, "", effect, "name every axis in the equation")


def _training(node: ir.Node) -> Iterator[Finding]:
    if node.op_type == "BatchNormalization" and integer(node, "training_mode", 0):
        effect = "the graph is rejected: BatchNormalization in training mode"
        yield _finding(node, "", effect, "export the model in evaluation mode")


def _finding(node: ir.Node, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="error", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
