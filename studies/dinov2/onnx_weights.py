"""A DINOv2 that is published as an ONNX graph: its weights by the names they had, and what the graph itself computes.

An exporter keeps the names of biases, norms and gains. It folds a linear's transposed weight, and the position table cut
in two, into constants without a name. They are identified by their position:

    Add(N.bias, MatMul(x, W))                     W is the transpose of N.weight
    Add(tokens, Concat(c, resized and moved P))   [c; P] is the position table, c [1, 1, d] and P [1, n², d]

The graph stays the oracle: ``expose_blocks`` makes it answer with the tokens after each block. So a port of the
weights is compared with a run of the graph they were read from.
"""

import re

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from bundle.base.errors import GraphError
from compile.graphs.nodes import constant, nodes_of

Floats = NDArray[np.float32]
KEPT = re.compile(r"(?:^|\.)((?:embeddings|encoder\.layer)\..*)$")
GAIN = re.compile(r"(?:^|\.)encoder\.layer\.(\d+)\.layer_scale2\.lambda1$")
PATCHES = "embeddings.patch_embeddings.projection.weight"
POSITIONS = "embeddings.position_embeddings"


def read_weights(model: ir.Model) -> dict[str, Floats]:
    """Return the backbone's tensors, float32, by name and in the layout of a Hugging Face ``Dinov2Model``.

    Raises:
        GraphError: the patch embedding or the position table is not found.
    """
    found = _named(model)
    if PATCHES not in found:
        raise _refused(f"an initializer …{PATCHES}", ", ".join(sorted(model.graph.initializers)[:3]))
    return found | _linears(model) | {POSITIONS: _positions(model)}


def expose_blocks(model: ir.Model) -> tuple[str, ...]:
    """Make the tokens after each block, ``[1, 1 + n, d]`` of one image, the graph's outputs, in place; return their names.

    Raises:
        GraphError: there is no block, one is missing, or the image has no fixed size.
    """
    ends: dict[int, ir.Value] = {}
    for node in nodes_of(model, "Mul"):
        number = next((int(m[1]) for one in node.inputs if (m := GAIN.search(_name(one)))), None)
        adders = [reader for reader, _ in node.outputs[0].uses() if reader.op_type == "Add"]
        if number is not None and adders:
            ends[number] = adders[0].outputs[0]
    if not ends or sorted(ends) != list(range(len(ends))):
        raise _refused("blocks 0, 1, … that end with layer_scale2", f"blocks {sorted(ends)}")
    shape = ir.Shape([1, *_token_shape(model)])
    model.graph.outputs.clear()
    for number in sorted(ends):
        ends[number].dtype, ends[number].shape = ir.DataType.FLOAT, shape
        model.graph.outputs.append(ends[number])
    RemoveUnusedNodesPass()(model)
    return tuple(str(value.name) for value in model.graph.outputs)


def _named(model: ir.Model) -> dict[str, Floats]:
    found = {}
    for value in model.graph.initializers.values():
        match, array = KEPT.search(_name(value)), constant(value)
        if match and array is not None:
            found[match[1]] = array.astype(np.float32)
    return found


def _linears(model: ir.Model) -> dict[str, Floats]:
    """Find each linear's weight behind the bias that still has its name."""
    found = {}
    for node in nodes_of(model, "Add"):
        bias = next((m[1] for one in node.inputs if (m := KEPT.search(_name(one)))), "")
        product = next((p for one in node.inputs if one is not None and (p := one.producer()) is not None), None)
        weight = constant(product.inputs[1]) if product is not None and product.op_type == "MatMul" else None
        if bias.endswith(".bias") and weight is not None:
            found[f"{bias.removesuffix('.bias')}.weight"] = np.ascontiguousarray(weight.T, np.float32)
    return found


def _positions(model: ir.Model) -> Floats:
    """Find the table whose row for the class token a Concat puts before the resized rows of the patches."""
    for node in nodes_of(model, "Concat"):
        first = constant(node.inputs[0])
        if len(node.inputs) == 2 and first is not None and first.ndim == 3 and first.shape[:2] == (1, 1):
            rest = _source(node.inputs[1])
            if rest is not None and rest.shape[-1] == first.shape[-1]:
                return np.concatenate([first, rest.reshape(1, -1, rest.shape[-1])], axis=1).astype(np.float32)
    raise _refused("a Concat of one row [1, 1, d] and the resized rows of a table", "none in this graph")


def _source(value: ir.Value | None) -> NDArray[np.generic] | None:
    """Go up the first inputs to the constant that a chain of moves and resizes starts from."""
    while value is not None and constant(value) is None:
        node = value.producer()
        value = None if node is None or not node.inputs else node.inputs[0]
    return constant(value)


def _token_shape(model: ir.Model) -> tuple[int, int]:
    """Give the image one size, its batch 1, and return (tokens, width) behind the patch embedding."""
    image, weight = model.graph.inputs[0], _named(model).get(PATCHES)
    sizes = [] if image.shape is None else list(image.shape)[2:]
    if weight is None or len(sizes) != 2 or not all(isinstance(size, int) for size in sizes):
        raise _refused("an input [batch, 3, height, width] of fixed size before a patch embedding", str(image.shape))
    height, width = (int(str(size)) for size in sizes)
    image.shape = ir.Shape([1, weight.shape[1], height, width])
    return 1 + (height // weight.shape[2]) * (width // weight.shape[3]), weight.shape[0]


def _name(value: ir.Value | None) -> str:
    return "" if value is None or value.name is None else value.name


def _refused(expected: str, got: str) -> GraphError:
    return GraphError(
        "this is no DINOv2 as an exporter writes it",
        expected=expected,
        got=got,
        where="the ONNX graph",
        fix="give a graph whose initializers have the names of a Hugging Face Dinov2Model",
    )
