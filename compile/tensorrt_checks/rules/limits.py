"""What the parser checks of an operator's attributes, values and shapes before it imports a node."""

import re
from collections.abc import Callable, Iterator
from math import ceil
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from compile.graphs.nodes import FORWARDED, constant, input_at, integer, is_constant, shape_of
from compile.tensorrt_checks import operators as tables
from compile.tensorrt_checks.rules.view import View, tensor_of

Limit: TypeAlias = tuple[str, str, str]  # tensor, effect, fix
EVALUATION = "export the model in evaluation mode"
STATIC = "export with fixed shapes and axes"
FIRST_BROADCAST = 7  # the opset from which the parser broadcasts
ELEMENTWISE = frozenset({"Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"})
SPATIAL_AXES = 3


def limits(node: ir.Node, view: View) -> Iterator[Limit]:
    """Yield what the parser refuses of a node."""
    yield from _attributes(node)
    yield from _constants(node, view)
    yield from _ranks(node)
    extra = [value for value in node.outputs[1:] if value.name]
    if node.op_type in tables.FIRST_OUTPUT and extra:
        effect = f"only the first output of {node.op_type} exists in TensorRT"
        yield tensor_of(extra[0]), effect, "leave the names of the others empty, also where nothing reads them"
    if node.op_type in ELEMENTWISE and view.opset < FIRST_BROADCAST:
        yield "", f"{node.op_type} below opset {FIRST_BROADCAST} does not broadcast", "export at opset 20"
    if node.op_type in CHECKS:
        yield from CHECKS[node.op_type](node, view)


def _attributes(node: ir.Node) -> Iterator[Limit]:
    for (operator, name), allowed in tables.ATTRIBUTES.items():
        attribute = node.attributes.get(name) if operator == node.op_type else None
        if attribute is None or attribute.is_ref():
            continue
        got = attribute.as_string() if attribute.type == ir.AttributeType.STRING else attribute.as_int()
        if got not in allowed:
            yield "", f"{node.op_type} with {name} = {got}", f"{name} must be {' or '.join(map(str, allowed))}"


def _constants(node: ir.Node, view: View) -> Iterator[Limit]:
    for (operator, index), version in tables.BUILD_TIME.items():
        value = input_at(node, index) if operator == node.op_type else None
        if value is not None and not is_constant(value) and not view.table.has(version):
            yield tensor_of(value), f"input {index} of {node.op_type} must be a constant", STATIC


def _ranks(node: ir.Node) -> Iterator[Limit]:
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.shape is not None and value.shape.rank() > tables.MOST_AXES:
            effect = f"{tensor_of(value)} has {value.shape.rank()} axes, and a tensor has {tables.MOST_AXES} at most"
            yield tensor_of(value), effect, "merge axes that stay beside each other"
            return


def _integers(node: ir.Node, name: str) -> tuple[int, ...]:
    attribute = node.attributes.get(name)
    return () if attribute is None or attribute.is_ref() else tuple(attribute.as_ints())


