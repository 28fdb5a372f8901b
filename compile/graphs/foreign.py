"""An ONNX file of any exporter as a graph that can be quantized: checked, its constants folded, in the form of this project.

    input       renamed ``image`` and pinned to a shape, where the command line says so; float32 NHWC gets a Transpose
    constants   initializers are no inputs; what only constants compute is folded: a weight's norm, a cast from FP16
    functions   inlined
    operators   GroupNormalization before opset 21, which ONNX deprecated, as InstanceNormalization; Gelu of com.microsoft as
                ONNX's own; the opset as the target takes it

What cannot be quantized is refused here, by the name of its node: a quantized network, an operator that is not ONNX's, one in
training mode, one that is random, and what onnx.checker refuses.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import (
    CheckerPass,
    RemoveInitializersFromInputsPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)

from bundle.base.errors import GraphError
from compile.graphs.expand_group_norm import expand_group_norms
from compile.graphs.nodes import constant, input_at, integer, is_standard, label, shape_of
from compile.graphs.pin_input import InputFlags, choose_input, pin_input
from compile.graphs.read_onnx import flatten, innermost, read_model
from compile.graphs.spread_scalars import spread_scalars

QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "ConvInteger"})
QUANTIZED_PREFIXES = ("DynamicQuantize", "MatMulInteger", "MatMulNBits", "QAttention", "QGemm", "QLinear")
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
GELU_OPSET = 20
FOLDED_INPUT = 2**31  # elements: a weight of any size
FOLDED_OUTPUT = 2**24  # elements; a constant may not grow beyond it
MODE_IS_INPUT = 12  # the opset from which Dropout's mode is an input
WITHOUT_MODE = 7  # from here to there it has none


class Prepared(NamedTuple):
    """A graph ready to be quantized, the one it must agree with, and what was done between them."""

    model: ir.Model
    original: ir.Model
    changes: tuple[str, ...]


def prepare(path: Path, flags: InputFlags, opsets: tuple[int, int] | None) -> Prepared:
    """Read a file and prepare its graph for a target that takes the ``opsets`` from one to another; None: any.

    Raises:
        GraphError: it is no ONNX, or cannot be quantized; the node or the flag that would help is named.
    """
    return prepare_model(ir.external_data.load_to_model(read_model(path)), path, flags, opsets)


def prepare_model(model: ir.Model, path: Path, flags: InputFlags, opsets: tuple[int, int] | None) -> Prepared:
    """Prepare a model that was read from ``path``; see ``prepare``."""
    changes = list[str]()
    _refuse(path, "it is quantized already", [node for node in model.graph.all_nodes() if _is_quantized(node)])
    functions = len(model.functions)
    if functions:
        changes.append(f"{functions} functions inlined")
    model = flatten(model, path.name)
    if RemoveInitializersFromInputsPass()(model).modified:
        changes.append("initializers taken off the inputs")
    chosen = choose_input(model, flags, path)
    changes += pin_input(model, chosen, flags)
    original = model.clone()
    changes += _fold(model, path)
    _refuse(path, "it is random", [node for node in model.graph.all_nodes() if node.op_type in RANDOM])
    _refuse(path, "it is in training mode", [node for node in model.graph.all_nodes() if _trains(node, _opset(model))])
    model, converted = _convert(model, opsets, path)
    model = flatten(model, path.name)
    if spread := spread_scalars(model):
        converted.append(f"{spread} scalar biases as vectors")
    _refuse(path, "ONNX has no such operator", [node for node in model.graph.all_nodes() if not is_standard(node)])
    RemoveUnusedOpsetsPass()(model)
    _require_shapes(model, path, flags.option)
    _check(model, path)
    return Prepared(model, original, (*changes, *converted))


def _opset(model: ir.Model) -> int:
    return model.graph.opset_imports.get("", model.graph.opset_imports.get("ai.onnx", 0))


def _is_quantized(node: ir.Node) -> bool:
    return node.op_type in QUANTIZED or node.op_type.startswith(QUANTIZED_PREFIXES)


def _trains(node: ir.Node, opset: int) -> bool:
    """Say whether a node computes what only a training needs."""
    if not is_standard(node):
        return False
    if node.op_type == "BatchNormalization":
        return bool(integer(node, "training_mode", 0))
    if node.op_type != "Dropout":
        return False
    if opset < MODE_IS_INPUT:
        return opset < WITHOUT_MODE and not integer(node, "is_test", 0)
    mode, ratio = input_at(node, 2), constant(input_at(node, 1))
    value = constant(mode)
    return mode is not None and (value is None or bool(value.all())) and (ratio is None or bool(ratio.any()))


def _refuse(path: Path, why: str, nodes: list[ir.Node]) -> None:
    """Refuse a graph that has such nodes.

    Raises:
        GraphError: it has one.
    """
    if nodes:
        raise GraphError(
            f"this network cannot be quantized: {why}",
            expected="a float32 network for inference, of ONNX's own operators",
            got=", ".join(f"{_operator(node)} {label(node)}" for node in nodes[:3]) + _more(len(nodes) - 3),
            where=str(path),
            fix="export it from its framework again: in float, in evaluation mode, without a runtime's own optimizations",
        )


def _operator(node: ir.Node) -> str:
    return node.op_type if is_standard(node) else f"{node.op_type} of {node.domain}"


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _fold(model: ir.Model, path: Path) -> Iterator[str]:
    """Fold what only constants compute, and what nothing reads; say so where there was any."""
    from onnxscript.optimizer import fold_constants

    before = len(model.graph)
    try:
        fold_constants(model, onnx_shape_inference=True, input_size_limit=FOLDED_INPUT, output_size_limit=FOLDED_OUTPUT)
    except (RuntimeError, ValueError, TypeError) as error:
        raise _invalid(path, error) from error
    RemoveUnusedNodesPass()(model)
    if len(model.graph) != before:
        yield f"{before - len(model.graph)} nodes folded"


def _convert(model: ir.Model, opsets: tuple[int, int] | None, path: Path) -> tuple[ir.Model, list[str]]:
    """Write the operators as the target takes them: its opset, ONNX's Gelu, no deprecated GroupNormalization."""
    opset, changes = _opset(model), list[str]()
    gelus = [node for node in model.graph.all_nodes() if (node.domain, node.op_type) == ("com.microsoft", "Gelu")]
    least, most = opsets or (0, opset)
    wanted = opset if least <= opset <= most else most
    wanted = max(wanted, GELU_OPSET) if gelus else wanted
    if expanded := expand_group_norms(model, opset, wanted):
        changes.append(f"{expanded} GroupNormalization as InstanceNormalization")
    if wanted != opset:
        model = _at_opset(model, opset, wanted, path)
        changes.append(f"opset {opset} as {wanted}")
    for node in model.graph.all_nodes():
        if (node.domain, node.op_type) == ("com.microsoft", "Gelu"):
            node.domain = ""
    return model, changes + ([f"{len(gelus)} Gelu of com.microsoft as ONNX's own"] if gelus else [])


