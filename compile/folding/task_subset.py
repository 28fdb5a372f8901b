"""Some of a graph's outputs: the others are dropped, and what has no reader is removed.

before   F_t = G + D_t + γ_t ⊙ W_c [G ; mean_t D_t] of every task t
after    the same F_t of the tasks kept; the mean still reads what every trained task adds
"""

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from bundle.formats.fold import FoldRecord
from compile.graphs.cost import graph_cost
from tdss.task_names import require_known

TASK_SUBSET = "task_subset"


def keep_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Return a copy that gives these outputs only, in the graph's order.

    Raises:
        ConfigError: a name is none of an output, occurs twice, or there is none.
    """
    kept = require_known([str(output.name) for output in model.graph.outputs], names)
    small = model.clone()
    for output in [one for one in small.graph.outputs if one.name not in kept]:
        small.graph.outputs.remove(output)
    return RemoveUnusedNodesPass()(small).model


def subset_line(model: ir.Model, small: ir.Model) -> FoldRecord:
    """Return the line of fold.json that says what the outputs dropped save."""
    kept = [str(output.name) for output in small.graph.outputs]
    gone = [str(output.name) for output in model.graph.outputs if output.name not in kept]
    before, after = graph_cost(model), graph_cost(small)
    return FoldRecord(
        module="decoders",
        rule=TASK_SUBSET,
        decision="folded",
        reason=f"what only {', '.join(gone)} needs is gone",
        exact=True,
        max_abs_error=0.0,
        params_before=before.params,
        params_after=after.params,
        macs_before=before.macs,
        macs_after=after.macs,
        bytes_before=before.moved,
        bytes_after=after.moved,
        form=",".join(kept),
    )
