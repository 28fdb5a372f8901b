"""Compute values of an ONNX graph in float64, whatever float types it names: what an exact change must not move."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir
import torch
from torch import Tensor, fx

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
    return evaluate_each(model, [feeds], outputs)[0]


def evaluate_each(
    model: ir.Model, feeds: Sequence[Mapping[str, Array]], outputs: Sequence[str] | None = None
) -> list[dict[str, Array]]:
    """Evaluate a graph, converted once, on each of the feeds; they name the same values.

    Raises:
        GraphError: as ``evaluate``.
    """
    names = [str(value.name) for value in model.graph.outputs] if outputs is None else list(outputs)
    values = values_of(model.graph)
    for feed in feeds:
        for name, array in feed.items():
            if name in values:
                _require_shape(values[name], array)
    module = to_module(model, {name: _in_float64(array) for name, array in feeds[0].items()}, names, IN_FLOAT64)
    answers = [_run(module, [feed[name] for name in feeds[0]], names, str(model.graph.name)) for feed in feeds]
    module.to_empty(device="meta")  # its constants are as large as the model, and it is part of a cycle
    return answers


def _run(module: fx.GraphModule, arrays: Sequence[Array], names: Sequence[str], graph: str) -> dict[str, Array]:
    try:
        with torch.no_grad():
            results: tuple[Tensor, ...] = module(*map(_in_float64, arrays))
    except FAULTS as error:
        raise GraphError(
            "the graph cannot be computed on these inputs",
            expected="inputs that every node takes",
            got=f"{type(error).__name__}: {error}",
            where=f"graph {graph!r}",
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
