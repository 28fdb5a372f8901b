"""A small module as the graph that folding sees: exported as compile/export.py does, then simplified as compile/simplify.py does."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir
import torch
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

from compile.graphs.clean import clean_export
from compile.graphs.onnxsim_worker import simplify_file
from compile.graphs.torch_export import OPSET, quiet_export


def export(
    module: nn.Module,
    *inputs: Tensor,
    names: Sequence[str] = ("x",),
    outputs: Sequence[str] | None = None,
    optimize: bool = True,
) -> ir.Model:
    """Export a module; without ``optimize`` the exporter folds constants and leaves batch norms as the module has them."""
    with quiet_export(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(names),
            output_names=outputs,
            external_data=False,
            verbose=False,
            optimize=optimize,
        )
    assert program is not None
    if not optimize:
        fold_constants(program.model)
    return clean_export(program.model)


def simplify(model: ir.Model) -> ir.Model:
    """Fold a small graph's constants with onnxsim, in this process."""
    with TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "source.onnx", Path(scratch) / "target.onnx"
        ir.save(model, source)
        simplify_file(source, target)
        return ir.load(target)


def export_simplified(
    module: nn.Module,
    *inputs: Tensor,
    names: Sequence[str] = ("x",),
    outputs: Sequence[str] | None = None,
    optimize: bool = True,
) -> ir.Model:
    """Export and simplify a module."""
    return simplify(export(module, *inputs, names=names, outputs=outputs, optimize=optimize))
