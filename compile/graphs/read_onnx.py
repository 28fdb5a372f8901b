"""Read an ONNX file of any origin: as a model whose graphs can be run, or not at all."""

import logging
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import PreconditionError
from onnx_ir.passes.common import InlinePass, ShapeInferencePass

from bundle.base.errors import GraphError
from bundle.base.frozen import faults
from bundle.base.terminal import say
from compile.graphs.protobuf import check_nodes, replace_sparse, settle_data
from compile.graphs.structure import check_structure, forget_unknown_sizes


def read_model(path: Path) -> ir.Model:
    """Read an ONNX file; what its tensors hold stays on disk where it is stored beside the file.

    Raises:
        GraphError: there is no such file, it is no ONNX, its graph cannot be run, or data it names is missing.
    """
    import onnx
    from google.protobuf.message import DecodeError

    _listen()
    try:
        proto = onnx.load(path, load_external_data=False)
        check_nodes(proto)
        check_structure(proto)
        forget_unknown_sizes(proto.graph)
        replace_sparse(proto)
        model = ir.from_proto(proto)
        settle_data(model, path.parent)
    except (OSError, DecodeError, ir.serde.SerdeError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise GraphError(
            f"{path.name} cannot be read as ONNX",
            expected="an ONNX model, with its external data beside it",
            got=faults(innermost(error)),
            where=str(path),
            fix="name another file, or export it again",
        ) from error
    if not len(model.graph):
        raise GraphError(
            f"{path.name} holds no node",
            expected="an ONNX model",
            got="an empty graph",
            where=str(path),
            fix="name another file, or export it again",
        )
    return model


def flatten(model: ir.Model, name: str) -> ir.Model:
    """Inline a model's functions and infer its shapes as far as they can be.

    A function with opsets of its own is read at the model's: what an operator is matters, not when it last changed.

    Raises:
        GraphError: a function calls itself, or takes a graph.
    """
    if model.functions:
        for function in model.functions.values():
            for domain, version in function.opset_imports.items():
                function.opset_imports[domain] = model.opset_imports.setdefault(domain, version)
        try:
            model = InlinePass()(model).model
        except (PreconditionError, ValueError, RuntimeError) as error:
            raise GraphError(
                f"{name} has a function that cannot be inlined",
                expected="functions that neither call themselves nor take graphs",
                got=str(innermost(error)),
                where=f"{name}, its functions",
                fix="export the model without functions",
            ) from error
    return ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model).model


class _Note(logging.Handler):
    """Says in one line what onnx-ir logs with a traceback: shapes that cannot be inferred end no command."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record."""
        error = record.exc_info[1] if record.exc_info else None
        text = (str(error) if error else "") or record.getMessage()
        say("note: " + text.partition("\n")[0])


def _listen() -> None:
    logger = logging.getLogger("onnx_ir")
    if not any(isinstance(handler, _Note) for handler in logger.handlers):
        logger.addHandler(_Note(logging.WARNING))
        logger.propagate = False


def innermost(error: BaseException) -> BaseException:
    """Return the error that a chain of them began with."""
    return error if error.__cause__ is None else innermost(error.__cause__)