def _text(node: ir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    return default if attribute is None or attribute.is_ref() else attribute.as_string()


def _einsum(node: ir.Node, view: View) -> Iterator[Limit]:
    equation = _text(node, "equation", "")
    if wrong := sorted(set(re.findall(r"[^a-z.,\-> ]", equation))):
        yield "", f"the equation of an Einsum has {', '.join(wrong)}", "use lower-case letters"
    if view.table.has("10.12"):  # Changelog.md, 10.12: ellipses, diagonal, broadcasting (the importer had ellipses)
        return
    sizes = dict[str, set[int]]()
    for part, value in zip(equation.replace(" ", "").split("->")[0].split(","), node.inputs, strict=False):
        letters, shape = part.replace("...", ""), shape_of(value)
        if len(set(letters)) < len(letters):
            yield tensor_of(value), "Einsum takes no diagonal before TensorRT 10.12", "take the diagonal with Gather"
        for letter, size in zip(letters, shape or (), strict=False) if "..." not in part else ():
            sizes.setdefault(letter, set()).add(size)
    if any(len(found) > 1 for found in sizes.values()):
        yield "", "Einsum does not broadcast before TensorRT 10.12", "Expand the inputs first"


def _cast_like(node: ir.Node, view: View) -> Iterator[Limit]:
    kind = node.outputs[0].dtype
    if kind is not None and kind not in tables.ANY | tables.UINT8 | tables.INT8:
        yield tensor_of(node.outputs[0]), f"TensorRT casts nothing to {kind.name}", "Cast to another type"


def _clip(node: ir.Node, view: View) -> Iterator[Limit]:
    data = input_at(node, 0)
    if data is not None and data.dtype in tables.INT8 and not all(map(is_constant, node.inputs[1:])):
        yield tensor_of(data), "Clip of INT8 with bounds that are no constants", "clip before the quantization"


def _dropout(node: ir.Node, view: View) -> Iterator[Limit]:
    mode = input_at(node, 2)
    if mode is not None and (not is_constant(mode) or bool(np.any(constant(mode)))):
        yield tensor_of(mode), "Dropout in training mode, or in a mode that is no constant", EVALUATION


def _pool(node: ir.Node, view: View) -> Iterator[Limit]:
    if any(step != 1 for step in _integers(node, "dilations")):
        yield "", f"{node.op_type} with dilations", "gather the elements with strided Slices first"
    yield from _spatial(node, len(_integers(node, "kernel_shape")))


def _convolution(node: ir.Node, view: View) -> Iterator[Limit]:
    yield from _spatial(node, len(shape_of(input_at(node, 1)) or ()) - 2)


def _spatial(node: ir.Node, axes: int) -> Iterator[Limit]:
    if axes > SPATIAL_AXES:
        yield "", f"{node.op_type} over {axes} axes, and {SPATIAL_AXES} are the most", "divide it into two operators"


def _directions(node: ir.Node, view: View) -> Iterator[Limit]:
    """Compare the activations of the two directions; each may have parameters of its own."""
    if _text(node, "direction", "forward") != "bidirectional":
        return
    for name in ("activations", "activation_alpha", "activation_beta"):
        attribute = node.attributes.get(name)
        values = list(attribute.value) if attribute is not None and not attribute.is_ref() else []
        half = len(values) // 2
        if values[:half] != values[half:]:
            yield "", f"{node.op_type} whose directions differ in {name}", "use one operator for each direction"


def _topk(node: ir.Node, view: View) -> Iterator[Limit]:
    shape = shape_of(node.outputs[0])
    wanted = _length(input_at(node, 1)) or integer(node, "k", shape[integer(node, "axis", -1)] if shape else 0)
    if wanted > tables.LARGEST_K:
        effect = f"TopK with K = {wanted}, and {tables.LARGEST_K} is the largest"
        yield tensor_of(input_at(node, 0)), effect, "take the largest of each part first, then the largest of those"


def _length(value: ir.Value | None) -> int | None:
    """Return one integer: a constant, or the length of an axis, which is read from a Shape."""
    array = constant(value)
    if array is not None:
        return int(array.reshape(())) if array.size == 1 else None
    node = None if value is None else value.producer()
    if node is None or node.op_type not in ("Gather", *FORWARDED):
        return None
    if node.op_type != "Gather":
        return _length(node.inputs[0])
    source, index = node.inputs[0], _length(input_at(node, 1))
    maker = None if source is None else source.producer()
    lengths = shape_of(maker.inputs[0]) if maker is not None and maker.op_type == "Shape" else None
    return lengths[index] if lengths is not None and index is not None else None


def _slice(node: ir.Node, view: View) -> Iterator[Limit]:
    data, starts = input_at(node, 0), shape_of(input_at(node, 1))
    if input_at(node, 3) is not None or starts is None or data is None or data.shape is None:
        return
    if starts[0] != data.shape.rank():
        effect = f"Slice without axes and with {starts[0]} starts for {data.shape.rank()} axes"
        yield tensor_of(data), effect, "name the axes"


def _if(node: ir.Node, view: View) -> Iterator[Limit]:
    different = branch_ranks(node)
    if different and not is_from_shapes(input_at(node, 0)):
        effect = f"the branches of an If give {different[0]} and {different[-1]} axes"
        yield tensor_of(node.outputs[0]), effect, "give both branches the same number of axes"


def branch_ranks(node: ir.Node) -> tuple[int, ...]:
    """Return the numbers of axes that the branches of an If give to one output, where they differ and none is chosen at once."""
    if is_constant(input_at(node, 0)):
        return ()
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch") if name in node.attributes]
    for values in zip(*(graph.outputs for graph in branches), strict=False):
        ranks = tuple(rank for value in values if (rank := _rank(value)) is not None)
        if len(set(ranks)) > 1:
            return ranks
    return ()


def is_from_shapes(value: ir.Value | None) -> bool:
    """Say whether a value is made of constants and of shapes: the builder knows it once it knows the sizes."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        current = waiting.pop()
        if current is None or current in seen or current.const_value is not None:
            continue
        seen.add(current)
        node = current.producer()
        if node is None:
            return False
        waiting += [] if node.op_type in ("Shape", "Size") else node.inputs
    return True


def _rank(value: ir.Value | None) -> int | None:
    """Return a value's number of axes; inside a body, onnx infers none behind axes that are a constant outside of it."""
    node = None if value is None else value.producer()
    if value is None or value.shape is not None or node is None:
        return None if value is None or value.shape is None else value.shape.rank()
    if node.op_type == "Reshape":
        return (shape_of(input_at(node, 1)) or (None,))[0]
    axes, inner = constant(input_at(node, 1)), _rank(input_at(node, 0))
    if node.op_type not in ("Squeeze", "Unsqueeze"):
        return inner if node.op_type in ("Cast", "Identity", "Transpose") else None
    count = len(_integers(node, "axes")) if axes is None else axes.size
    return inner + (count if node.op_type == "Unsqueeze" else -count) if inner is not None and count else None


def _matmul(node: ir.Node, view: View) -> Iterator[Limit]:
    left, right = (value.shape if value is not None else None for value in node.inputs[:2])
    if left is not None and right is not None and left.rank() == 1 and right.rank() > 2:
        effect = f"MatMul of a vector by a tensor of {right.rank()} axes"
        yield (
            tensor_of(node.inputs[0]),
            effect,
            "give the vector an axis of length 1 before it, and take it off behind it",
        )


def _resize(node: ir.Node, view: View) -> Iterator[Limit]:
    scales, data, mode = input_at(node, 2), input_at(node, 0), _text(node, "mode", "nearest")
    if node.op_type == "Upsample":
        scales = input_at(node, 1)
    mapping = _text(node, "coordinate_transformation_mode", "half_pixel")
    if mapping == "tf_half_pixel_for_nn" and _text(node, "nearest_mode", "round_prefer_floor") != "round_prefer_floor":
        yield "", f"Resize with {mapping} rounds with round_prefer_floor only", "use another transformation"
    if scales is not None and scales.is_graph_input() and not scales.is_initializer():
        yield tensor_of(scales), f"{node.op_type} with scales that are an input", "use sizes, or constant scales"
    axes = _integers(node, "axes")
    rank = data.shape.rank() if data is not None and data.shape is not None else len(axes)
    if scales is not None and not is_constant(scales) and axes and axes != tuple(range(rank)):
        yield tensor_of(scales), "Resize of some axes with computed scales", "scale every axis, or use sizes"
    factors, most = constant(scales), {"linear": 3, "cubic": 2}.get(mode, rank)
    if factors is not None and not axes and np.any(factors.reshape(-1)[: max(rank - most, 0)] != 1):
        yield tensor_of(scales), f"{node.op_type} in mode {mode} of other axes than the last {most}", "resize in steps"


def _mod(node: ir.Node, view: View) -> Iterator[Limit]:
    data = input_at(node, 0)
    if data is not None and data.dtype in tables.FLOATS and not integer(node, "fmod", 0):
        yield tensor_of(data), "Mod of floats with fmod = 0", "set fmod = 1"


def _scatter(node: ir.Node, view: View) -> Iterator[Limit]:
    if "reduction" in node.attributes and not view.table.has("10.9"):  # Changelog.md, 10.9: ScatterND of opset 18
        yield "", "ScatterND with an attribute reduction, whatever its value", "take the attribute off"


def _split(node: ir.Node, view: View) -> Iterator[Limit]:
    shape, parts = shape_of(input_at(node, 0)), len(node.outputs)
    if input_at(node, 1) is None and "split" not in node.attributes and shape:
        length = shape[integer(node, "axis", 0)]
        if ceil(length / parts) * (parts - 1) > length:
            yield tensor_of(input_at(node, 0)), f"Split of {length} into {parts} parts", "name the size of each part"


def _fill(node: ir.Node, view: View) -> Iterator[Limit]:
    if node.outputs[0].dtype in tables.UINT8 | tables.STORED:
        yield tensor_of(node.outputs[0]), "ConstantOfShape of an 8-bit value", "fill with another type, and Cast"


def _constant(node: ir.Node, view: View) -> Iterator[Limit]:
    for name in ("sparse_value", "value_string", "value_strings"):
        if name in node.attributes:
            yield "", f"Constant with {name}", "store a dense tensor of numbers"


def _attention(node: ir.Node, view: View) -> Iterator[Limit]:
    softcap = node.attributes.get("softcap")
    if softcap is not None and softcap.as_float() != 0:
        yield "", "Attention with a softcap", "write it as MatMul, Softmax and MatMul"
    if "softmax_precision" in node.attributes:
        yield "", "Attention with softmax_precision", "take the attribute off"
    if integer(node, "is_causal", 0) and input_at(node, 3) is not None:
        yield (
            tensor_of(input_at(node, 3)),
            "Attention that is causal and has a mask",
            "put the causal part into the mask",
        )
    if shape_of(input_at(node, 1)) != shape_of(input_at(node, 2)):
        yield (
            tensor_of(input_at(node, 2)),
            "Attention whose key and value differ in shape",
            "give both the same head size",
        )


def _tensor_scatter(node: ir.Node, view: View) -> Iterator[Limit]:
    cache = input_at(node, 0)
    if cache is not None and cache.shape is not None and cache.shape.rank() != 4:
        yield tensor_of(cache), f"TensorScatter into {cache.shape.rank()} axes, and it takes 4", "Reshape around it"


CHECKS: MappingProxyType[str, Callable[[ir.Node, View], Iterator[Limit]]] = MappingProxyType(
    {
        "Attention": _attention,
        "AveragePool": _pool,
        "Cast": _cast_like,
        "CastLike": _cast_like,
        "Clip": _clip,
        "Constant": _constant,
        "ConstantOfShape": _fill,
        "Conv": _convolution,
        "ConvTranspose": _convolution,
        "Dropout": _dropout,
        "Einsum": _einsum,
        "GRU": _directions,
        "If": _if,
        "LSTM": _directions,
        "LpPool": _pool,
        "MatMul": _matmul,
        "MaxPool": _pool,
        "Mod": _mod,
        "RNN": _directions,
        "Resize": _resize,
        "ScatterND": _scatter,
        "Slice": _slice,
        "Split": _split,
        "TensorScatter": _tensor_scatter,
        "TopK": _topk,
        "Upsample": _resize,
    }
)
