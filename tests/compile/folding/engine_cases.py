"""What an engine that folds graphs must do; each function takes the engine: a graph in, the folded graph out.

The engine folds a float64 graph in float64 and a float32 one in float32, and leaves the graph it is given alone.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from compile.graphs.cost import graph_cost
from targets.folding import Rates
from tests.compile.folding.exact import Arrays, checked, error, run_exactly, run_float32, widen
from tests.compile.folding.foreign import Foreign

Engine: TypeAlias = Callable[[ir.Model], ir.Model]
Cost: TypeAlias = Callable[[ir.Model], float]

EXACT = 1e-11
FLOAT32 = 1e-5
RATES = Rates(element=10.0, operator=3e5, thin=192)  # of the size of a target's
WORSE = 10  # a folded graph sums in another order: its float32 error may be so many times that of the graph as it came


def stays_the_same(engine: Engine, model: ir.Model, feeds: Arrays) -> ir.Model:
    """Fold in both types: valid graphs, the same interface and numbers, the given graph as it was; returns the float32 one."""
    wide = widen(model)
    want = run_exactly(wide, feeds)
    _folds(engine, wide, lambda folded: error(run_exactly(folded, feeds), want), EXACT)
    bound = max(FLOAT32, WORSE * error(run_float32(model, feeds), want))
    return _folds(engine, model, lambda folded: error(run_float32(folded, feeds), want), bound)


def _folds(engine: Engine, model: ir.Model, error_of: Cost, bound: float) -> ir.Model:
    before = checked(model).SerializeToString(deterministic=True)
    folded = engine(model)
    assert checked(model).SerializeToString(deterministic=True) == before, "the engine changed the graph it was given"
    assert interface(folded) == interface(model)
    found = error_of(folded)
    assert found <= bound, f"the largest relative error is {found:.3g}, the bound {bound:g}"
    return folded


def interface(model: ir.Model) -> list[tuple[str | None, str, str]]:
    """Inputs and outputs: names, types and shapes."""
    return [(value.name, str(value.dtype), str(value.shape)) for value in (*model.graph.inputs, *model.graph.outputs)]


def costs_no_more(engine: Engine, model: ir.Model, cost: Cost) -> None:
    """The target's cost never rises, folding again changes nothing of it, and the same graph folds to the same bytes."""
    once, again = engine(model), engine(model)
    assert checked(once).SerializeToString(deterministic=True) == checked(again).SerializeToString(deterministic=True)
    assert cost(once) <= cost(model)
    assert cost(engine(once)) <= cost(once)


def comes_down_to_its_golden(engine: Engine, case: Foreign) -> None:
    """No more nodes, MACs and parameters than the merged graph, and the numbers are its own.

    The engine may find more than the merge did; then it finds it in the merged graph too.
    """
    folded, golden = stays_the_same(engine, case.model, case.feeds), case.golden
    own = dict(zip(outputs(case.model), run_exactly(widen(golden), case.feeds).values(), strict=True))
    assert error(run_float32(folded, case.feeds), own) <= FLOAT32
    assert len(operators(folded)) <= len(operators(golden))
    assert len(operators(folded)) == len(operators(engine(golden)))
    found, most = graph_cost(folded), graph_cost(golden)
    assert found.macs <= most.macs
    assert found.params <= most.params


def outputs(model: ir.Model) -> list[str]:
    """Names of a graph's outputs."""
    return [str(value.name) for value in model.graph.outputs]


def operators(model: ir.Model) -> list[str]:
    """Every node's operator; constants that are nodes count as the initializers they could be."""
    return sorted(node.op_type for node in model.graph if node.op_type != "Constant")


def reads_the_norm_beside_the_mlp(engine: Engine, case: Foreign) -> None:
    """The known trap: a norm with several readers, one of them an adapter, may lose its gain only if all readers take it up."""
    folded = stays_the_same(engine, case.model, case.feeds)
    assert graph_cost(folded).macs <= graph_cost(case.model).macs
    assert len(operators(folded)) < len(operators(case.model)), "the adapter's scale is folded into a matrix"
    other = {name: 2 * np.flip(array, -1) + 1 for name, array in case.feeds.items()}
    assert error(run_float32(folded, other), run_exactly(widen(case.model), other)) <= FLOAT32
