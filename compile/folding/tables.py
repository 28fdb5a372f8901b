"""What folding a model's graph did, in the form of a bundle: the lines of fold.json and the costs of the model's parts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import onnx_ir as ir

from bundle.formats.fold import FoldPart, FoldRecord
from compile.folding.record import ValueDecision, scope_of
from compile.graphs.cost import macs_by_node, moved_by, parameters

ELIMINATION = "elimination"
DEPTHS = {"backbone": 1, "adapter": 3, "decoders": 2}  # how many names of a scope make a part of the model
REST = "the rest"


class Cost(NamedTuple):
    """What some nodes of a graph cost for one image."""

    macs: int = 0
    moved: int = 0  # bytes
    params: int = 0
    nodes: int = 0

    def plus(self, other: "Cost") -> "Cost":
        """Return the sum."""
        return Cost(*(one + another for one, another in zip(self, other, strict=True)))


NOTHING = Cost()


def costs_by_node(model: ir.Model) -> dict[ir.Node, Cost]:
    """Return what each node costs; a parameter counts for the first node that reads it.

    Raises:
        GraphError: a shape is unknown.
    """
    macs, params = macs_by_node(model), dict.fromkeys(parameters(model), True)
    found = {}
    for node in model.graph:
        read = [value for value in dict.fromkeys(node.inputs) if value is not None and params.pop(value, False)]
        size = sum(value.const_value.size for value in read if value.const_value is not None)
        found[node] = Cost(macs.get(node, 0), moved_by(node), size, nodes=1)
    return found


def costs_by_scope(model: ir.Model) -> dict[str, Cost]:
    """Return what the nodes of each module scope cost, in the order of the graph; "" is what has none."""
    return _summed((scope_of(str(node.outputs[0].name)), cost) for node, cost in costs_by_node(model).items())


def macs_saved(model: ir.Model, folded: ir.Model) -> dict[str, int]:
    """Return how many multiply-accumulates each module scope no longer has in a folded graph."""
    was, now = costs_by_scope(model), costs_by_scope(folded)
    return {scope: cost.macs - now.get(scope, NOTHING).macs for scope, cost in was.items()}


def part_costs(before: Mapping[str, Cost], after: Mapping[str, Cost], tasks: Iterable[str]) -> tuple[FoldPart, ...]:
    """Return what the backbone, each adapter stage and each task's decoder cost in two graphs, from their costs by scope.

    Nodes that several parts share count for the first of them: the downsamplers of all tasks may be one product.
    """
    names = set(tasks)
    was, now = (_summed((_part_of(scope, names), cost) for scope, cost in side.items()) for side in (before, after))
    return tuple(_part(part, was.get(part, NOTHING), now.get(part, NOTHING)) for part in dict.fromkeys([*was, *now]))


def fold_lines(
    model: ir.Model, folded: ir.Model, decisions: Iterable[ValueDecision], worst: float
) -> Iterator[FoldRecord]:
    """Yield a line for every value that the fold had a choice about.

    Its costs are those of the nodes that compute it: before as the model's author wrote them, after in the folded graph.
    ``worst`` is the largest absolute difference of any output in float64, which all eliminations caused together.
    """
    was, now = ({_value_of(node): cost for node, cost in costs_by_node(side).items()} for side in (model, folded))
    emitted = _summed((name.rpartition("/")[0], cost) for name, cost in now.items())
    for one in decisions:
        if one.macs is None:
            continue
        before, gone = was.get(one.value, NOTHING), one.decision == "eliminated"
        after = NOTHING if gone else emitted.get(one.value, NOTHING).plus(now.get(one.value, NOTHING))
        yield FoldRecord(
            module=scope_of(one.value),
            rule=ELIMINATION,
            decision="folded" if gone else "kept",
            reason=f"{one.value}, {one.positions} positions × {one.channels} channels: {one.reason}",
            exact=True,
            max_abs_error=worst if gone else 0.0,
            params_before=before.params,
            params_after=after.params,
            macs_before=before.macs,
            macs_after=after.macs,
            bytes_before=before.moved,
            bytes_after=after.moved,
        )


def _value_of(node: ir.Node) -> str:
    return str(node.outputs[0].name)


def _part_of(scope: str, tasks: set[str]) -> str:
    names = scope.split(".")
    if names[0] in tasks:
        return f"decoders.{names[0]}"
    return ".".join(names[: DEPTHS.get(names[0], 1)]) or REST


def _part(part: str, before: Cost, after: Cost) -> FoldPart:
    return FoldPart(
        part=part,
        macs_before=before.macs,
        macs_after=after.macs,
        bytes_before=before.moved,
        bytes_after=after.moved,
        params_before=before.params,
        params_after=after.params,
    )


def _summed(costs: Iterable[tuple[str, Cost]]) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for name, cost in costs:
        found[name] = found.get(name, NOTHING).plus(cost)
    return found
