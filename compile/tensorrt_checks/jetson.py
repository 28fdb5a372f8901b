"""The warnings of the jetson target's own graphs that are known and wanted, each with what was measured.

The measurements are remade by ``python -m studies.lint_cost BUNDLE --original GRAPH``; their figures stand in docs/reference/lint.md.
"""

from compile.tensorrt_checks.findings import Accepted

_WHERE = "docs/reference/lint.md, 'What the accepted warnings cost', remade by python -m studies.lint_cost"

ACCEPTED: tuple[Accepted, ...] = (
    Accepted(
        rule="residual-input",
        node=r"backbone\..*",
        reason="the residual stream stays in float: every block adds to it, so what is rounded there stays to the end",
        measured=f"with the skip inputs quantized every task's SQNR falls and no kernel is saved: {_WHERE}",
    ),
    Accepted(
        rule="residual-input",
        node=r"adapter\..*",
        reason="an adapter's branches are summed in float: the sum goes to every decoder, whose own quantizer rounds it once",
        measured=f"with the skip inputs quantized every task's SQNR falls and no kernel is saved: {_WHERE}",
    ),
    Accepted(
        rule="residual-input",
        node=r"decoders\..*",
        reason="a decoder's sources have a product each, which are summed in float: one scale over all of them rounds the quiet ones away",
        measured=f"with the skip inputs quantized every task's SQNR falls and no kernel is saved: {_WHERE}",
    ),
    Accepted(
        rule="whole-operator",
        node=r"backbone\..*\.attn/MatMul",
        reason="an attention's query is float and its key rounded: one kernel computes the attention, and the joint projection stays in INT8",
        measured="targets/jetson/placement.json, docs/studies/quantization.md 'Attention and heads for TensorRT', remade by python -m studies.placement --write",
    ),
)
