"""A number added to a product as a vector: NNCF corrects it as the bias, and fails on one that is not of the channels' size.

before   y = product(x, w) + c      c holds one number
after    y = product(x, w) + [c, c, …], one for each channel
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.nodes import WEIGHTED, constant, free_name, input_at, is_standard, label, register, shape_of


def spread_scalars(model: ir.Model) -> int:
    """Give each product's one-number bias the size of its channels; return how many there were."""
    count = 0
    for node in model.graph:
        if node.op_type not in ("Add", "Sub") or not is_standard(node):
            continue
        for index in (0, 1):
            array, shape = constant(input_at(node, index)), _channels(input_at(node, 1 - index))
            if array is not None and array.size == 1 and shape is not None:
                full = np.broadcast_to(array.reshape(()), shape).copy()
                node.replace_input_with(index, register(model, free_name(model.graph, f"{label(node)}/bias"), full))
                count += 1
    return count


def _channels(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the shape of a bias with one number for each channel of a product's output; None of anything else."""
    producer, shape = None if value is None else value.producer(), shape_of(value)
    if producer is None or not shape or producer.op_type not in WEIGHTED or not is_standard(producer):
        return None
    axis = 1 if producer.op_type.startswith("Conv") else len(shape) - 1
    return tuple(size if index == axis else 1 for index, size in enumerate(shape))
