"""Outlier channels put into a graph without changing what it computes: a hard case for a quantizer, made on purpose.

    before   y_k = W_k n                        n = the output of a layer norm, W_k every product that reads it
    after    y_k = (W_k diag(1/s)) (s ⊙ n)      s_c = ``factor`` in a few channels, 1 elsewhere

The norm's scale and offset take s, the weights' rows 1/s, so in exact arithmetic nothing changes. A quantizer with one
scale for the tensor gives every other channel 1/``factor`` of its steps: what massive activations do to a ViT.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from bundle.errors import GraphError
from compile.passes.base import add_constant, constant, nodes_of


def inject_outliers(model: ir.Model, norms: Sequence[str], *, channels: int, factor: float, seed: int) -> int:
    """Scale a few channels of each named LayerNormalization, in place; return how many products were rewritten.

    Raises:
        GraphError: a name is no layer norm with constant parameters, or something other than products reads it.
    """
    named = {node.name: node for node in nodes_of(model, "LayerNormalization")}
    generator, count = np.random.default_rng(seed), 0
    for name in norms:
        node = named.get(name)
        if node is None:
            raise _refused(name, "no such layer norm")
        readers = [(reader, place) for reader, place in node.outputs[0].uses()]
        if any(reader.op_type != "MatMul" or place or constant(reader.inputs[1]) is None for reader, place in readers):
            raise _refused(name, f"it is read by {sorted({reader.op_type for reader, _ in readers})}")
        scale = constant(node.inputs[1])
        if scale is None:
            raise _refused(name, "its scale is computed")
        stretch = np.ones(scale.shape, np.float64)
        stretch[generator.choice(scale.size, size=channels, replace=False)] = factor
        for place in range(1, len(node.inputs)):
            _scale(model, node, place, stretch)
        for reader, _ in readers:
            _scale(model, reader, 1, 1.0 / stretch[:, None])
            count += 1
    return count


def norms_before_products(model: ir.Model) -> tuple[str, ...]:
    """Name the layer norms that products with constant weights alone read: those that can take outliers."""
    return tuple(
        str(node.name)
        for node in nodes_of(model, "LayerNormalization")
        if node.outputs[0].uses()
        and all(
            reader.op_type == "MatMul" and not place and constant(reader.inputs[1]) is not None
            for reader, place in node.outputs[0].uses()
        )
    )


def _scale(model: ir.Model, node: ir.Node, place: int, by: np.ndarray) -> None:
    array = constant(node.inputs[place])
    if array is not None:
        scaled = (array.astype(np.float64) * by).astype(array.dtype)
        node.replace_input_with(place, add_constant(model, f"{node.name}/outliers_{place}", scaled))


def _refused(name: str, got: str) -> GraphError:
    return GraphError(
        f"{name!r} cannot take outlier channels", expected="a layer norm that only products with constant weights read",
        got=got, where="inject_outliers", fix="name another one",
    )  # fmt: skip
