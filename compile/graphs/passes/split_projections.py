"""A joint projection of queries, keys and values as one product each, whose heads a transpose of four axes takes apart.

    before   t = x W + b                                   x [B, N, K], W [K, 3·h·d]
             q, k, v = what a Reshape, a Transpose and slices take from t, each [B, h, N, d], or [B, h, d, N]
    after    q = Transpose(Reshape(x W_q + b_q, [B, N, h, d]), 0 2 1 3), and so for k and v

W_q holds the columns of W that q reads, in its order. A transpose of five axes moves every number before the attention
reads it; one of four a runtime can take into the attention's own reads (OpenVINO's does), and each product writes what its
reader's quantizer makes of it. As many MACs as before, and x is read once more for each product.

Fires where everything that reads t is such a rearrangement of it, at least two of them, and no column is read twice. Exact.
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.graphs.insert import Inserter, supersede
from compile.graphs.nodes import constant, input_at, label, nodes_of
from compile.graphs.passes.movement import MOVES, Indices, shape_of, trace

NAME = "split_projections"
HEADS_FIRST, DEPTH_FIRST = (0, 2, 1, 3), (0, 2, 3, 1)  # [B, N, h, d] → [B, h, N, d] or [B, h, d, N]

CHANNELS_FIRST = (0, 3, 1, 2)


class Part(NamedTuple):
    """A rearrangement of some columns of a joint product: which, in how many heads, and the order of its axes."""

    value: ir.Value
    columns: NDArray[np.int64]
    heads: int
    order: tuple[int, ...]
    nodes: tuple[ir.Node, ...]  # between the product and the value


class Joint(NamedTuple):
    """A product with a constant matrix, the bias behind it if there is one, and the parts that read it."""

    product: ir.Node
    bias: ir.Node | None
    parts: tuple[Part, ...]


def split_projections(model: ir.Model) -> tuple[ir.Model, int]:
    """Split every joint projection; returns how many."""
    count = 0
    for product in nodes_of(model, "MatMul"):
        joint = _joint(product)
        if joint is not None:
            for number, part in enumerate(joint.parts):
                _replace(model, joint, part, f"part_{number}")
            gone = dict.fromkeys(node for part in joint.parts for node in part.nodes)
            model.graph.remove([*gone, *([joint.bias] if joint.bias else []), product], safe=True)
            count += 1
    return model, count


def _joint(product: ir.Node) -> Joint | None:
    """Return a product as a joint one; None where it is not, or where something reads it in another way."""
    rows, weight = shape_of(input_at(product, 0)), constant(input_at(product, 1))
    if rows is None or len(rows) != 3 or weight is None or weight.ndim != 2:
        return None
    bias = _bias(product)
    ends = _ends((bias or product).outputs[0])
    parts = [part for value in ends or () if (part := _part(value)) is not None]
    if ends is None or len(parts) != len(ends) or len(parts) < 2:
        return None
    columns = np.concatenate([part.columns for part in parts])
    return Joint(product, bias, tuple(parts)) if np.unique(columns).size == columns.size else None


def _bias(product: ir.Node) -> ir.Node | None:
    """Return the sum with a constant vector that alone reads a product."""
    uses = product.outputs[0].uses()
    if len(uses) != 1 or product.outputs[0].is_graph_output():
        return None
    [(reader, index)] = uses
    vector = constant(input_at(reader, 1 - index)) if reader.op_type == "Add" and reader.domain == "" else None
    return reader if vector is not None and vector.shape == (shape_of(product.outputs[0]) or ())[-1:] else None


def _ends(value: ir.Value) -> list[ir.Value] | None:
    """Return the values that leave the moves behind a value; None where it is itself read by something else."""
    found, waiting = dict[ir.Value, None](), [value]
    while waiting:
        current = waiting.pop()
        if current.is_graph_output() or any(not _moves(reader, index) for reader, index in current.uses()):
            found[current] = None
        waiting += [made for reader, index in current.uses() if _moves(reader, index) for made in reader.outputs]
    return None if value in found else list(reversed(found))


def _moves(reader: ir.Node, index: int) -> bool:
    return reader.op_type in MOVES and reader.domain == "" and index == 0


def _part(value: ir.Value) -> Part | None:
    """Return a value of four axes as columns of its source; None where a row of it is not of one row there."""
    moved, shape = trace(value), shape_of(value)
    source = None if moved is None else shape_of(moved.source)
    if moved is None or source is None or shape is None or len(shape) != 4:
        return None
    for order in (HEADS_FIRST, DEPTH_FIRST):
        token_first = np.transpose(moved.indices, np.argsort(order))  # [B, N, h, d]
        columns = token_first[0, 0].ravel()
        if token_first.shape[:2] == source[:2] and np.array_equal(
            token_first, _from_columns(columns, source, token_first.shape)
        ):
            return Part(value, columns, token_first.shape[2], order, moved.nodes)
    return None


def _from_columns(columns: Indices, source: tuple[int, ...], shape: tuple[int, ...]) -> Indices:
    """Return the indices, in a source [B, N, M], of its columns taken from every row."""
    rows = np.arange(source[0] * source[1]).reshape(*source[:2], 1)
    return (rows * source[2] + columns).reshape(shape)


def _replace(model: ir.Model, joint: Joint, part: Part, name: str) -> None:
    """Let everything that reads a part read a product of its own."""
    new = Inserter(model, joint.product, label(joint.product), NAME)
    shape, weight = shape_of(joint.product.outputs[0]) or (), constant(joint.product.inputs[1])
    assert weight is not None
    wide = (*shape[:2], part.columns.size)
    columns = new.constant(np.ascontiguousarray(weight[:, part.columns]), f"{name}/weight")
    made = new.node("MatMul", [joint.product.inputs[0], columns], wide, f"{name}/product")
    if joint.bias is not None:
        [vector] = [one for value in joint.bias.inputs if (one := constant(value)) is not None]
        made = new.node("Add", [made, new.constant(vector[part.columns], f"{name}/bias")], wide, f"{name}/sum")
    moved = _heads_first(new, made, part, name) if part.order == HEADS_FIRST else _depth_first(new, made, part, name)
    supersede(model, part.value, moved)


def _heads_first(new: Inserter, made: ir.Value, part: Part, name: str) -> ir.Value:
    batch, tokens, wide = shape_of(made) or ()
    split = new.reshape(made, (batch, tokens, part.heads, wide // part.heads), f"{name}/heads")
    return new.node("Transpose", [split], shape_of(part.value) or (), f"{name}/moved", perm=HEADS_FIRST)


def _depth_first(new: Inserter, made: ir.Value, part: Part, name: str) -> ir.Value:
    """Move the channels before the tokens as an image's, which runtimes do best; the heads are whole there."""
    batch, tokens, wide = shape_of(made) or ()
    row = new.reshape(made, (batch, 1, tokens, wide), f"{name}/row")
    moved = new.node("Transpose", [row], (batch, wide, 1, tokens), f"{name}/moved", perm=CHANNELS_FIRST)
    return new.reshape(moved, shape_of(part.value) or (), f"{name}/heads")
