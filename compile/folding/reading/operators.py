"""How each ONNX operator reads as a linear map: a view of its input, or a value made of terms."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import onnx_ir as ir

from compile.folding.linear.network import Network, View
from compile.folding.reading.elementwise import (
    read_add,
    read_batch_norm,
    read_concat,
    read_divide,
    read_mean,
    read_multiply,
    read_negate,
    read_subtract,
)
from compile.folding.reading.movement import (
    read_expand,
    read_gather,
    read_identity,
    read_reshape,
    read_slice,
    read_split,
    read_transpose,
)
from compile.folding.reading.positions import (
    kept_apart,
    read_average_pool,
    read_global_pool,
    read_pad,
    read_reduction,
    read_resize,
)
from compile.folding.reading.products import read_convolution, read_einsum, read_gemm, read_matmul

Read: TypeAlias = View | Sequence[View]
Operator: TypeAlias = Callable[[Network, ir.Node], Read]


def _apart(operator: Callable[[Network, ir.Node], View]) -> Operator:
    return lambda network, node: kept_apart(network, node, operator(network, node))


OPERATORS: dict[str, Operator] = {
    "Add": read_add,
    "AveragePool": _apart(read_average_pool),
    "BatchNormalization": read_batch_norm,
    "Concat": read_concat,
    "Conv": read_convolution,
    "ConvTranspose": read_convolution,
    "Div": read_divide,
    "Einsum": read_einsum,
    "Expand": read_expand,
    "Flatten": read_reshape,
    "Gather": read_gather,
    "Gemm": read_gemm,
    "GlobalAveragePool": _apart(read_global_pool),
    "Identity": read_identity,
    "MatMul": read_matmul,
    "Mean": read_mean,
    "Mul": read_multiply,
    "Neg": read_negate,
    "Pad": _apart(read_pad),
    "ReduceMean": _apart(partial(read_reduction, mean=True)),
    "ReduceSum": _apart(partial(read_reduction, mean=False)),
    "Reshape": read_reshape,
    "Resize": _apart(read_resize),
    "Slice": read_slice,
    "Split": read_split,
    "Squeeze": read_reshape,
    "Sub": read_subtract,
    "Sum": read_add,
    "Transpose": read_transpose,
    "Unsqueeze": read_reshape,
}
