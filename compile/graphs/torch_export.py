"""A PyTorch module as ONNX: plain operators of one opset, clean, without what the exporter says about itself."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bundle.base.errors import GraphError

if TYPE_CHECKING:
    import onnx_ir
    import torch
    from torch import nn
    from torch.export import ExportedProgram

OPSET = 20
NATIVE = ""  # the domain of standard operators
PAIRS = "SlicesSplit"


def to_onnx(
    module: "nn.Module | ExportedProgram",
    example: "tuple[torch.Tensor, ...]",
    inputs: list[str],
    outputs: list[str] | None,
) -> "onnx_ir.Model":
    """Return a module, with an example of its inputs, or a program as a clean graph with these names; None leaves outputs as they are.

    Raises:
        GraphError: the exporter left something a target cannot take.
    """
    import torch

    from compile.graphs.clean import clean_export

    with quiet_export(), _without_pairs(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise GraphError(
            "the exporter returned nothing",
            expected="an ONNX program",
            got="None",
            where="torch.onnx.export",
            fix="use the pinned version of torch",
        )
    return _check_operators(clean_export(program.model))


def _check_operators(graph: "onnx_ir.Model") -> "onnx_ir.Model":
    foreign = sorted({f"{node.domain}::{node.op_type}" for node in graph.graph if node.domain != NATIVE})
    opset = graph.opset_imports.get(NATIVE)
    if foreign or graph.functions or opset != OPSET:
        raise GraphError(
            "the exported graph is not plain ONNX",
            expected=f"standard operators of opset {OPSET}",
            got=f"opset {opset}, operators {foreign}, {len(graph.functions)} functions",
            where="the exported graph",
            fix="express the module in operations that ONNX has",
        )
    return graph


@contextmanager
def _without_pairs() -> Iterator[None]:
    """Leave out onnxscript's one rule of two outputs, which makes a Split of two Slices.

    For each node it goes through the whole graph (onnxscript 0.7.2), which took a third of an export, and it fires on no
    model here. A rule of one output looks at a node and what is behind it.
    """
    from onnxscript import rewriter

    rules = rewriter._DEFAULT_REWRITE_RULES
    rewriter._DEFAULT_REWRITE_RULES = tuple(rule for rule in rules if rule.name != PAIRS)
    try:
        yield
    finally:
        rewriter._DEFAULT_REWRITE_RULES = rules


@contextmanager
def quiet_export() -> Iterator[None]:
    """Silence what the exporter says about packages this project does not use and about its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