def _at_opset(model: ir.Model, opset: int, wanted: int, path: Path) -> ir.Model:
    try:
        return ir.from_proto(onnx.version_converter.convert_version(ir.to_proto(model), wanted))
    except (RuntimeError, ValueError, onnx.version_converter.ConvertError) as error:
        raise GraphError(
            f"opset {opset} is none that the target takes, and cannot be converted",
            expected=f"opset {wanted}",
            got=str(error).strip().rpartition(": ")[2],
            where=str(path),
            fix=f"export it at opset {wanted}",
        ) from error


def _require_shapes(model: ir.Model, path: Path, option: str) -> None:
    """Refuse a graph with an output of no known size: the input's size does not fit, or the values decide it.

    Raises:
        GraphError: there is one.
    """
    advice = f"give a size that the network takes, with {option}; or " if option else ""
    if unknown := [value for value in model.graph.outputs if shape_of(value) is None]:
        raise GraphError(
            "the size of an output is unknown",
            expected="static shapes",
            got=f"{unknown[0].name!r} {unknown[0].shape}",
            where=str(path),
            fix=f"{advice}end the network before what selects boxes",
        )


def _check(model: ir.Model, path: Path) -> None:
    try:
        CheckerPass(full_check=True)(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise _invalid(path, error) from error


def _invalid(path: Path, error: Exception) -> GraphError:
    return GraphError(
        "this file is no valid ONNX",
        expected="a graph that onnx.checker accepts",
        got=" ".join(str(innermost(error)).split()),
        where=str(path),
        fix="export it again: the file itself has this fault",
    )
