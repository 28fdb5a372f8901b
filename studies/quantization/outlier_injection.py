"""Outlier channels put into a graph without changing what it computes: a hard case for a quantizer, made on purpose.

    before   y_k = W_k n                        n = the output of a layer norm, W_k every product that reads it
    after    y_k = (W_k diag(1/s)) (s ⊙ n)      s_c = ``factor`` in a few channels, 1 elsewhere

The norm's scale and offset take s, the weights' rows 1/s, so in exact arithmetic nothing changes. A quantizer with one
scale for the tensor gives every other channel 1/``factor`` of its steps: what massive activations do to a ViT.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from bundle.base.errors import GraphError
from compile.graphs.match import NoMatch, matches, reason_against
from compile.graphs.nodes import add_constant, constant, input_at, nodes_of


def inject_outliers(model: ir.Model, norms: Sequence[str], *, channels: int, factor: float, seed: int) -> int:
    """Scale a few channels of each named LayerNormalization, in place; return how many products were rewritten.

    Raises:
        GraphError: a name is no layer norm with constant parameters, or something other than products reads it.
    """
    named = {node.name: node for node in nodes_of(model, "LayerNormalization")}
    generator, count = np.random.default_rng(seed), 0
    for name in norms:
        node = named.get(name)
        scale = None if node is None else constant(input_at(node, 1))
        reason = "no such layer norm" if node is None else reason_against(_match, node)
        if node is None or scale is None or reason is not None:
            raise _refused(name, str(reason))
        stretch = np.ones(scale.shape, np.float64)
        stretch[generator.choice(scale.size, size=channels, replace=False)] = factor
        for index in range(1, len(node.inputs)):
            _scale(model, node, index, stretch)
        for reader, _ in node.outputs[0].uses():
            _scale(model, reader, 1, 1.0 / stretch[:, None])
            count += 1
    return count


def norms_before_products(model: ir.Model) -> tuple[str, ...]:
    """Name the layer norms that products with constant weights alone read: those that can take outliers."""
    return tuple(str(node.name) for node, _ in matches(_match, nodes_of(model, "LayerNormalization")))


def _match(node: ir.Node) -> None:
    """Raise ``NoMatch`` if a layer norm cannot take outlier channels."""
    for index, what in ((1, "scale"), (2, "offset")):
        array = constant(input_at(node, index))
        if array is None and input_at(node, index) is not None:
            raise NoMatch(f"its {what} is computed")
        if array is not None and array.ndim != 1:
            raise NoMatch(f"its {what} has the shape {list(array.shape)}")
    if node.outputs[0].is_graph_output():
        raise NoMatch("its output leaves the graph")
    readers = node.outputs[0].uses()
    if not readers or not all(_is_product(reader, index) for reader, index in readers):
        raise NoMatch(f"it is read by {sorted({reader.op_type for reader, _ in readers})}")


def _is_product(reader: ir.Node, index: int) -> bool:
    """Say whether a norm's reader is a product with a constant matrix on the right."""
    weight = constant(input_at(reader, 1))
    return reader.op_type == "MatMul" and index == 0 and weight is not None and weight.ndim > 1


def _scale(model: ir.Model, node: ir.Node, index: int, by: np.ndarray) -> None:
    array = constant(input_at(node, index))
    if array is not None:
        scaled = (array.astype(np.float64) * by).astype(array.dtype)
        node.replace_input_with(index, add_constant(model, f"{node.name}/outliers_{index}", scaled))


def _refused(name: str, got: str) -> GraphError:
    return GraphError(
        f"{name!r} cannot take outlier channels",
        expected="a layer norm that only products with constant weights read",
        got=got,
        where="inject_outliers",
        fix="name another one",
    )
