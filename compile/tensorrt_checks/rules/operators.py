"""The operator and type table: what the parser of a version of TensorRT knows, with the types of each operator."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import input_at, is_constant, is_standard
from compile.graphs.quantizers import QUANTIZE
from compile.tensorrt_checks import operators as tables
from compile.tensorrt_checks.rules.limits import limits
from compile.tensorrt_checks.rules.view import UNVERIFIED, View, name_of, tensor_of

NAME = "known-operator"
NARROWED = "narrowed-type"
UNKNOWN = "the parser of TensorRT {version} has no importer for {operator}: the graph is rejected"
CUSTOM = "TensorRT looks for a plugin called {operator} (domain {domain}); without one the graph is rejected"
FIX_UNKNOWN = "write it with operators of the table (compile/tensorrt_checks/operators.py), or bring a plugin"
FUNCTION = "the parser knows an operator called {operator} and refuses it, before it looks for a function of that name"
STORED = "the engine is not built: an {kind} constant may feed a DequantizeLinear only, and here it feeds {operator}"
FIX_STORED = "write the conversion as one DequantizeLinear with the scale, not as Cast and Mul or the like"
INSIDE = (
    "the graph is rejected: {kind} is a type of the graph's inputs and outputs only, and {operator} makes it inside"
)
UNLISTED = "not verified on TensorRT {version}: no document lists {operator} in {kind} (TensorRT-RTX 1.7.1 takes it)"
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")  # their types are the business of rules 1, 3 and 9
BODIES = ("If", "Loop", "Scan")


def check(view: View) -> Iterator[Finding]:
    """Look up every node, and the name of every function."""
    for name in view.functions:
        if name in tables.REFUSED:
            yield _finding(name, "", FUNCTION.format(operator=name), "give the function another name")
    for node in view.nodes:
        if not is_standard(node):
            if tables.PLUGIN_MARK not in node.op_type:
                effect = CUSTOM.format(operator=node.op_type, domain=node.domain)
                yield _finding(name_of(node), "", effect, FIX_UNKNOWN)
        elif node.op_type not in view.table.operators:
            effect = UNKNOWN.format(operator=node.op_type, version=view.table.version)
            yield _finding(name_of(node), "", effect, FIX_UNKNOWN)
        else:
            for tensor, effect, fix in (*limits(node, view), *_types(node, view)):
                yield _finding(name_of(node), tensor, f"the graph is rejected: {effect}", fix)
            yield from _outputs(node)


def check_narrowed(view: View) -> Iterator[Finding]:
    """Look for tensors in double precision."""
    for node in view.nodes:
        for value in node.outputs:
            if value.dtype in tables.NARROWED:
                effect = "TensorRT computes it in single precision and clamps what does not fit"
                fix = "export the model in float32"
                yield _warning(NARROWED, node, value, effect, fix)


def unverified(view: View) -> Iterator[Finding]:
    """Look for types that TensorRT for RTX takes and no document lists."""
    for node in view.nodes:
        for value in _data(node) if is_standard(node) else ():
            kind = ir.DataType(value.dtype or 0)
            if kind in tables.UNLISTED.get(node.op_type, ()) and not _is_stored(value):
                effect = UNLISTED.format(version=view.table.version, operator=node.op_type, kind=kind.name)
                yield _warning(UNVERIFIED, node, value, effect, "Cast to a float type before it, and back behind it")


def _data(node: ir.Node) -> list[ir.Value]:
    """Return the inputs whose types the table is about."""
    if node.op_type in (*QUANTIZERS, *BODIES):
        return []
    found = [input_at(node, index) for index in tables.DATA_INPUTS.get(node.op_type, (0,))]
    return [value for value in found if value is not None and value.dtype is not None]


def _types(node: ir.Node, view: View) -> Iterator[tuple[str, str, str]]:
    allowed = view.table.operators[node.op_type]
    for value in _data(node):
        kind = ir.DataType(value.dtype or 0)
        if kind in allowed:
            continue
        if kind in tables.STORED and _is_stored(value):
            yield tensor_of(value), STORED.format(kind=kind.name, operator=node.op_type), FIX_STORED
        elif kind not in tables.UNLISTED.get(node.op_type, ()) and not (
            kind in tables.INT8 and node.op_type in tables.MOVES_INT8
        ):
            names = ", ".join(sorted(one.name for one in allowed))
            effect = f"{node.op_type} takes {names}, not {kind.name}"
            yield tensor_of(value), effect, f"Cast to one of {names} before it"


def _is_stored(value: ir.Value) -> bool:
    """Say whether a value is a stored constant, perhaps moved: no Q node makes it."""
    node = value.producer()
    if node is None or not node.inputs:
        return is_constant(value)
    first = input_at(node, 0)
    return node.op_type != QUANTIZE and first is not None and is_constant(value) and _is_stored(first)


def _outputs(node: ir.Node) -> Iterator[Finding]:
    """Look at the types that a node makes."""
    for value in node.outputs:
        if value.dtype in tables.UINT8 and not value.is_graph_output() and node.op_type not in (QUANTIZE, "Constant"):
            effect = INSIDE.format(kind="UINT8", operator=node.op_type)
            yield _finding(name_of(node), tensor_of(value), effect, "Cast to another type, or leave it to the host")


def _finding(node: str, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="error", node=node, tensor=tensor, effect=effect, fix=fix)


def _warning(rule: str, node: ir.Node, value: ir.Value, effect: str, fix: str) -> Finding:
    return Finding(rule=rule, severity="warning", node=name_of(node), tensor=tensor_of(value), effect=effect, fix=fix)
