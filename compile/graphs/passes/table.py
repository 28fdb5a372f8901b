"""The explicit table of passes, and the one way to run a target's list of them on a graph file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass, RemoveUnusedNodesPass

from bundle.base.errors import ConfigError, GraphError
from compile.graphs.passes.drop_bias_dequantization import drop_bias_dequantization
from compile.graphs.passes.flatten_tokens import flatten_tokens
from compile.graphs.passes.float_attention import float_attention
from compile.graphs.passes.float_query import float_query
from compile.graphs.passes.gather_rows import gather_rows
from compile.graphs.passes.gather_windows import gather_windows
from compile.graphs.passes.make_activations_per_tensor import make_activations_per_tensor
from compile.graphs.passes.make_activations_signed import make_activations_signed
from compile.graphs.passes.merge_attention_mask import merge_attention_mask
from compile.graphs.passes.mix_before_resize import mix_before_resize
from compile.graphs.passes.move_weight_dequantization import move_weight_dequantization
from compile.graphs.passes.pool_as_product import pool_as_product
from compile.graphs.passes.pool_in_two_steps import pool_in_two_steps
from compile.graphs.passes.quantize_biases import quantize_biases
from compile.graphs.passes.quantize_residual_inputs import quantize_residual_inputs
from compile.graphs.passes.repeat_quantizers import repeat_quantizers
from compile.graphs.passes.resize_as_products import resize_as_products
from compile.graphs.passes.scale_query_first import scale_query_first
from compile.graphs.passes.share_concat_scales import share_concat_scales
from compile.graphs.passes.split_projections import split_projections

Pass: TypeAlias = Callable[
    [ir.Model], tuple[ir.Model, int]
]  # the model it was given, edited, and how many sites it rewrote

PASSES: MappingProxyType[str, Pass] = MappingProxyType(
    {
        "make_activations_signed": make_activations_signed,
        "make_activations_per_tensor": make_activations_per_tensor,
        "drop_bias_dequantization": drop_bias_dequantization,
        "move_weight_dequantization": move_weight_dequantization,
        "scale_query_first": scale_query_first,
        "float_attention": float_attention,
        "float_query": float_query,
        "share_concat_scales": share_concat_scales,
        "quantize_residual_inputs": quantize_residual_inputs,
        "repeat_quantizers": repeat_quantizers,
        "quantize_biases": quantize_biases,
        "pool_in_two_steps": pool_in_two_steps,
        "pool_as_product": pool_as_product,
        "gather_windows": gather_windows,
        "mix_before_resize": mix_before_resize,
        "merge_attention_mask": merge_attention_mask,
        "resize_as_products": resize_as_products,
        "flatten_tokens": flatten_tokens,
        "split_projections": split_projections,
        "gather_rows": gather_rows,
    }
)


def apply_passes(names: Sequence[str], source: Path, target: Path) -> dict[str, int]:
    """Run the named passes in order on the graph in ``source``, write ``target``; return each one's answer by name.

    It is how many sites the pass rewrote or, of one that does not count them, whether it rewrote any.

    Raises:
        ConfigError: a name is not in the table.
        GraphError: a pass left an invalid graph; it and those that ran before it are named.
    """
    for name in names:
        if name not in PASSES:
            raise ConfigError(
                f"unknown pass {name!r}",
                expected=f"one of {', '.join(PASSES)}",
                got=repr(name),
                where="a target's list of passes",
                fix="correct the name, or add a line to compile/graphs/passes/table.py",
            )
    model, modified = ir.load(source), {}
    for name in names:
        model, modified[name] = PASSES[name](model)
        check_graph(model, name, list(modified))
    RemoveUnusedNodesPass()(model)
    ir.save(model, target)
    return modified


def check_graph(model: ir.Model, name: str, ran: list[str]) -> None:
    """Check a graph after the pass ``name``, the last of those that ``ran``.

    Raises:
        GraphError: onnx.checker or shape inference refuses it.
    """
    import onnx

    try:
        CheckerPass(full_check=True)(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(
            f"the pass {name} left an invalid graph",
            expected="a graph that onnx.checker accepts",
            got=str(error),
            where=f"after {', '.join(ran)}",
            fix="report it: this is a defect of the pass",
        ) from error
