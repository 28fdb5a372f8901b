"""Read an ONNX file as a PyTorch module, for a converter that starts from one."""

from pathlib import Path

import torch
from torch import fx

from bundle.base.errors import GraphError
from compile.graphs.nodes import shape_of
from compile.graphs.pytorch.constants import AS_WRITTEN, torch_type
from compile.graphs.pytorch.convert import to_module
from compile.graphs.read_onnx import read_model


def read_module(path: Path) -> fx.GraphModule:
    """Read an ONNX file whose inputs have static shapes; the module maps them, in the graph's order, to a tuple of its outputs.

    Raises:
        GraphError: the file cannot be read, an input's shape or type is open, or a node cannot be computed.
    """
    model = read_model(path)
    examples = {}
    for value in (value for value in model.graph.inputs if value.const_value is None):
        shape = shape_of(value)
        try:
            kind = torch_type(value.dtype, AS_WRITTEN)
        except ValueError as error:
            raise _open_input(path, str(value.name), str(error)) from error
        if shape is None:
            raise _open_input(path, str(value.name), f"shape {value.shape}")
        examples[str(value.name)] = torch.empty(shape, dtype=kind, device="meta")
    return to_module(model, examples, [str(value.name) for value in model.graph.outputs], AS_WRITTEN)


def _open_input(path: Path, name: str, got: str) -> GraphError:
    return GraphError(
        f"input {name!r} of {path.name} cannot be given",
        expected="a static shape and a type that torch has",
        got=got,
        where=str(path),
        fix="export the model for one image of one size",
    )
