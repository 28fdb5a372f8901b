"""The proof of a folded graph, in float64 and float32, and if it fails, which elimination breaks it."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from bundle.base.errors import GraphError
from bundle.formats.fold import FoldProof
from compile.folding.choice.plan import make_plan
from compile.folding.choice.search import Search
from compile.folding.emit import emit
from compile.folding.engine import Elimination
from compile.graphs.output_floors import output_floors
from compile.graphs.pytorch.evaluate import evaluate_each
from compile.stage.graph_info import Array
from targets.folding import Rates

EXACT_RELATIVE = 1e-11  # float64: largest |a − b| of an output over its largest |b|
FLOAT32_RELATIVE = 1e-4  # float32: the order of summation changes; 1e-5 is usual
Feeds = Sequence[Mapping[str, Array]]
Differences = tuple[dict[str, float], dict[str, float]]  # relative and absolute, by output
Floors = Callable[[], Mapping[str, float]]


def prove(model: ir.Model, folding: Elimination, feeds: Feeds, rates: Rates) -> Differences:
    """Compare the folded model, its constants in float64, with the model on every feed; return the largest relative and
    absolute difference of each output.

    Raises:
        GraphError: they differ; the first elimination that breaks is named.
    """
    measured = differences(model, folding.model, feeds)
    found = beyond(measured, EXACT_RELATIVE, floors_of(model, feeds))
    if found:
        raise GraphError(
            "folding changed what the graph computes",
            expected=f"relative difference ≤ {EXACT_RELATIVE:g} in float64",
            got=found,
            where=first_break(model, folding, feeds, rates),
            fix="report the file; build with folding off (--fold none)",
        )
    return measured


def floors_of(model: ir.Model, feeds: Feeds) -> Floors:
    """Return what measures the sizes below which the model's outputs are too small to be measured against themselves."""
    return lambda: output_floors(model.clone(), feeds, threads=0)


def differences(model: ir.Model, folded: ir.Model, feeds: Feeds) -> Differences:
    """Return max |a − b| / max |b| and max |a − b| of each output over all feeds, both in float64.

    Raises:
        GraphError: the model's own outputs are not finite, or a node cannot be computed.
    """
    answers, wanted = evaluate_each(folded, feeds), evaluate_each(model, feeds)
    for want in wanted:
        for name, array in want.items():
            if not np.isfinite(array.astype(np.float64)).all():
                raise GraphError(
                    f"output {name!r} is not finite before any folding",
                    expected="finite outputs",
                    got="NaN or infinity",
                    where="the graph given",
                    fix="give inputs that the model takes, or a sound model",
                )
    return worst(zip(wanted, answers, strict=True))


def worst(runs: Iterable[tuple[Mapping[str, Array], Mapping[str, Array]]]) -> Differences:
    """Return the largest max |a − b| / max |b| and max |a − b| of each output over pairs (b, a); NaN where one is NaN.

    Of an output of integers, as a label map, the first is the share of elements that differ.
    """
    relative: dict[str, float] = {}
    absolute: dict[str, float] = {}
    for want, got in runs:
        for name, array in want.items():
            reference, answer = array.astype(np.float64), got[name].astype(np.float64)
            largest = np.abs(answer - reference).max(initial=0)
            share = largest / max(float(np.abs(reference).max(initial=0)), 1e-30)
            if np.issubdtype(array.dtype, np.integer):
                share = np.mean(answer != reference)
            absolute[name] = float(np.maximum(absolute.get(name, 0.0), largest))
            relative[name] = float(np.maximum(relative.get(name, 0.0), share))
    return relative, absolute


def beyond(measured: Differences, limit: float, floors: Floors) -> str:
    """Name the outputs that are off by more than the limit, relative to their size or their floor; nothing where none is."""
    relative, absolute = measured
    far = {name: error for name, error in relative.items() if not error <= limit}
    floor = floors() if far else {}
    return ", ".join(
        f"{error:.3g} on {name}" for name, error in far.items() if not absolute[name] <= limit * floor.get(name, np.nan)
    )


def require_single(measured: Differences, floors: Floors, fix: str) -> None:
    """Check the differences of a run in float32.

    Raises:
        GraphError: one is above ``FLOAT32_RELATIVE``, or NaN.
    """
    found = beyond(measured, FLOAT32_RELATIVE, floors)
    if found:
        raise GraphError(
            "the folded graph is not accurate in float32",
            expected=f"relative difference ≤ {FLOAT32_RELATIVE:g}",
            got=found,
            where="ONNX Runtime",
            fix=fix,
        )


def first_break(model: ir.Model, folding: Elimination, feeds: Feeds, rates: Rates) -> str:
    """Name the first elimination, in the graph's order, without which the graph still computes the same."""
    network, search = folding.network, Search(folding.network, rates)
    search.start(search.free)
    kept_all = set(search.kept)
    gone = [uid for uid in search.free if uid in kept_all and uid not in folding.found.kept]

    def breaks(count: int) -> bool:
        plan = make_plan(network, kept_all - set(gone[:count]), rates)
        measured = differences(model, emit(folding.origin, network, plan, rates), feeds[:1])
        return bool(beyond(measured, EXACT_RELATIVE, floors_of(model, feeds[:1])))

    if breaks(0):
        return "the graph is wrong before any elimination"
    good, bad = 0, len(gone)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if breaks(middle) else (middle, bad)
    return f"the elimination of {network.values[gone[bad - 1]].name}"


def as_record(exact: Differences, single: Differences, images: int) -> FoldProof:
    """Return the proof as the record stores it."""
    return FoldProof(
        images=images, float64=exact[0], float32=single[0], float64_max_abs=exact[1], float32_max_abs=single[1]
    )
