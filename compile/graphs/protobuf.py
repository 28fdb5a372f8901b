"""What an ONNX file may hold that the rules cannot take: sparse tensors, nodes that lack something, data beside it that is not all there."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import onnx
import onnx_ir as ir

STANDARD = ("", "ai.onnx")
LARGEST_OPSET = 2**31 - 1  # onnx looks them up as 32-bit integers
SPARSE_CONSTANT, SPARSE_INITIALIZER = "sparse Constant", "sparse initializer"
"""The operators that stand for sparse tensors: TensorRT's parser has no importer for them either."""


def check_nodes(model: onnx.ModelProto) -> None:
    """Look whether every node has names that can be read, and as many inputs and outputs as its operator needs: rules count on it.

    Raises:
        ValueError: one has not.
    """
    for graph in _graphs(model.graph):
        _check_each(graph.node, model.opset_import)
    for function in model.functions:
        _check_each(function.node, function.opset_import)
        for graph in _inside(function):
            _check_each(graph.node, function.opset_import)


def _check_each(nodes: Iterable[onnx.NodeProto], imports: Iterable[onnx.OperatorSetIdProto]) -> None:
    opset = next((one.version for one in imports if one.domain in STANDARD), 0)
    if abs(opset) > LARGEST_OPSET:
        raise ValueError(f"there is no opset {opset}")
    for node in nodes:
        if not all(isinstance(text, str) for text in (node.name, node.op_type, node.domain, *node.input, *node.output)):
            raise ValueError(f"a node of {node.op_type!r} has a name that is no UTF-8")
        names = [attribute.name for attribute in node.attribute]
        if len(set(names)) < len(names) or onnx.AttributeProto.UNDEFINED in {one.type for one in node.attribute}:
            raise ValueError(
                f"{node.op_type} of {', '.join(node.output)} has an attribute twice, or one without a type"
            )
        known = _schema(node.op_type, opset) if node.domain in STANDARD else None
        if known is not None and (len(node.input) < known.min_input or len(node.output) < max(known.min_output, 1)):
            raise ValueError(f"{node.op_type} of {', '.join(node.output)} lacks an input or an output")
        if node.op_type == "Constant" and node.domain in STANDARD and len(node.attribute) != 1:
            raise ValueError(f"Constant of {', '.join(node.output)} has {len(node.attribute)} values")


@cache
def _schema(operator: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(operator, opset)
    except onnx.defs.SchemaError:
        return None


def replace_sparse(model: onnx.ModelProto) -> None:
    """Put a node without inputs where a graph or a function holds a sparse tensor, in place: of its type and shape, without values."""
    for graph in (*_graphs(model.graph), *(graph for function in model.functions for graph in _inside(function))):
        for held in graph.sparse_initializer:
            graph.value_info.append(_typed(held.values.name, held))
            graph.node.insert(0, onnx.helper.make_node(SPARSE_INITIALIZER, [], [held.values.name]))
        del graph.sparse_initializer[:]
        _replace_constants(graph)
    for function in model.functions:
        _replace_constants(function)


def _replace_constants(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    for node in graph.node:
        if (
            node.op_type == "Constant"
            and node.attribute
            and node.attribute[0].type == onnx.AttributeProto.SPARSE_TENSOR
        ):
            node.op_type = SPARSE_CONSTANT
            graph.value_info.append(_typed(node.output[0], node.attribute[0].sparse_tensor))
            del node.attribute[:]


def _typed(name: str, held: onnx.SparseTensorProto) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, held.values.data_type, list(held.dims))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        yield from _below(node)


def _inside(function: onnx.FunctionProto) -> Iterator[onnx.GraphProto]:
    for node in function.node:
        yield from _below(node)


def _below(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from _graphs(graph)


def settle_data(model: ir.Model, folder: Path) -> None:
    """Look for the data of all tensors, of branches and functions too; what they name in ``folder`` is not read.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file, or what the model itself holds of a tensor, is shorter than it needs; or a file lies somewhere else.
    """
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        ir.external_data.set_base_dir(graph, folder)
        for tensor in _tensors(graph):
            if isinstance(tensor, ir.ExternalTensor):
                _check(tensor, Path(tensor.path), folder)
            elif isinstance(tensor, ir.TensorProtoTensor):
                tensor.numpy()  # a view: it is as long as its shape says, or raises


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
    if tensor.length is not None and tensor.length < tensor.nbytes:
        raise ValueError(f"{tensor.name} needs {tensor.nbytes} bytes, and names {tensor.length} of {tensor.location}")
    if held < needed:
        raise ValueError(f"external data {tensor.location} holds {held} bytes, and {tensor.name} ends at {needed}")
    if not path.resolve().is_relative_to(folder.resolve()) or path.stat().st_nlink > 1:
        raise ValueError(
            f"external data {tensor.location} lies outside of the model's folder, or is a hard link: copy it"
        )
