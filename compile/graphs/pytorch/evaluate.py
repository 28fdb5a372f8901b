"""Compute values of an ONNX graph in float64, whatever float types it names: what an exact change must not move."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir
import torch
from torch import Tensor

from bundle.base.errors import GraphError
from compile.graphs.pytorch.constants import IN_FLOAT64
from compile.graphs.pytorch.convert import FAULTS, to_module, values_of
from compile.stage.graph_info import Array


def evaluate(model: ir.Model, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
    """Return values of a graph by name, every float of it in float64: the graph's outputs, or any that ``outputs`` names.

    ``feeds`` may also give inner values: what comes before one of them is not computed. Values are freed when the last
    node has read them.

    Raises:
        GraphError: a value is missing or has another shape than the graph says, or a node cannot be computed.
    """
    names = [str(value.name) for value in model.graph.outputs] if outputs is None else list(outputs)
    values = values_of(model.graph)
    for name, array in feeds.items():
        if name in values:
            _require_shape(values[name], array)
    given = {name: _in_float64(array) for name, array in feeds.items()}
    module = to_module(model, given, names, IN_FLOAT64)
    try:
        with torch.no_grad():
            results: tuple[Tensor, ...] = module(*given.values())
    except FAULTS as error:
        raise GraphError(
            "the graph cannot be computed on these inputs",
            expected="inputs that every node takes",
            got=f"{type(error).__name__}: {error}",
            where=f"graph {model.graph.name!r}",
            fix="give other inputs",
        ) from error
    return {name: result.numpy() for name, result in zip(names, results, strict=True)}


def _in_float64(array: Array) -> Tensor:
    tensor = torch.tensor(array)
    return tensor.double() if tensor.is_floating_point() else tensor


def _require_shape(value: ir.Value, array: Array) -> None:
    sizes = None if value.shape is None else list(value.shape)
    fits = sizes is None or (
        len(sizes) == array.ndim
        and all(not isinstance(size, int) or size == got for size, got in zip(sizes, array.shape, strict=True))
    )
    if not fits:
        raise GraphError(
            f"value {value.name!r} has another shape",
            expected=str(value.shape),
            got=str(list(array.shape)),
            where="the inputs given",
            fix="give it in the graph's shape",
        )
