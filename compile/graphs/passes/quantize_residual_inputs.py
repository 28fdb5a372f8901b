"""A residual Add reads its skip input quantized, where a Q/DQ pair of that tensor exists: then GEMM or Conv + Add fuse.

    before   d = DQ(Q(x))    y = f(d)    z = g(y) + x          g an INT8 product, its bias included
    after    d = DQ(Q(x))    y = f(d)    z = g(y) + d'         d' = DQ(Q(x)), a second DQ of the same Q

The pair's own scale was calibrated on x, so |d − x| ≤ s/2 wherever x was in range. A tensor without such a pair (a
transformer's stream, which a LayerNorm reads) has no scale to take, and stays in float.
"""

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import WEIGHTED, free_name, is_constant, label, nodes_of
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE


def quantize_residual_inputs(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite every Add that matches."""
    model, modified = ShapeInferencePass()(model).model, False
    for node, (index, skip, old) in matches(match, nodes_of(model, "Add")):
        name = free_name(model.graph, f"{label(node)}/skip")
        output = ir.Value(name=name, type=skip.type, shape=skip.shape)
        dequantize = ir.Node("", DEQUANTIZE, old.inputs, old.attributes.values(), outputs=[output], name=name)
        model.graph.insert_before(node, dequantize)
        node.replace_input_with(index, output)
        modified = True
    if modified:
        model.graph.sort()  # the Q may come after the Add that now reads it
    return model, modified


def match(node: ir.Node) -> tuple[int, ir.Value, ir.Node]:
    """Return the index of an Add's skip input, the input, and a DQ node of the pair that reads the same tensor.

    Raises:
        NoMatch: it adds nothing to an INT8 product, or there is no such pair.
    """
    index = _skip(node)
    if index is None:
        raise NoMatch("it adds nothing to an INT8 product")
    skip = node.inputs[index]
    producer = None if skip is None else skip.producer()
    if producer is not None and producer.op_type == DEQUANTIZE:
        raise NoMatch("its skip input is quantized already")
    pair = _dequantizer(skip)
    if skip is None or pair is None:
        raise NoMatch("no Q/DQ pair reads its skip input, so there is no scale for it")
    return index, skip, pair


def _skip(node: ir.Node) -> int | None:
    """Return the index of the input that is added to an INT8 product, None if it is no such Add."""
    shapes = [None if value is None else value.shape for value in node.inputs]
    if len(shapes) != 2 or shapes[0] is None or shapes[0] != shapes[1]:
        return None
    for index in (0, 1):
        if _is_product(node.inputs[1 - index]) and not is_constant(node.inputs[index]):
            return index
    return None


def _is_product(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    if node is not None and node.op_type == "Add":
        live = [part for part in node.inputs if not is_constant(part)]
        node = live[0].producer() if len(live) == 1 and live[0] is not None else None
    if node is None or node.op_type not in WEIGHTED:
        return False
    sources = [part.producer() if part is not None else None for part in node.inputs[:2]]
    return all(source is not None and source.op_type == DEQUANTIZE for source in sources)


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    """Return the first DQ node behind a Q node that reads a value."""
    for reader, _ in () if value is None else value.uses():
        found = [other for other, _ in reader.outputs[0].uses() if other.op_type == DEQUANTIZE]
        if reader.op_type == QUANTIZE and found:
            return found[0]
    return None
