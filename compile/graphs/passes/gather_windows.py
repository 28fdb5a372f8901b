"""Window partition, cyclic shift and padding as one Gather of rows.

A Swin block copies its map up to eight times: pad, two rolls (two Slices and a Concat each), a six-dimensional transpose,
and the same back. Every step moves whole rows of C channels, so their composition is one too:

    before   y = Reshape(Transpose(Reshape(Concat(Slice(x), Slice(x)) …)))        x [1, H, W, C], y [windows, area, C]
    after    y = Gather(Reshape(x, [H·W, C]), indices, axis 0)

``indices`` follow by running the chain on the numbers of the rows. Where windows need padding, a row of zeros is appended
to x, and a padded position reads that. The way back, and the 2×2 neighbours of a patch merging, are the same rewrite.

Fires on a chain of one source whose result is made of whole rows of the source. A Concat or a Pad must take part in it;
a lone partition is one transpose already (``gather_rows``). Exact: nothing is computed.
"""

from math import prod

import numpy as np
import onnx_ir as ir

from compile.graphs.insert import Inserter, supersede
from compile.graphs.passes.movement import MOVES, ZERO, Moved, shape_of, trace

COPIES = frozenset({"Concat", "Pad"})


def gather_windows(model: ir.Model) -> tuple[ir.Model, int]:
    """Replace each chain of copies of rows by one Gather; returns how many."""
    return model, gather_chains(model, COPIES, "gather_windows")


def gather_chains(model: ir.Model, kinds: frozenset[str], mark: str) -> int:
    """Replace each chain of moved rows, in which an operator of ``kinds`` takes part, by one Gather; returns how many."""
    count = 0
    for node in list(model.graph):
        for value in node.outputs:
            moved = chain(value, kinds)
            if moved is not None:
                _replace(model, value, moved, mark)
                count += 1
    return count


def chain(value: ir.Value, kinds: frozenset[str]) -> Moved | None:
    """Return a value that ends a chain of moved rows, as rows of its source; None where there is no such chain."""
    producer, shape = value.producer(), shape_of(value)
    if producer is None or producer.op_type not in MOVES or not shape or not _ends(value):
        return None
    moved = trace(value)
    if moved is None or not kinds & {node.op_type for node in moved.nodes} or moved.source.producer() is None:
        return None
    width = (shape_of(moved.source) or (0,))[-1]
    if width < 2 or shape[-1] % width or any(not _inside(node, moved, value) for node in moved.nodes):
        return None
    rows = moved.indices.reshape(-1, width)
    whole = np.where(rows[:, :1] == ZERO, ZERO, rows[:, :1] + np.arange(width))
    aligned = (rows[:, 0] % width == 0) | (rows[:, 0] == ZERO)
    return moved if aligned.all() and np.array_equal(rows, whole) else None


def _ends(value: ir.Value) -> bool:
    """Say whether something other than a copy reads the value, or the graph ends with it."""
    return value.is_graph_output() or any(reader.op_type not in MOVES for reader, _ in value.uses())


def _inside(node: ir.Node, moved: Moved, end: ir.Value) -> bool:
    """Say whether nothing outside the chain reads what a node of it makes, or it only reshapes the source."""
    if node.op_type == "Reshape" and node.inputs[0] is moved.source:
        return True
    return all(value is end or _inside_only(value, moved) for value in node.outputs)


def _inside_only(value: ir.Value, moved: Moved) -> bool:
    return not value.is_graph_output() and all(reader in moved.nodes for reader, _ in value.uses())


def _replace(model: ir.Model, value: ir.Value, moved: Moved, mark: str) -> None:
    shape, whole = shape_of(value) or (), shape_of(moved.source) or ()
    width, total = whole[-1], prod(whole[:-1])
    rows = moved.indices.reshape(-1, width)[:, 0]
    picked = np.where(rows == ZERO, total, rows // width).reshape(*shape[:-1], shape[-1] // width)
    new = Inserter(model, moved.nodes[0], str(moved.nodes[0].name), mark)
    flat = new.reshape(moved.source, (total, width), "rows")
    if (rows == ZERO).any():
        zero = new.constant(np.zeros((1, width), (value.dtype or ir.DataType.FLOAT).numpy()), "zero")
        flat = new.node("Concat", [flat, zero], (total + 1, width), "padded", axis=0)
    made = new.node("Gather", [flat, new.constant(picked, "indices")], (*picked.shape, width), "moved", axis=0)
    if made.shape != ir.Shape(shape):
        made = new.reshape(made, shape, "shaped")
    supersede(model, value, made)
    unread = [node for node in moved.nodes if all(_inside_only(output, moved) for output in node.outputs)]
    model.graph.remove(unread, safe=True)
