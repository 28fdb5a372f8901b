"""What an ONNX file may hold that the graph in memory cannot: sparse tensors, and data beside the file that is not all there."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

SPARSE_CONSTANT, SPARSE_INITIALIZER = "sparse Constant", "sparse initializer"
"""The operators that stand for sparse tensors: TensorRT's parser has no importer for them either."""


def replace_sparse(model: onnx.ModelProto) -> None:
    """Put a node without inputs where a graph or a function holds a sparse tensor, in place: of its type and shape, without values.

    Raises:
        ValueError: a Constant has more or less than one value.
    """
    inside = (graph for function in model.functions for node in function.node for graph in _below(node))
    for graph in (*_graphs(model.graph), *inside):
        for held in graph.sparse_initializer:
            graph.value_info.append(_typed(held.values.name, held))
            graph.node.insert(0, onnx.helper.make_node(SPARSE_INITIALIZER, [], [held.values.name]))
        del graph.sparse_initializer[:]
        _replace_constants(graph)
    for function in model.functions:
        _replace_constants(function)


def _replace_constants(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    for node in graph.node:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            continue
        if len(node.attribute) != 1 or len(node.output) != 1:
            raise ValueError(f"Constant of {', '.join(node.output)} has {len(node.attribute)} values")
        if node.attribute[0].type == onnx.AttributeProto.SPARSE_TENSOR:
            node.op_type = SPARSE_CONSTANT
            graph.value_info.append(_typed(node.output[0], node.attribute[0].sparse_tensor))
            del node.attribute[:]


def _typed(name: str, held: onnx.SparseTensorProto) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, held.values.data_type, list(held.dims))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        yield from _below(node)


def _below(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _graphs(graph)


def settle_external(model: ir.Model, folder: Path) -> None:
    """Look for the data that tensors name in ``folder``, those of branches and functions too; nothing is read.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is shorter than a tensor needs, or lies somewhere else, where it is not read.
    """
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        ir.external_data.set_base_dir(graph, folder)
        for tensor in _tensors(graph):
            if isinstance(tensor, ir.ExternalTensor):
                _check(tensor, Path(tensor.path), folder)


def _tensors(graph: ir.Graph) -> Iterator[ir.TensorProtocol]:
    for one in (graph, *graph.subgraphs()):
        yield from (value.const_value for value in one.initializers.values() if value.const_value is not None)
    for node in graph.all_nodes():
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                yield attribute.as_tensor()


def _check(tensor: ir.ExternalTensor, path: Path, folder: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"external data {tensor.location} is missing")
    held, needed = path.stat().st_size, (tensor.offset or 0) + max(tensor.length or 0, tensor.nbytes)
    if held < needed:
        raise ValueError(f"external data {tensor.location} holds {held} bytes, and {tensor.name} ends at {needed}")
    if not path.resolve().is_relative_to(folder.resolve()) or path.stat().st_nlink > 1:
        raise ValueError(
            f"external data {tensor.location} lies outside of the model's folder, or is a hard link: copy it"
        )
