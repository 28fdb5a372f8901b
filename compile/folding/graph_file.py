"""Fold a float ONNX file of any origin: linear maps are composed where that costs less, proven in float64."""

import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from bundle.base.array_files import read_member
from bundle.base.errors import GraphError, InputError
from bundle.base.frozen import faults
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.formats.fold import FoldProof
from bundle.formats.outputs import marked, overwriting, require_file
from compile.folding.choice.price import graph_price
from compile.folding.choice.search import Search
from compile.folding.drawing import draw
from compile.folding.engine import Elimination, cast, eliminate
from compile.folding.proof import Differences, Feeds, as_record, floors_of, prove, require_single, worst
from compile.folding.record import FoldedGraph, ScopeCost, ValueDecision
from compile.folding.tables import NOTHING, costs_by_scope
from compile.folding.task_subset import keep_outputs
from compile.graphs.cost import graph_cost
from compile.graphs.nodes import shape_of
from compile.graphs.read_onnx import flatten, read_model
from compile.stage.compare import run_model
from compile.stage.console import EscapingConsole
from targets.folding import Rates, rates_of

LEAST_OPSET, OPSET, IR_VERSION = 18, 20, 10
PRODUCER = "tdss fold"
FOLDED = marked(PRODUCER.encode())  # what the command may write over
NOTABLE = 5e3  # of a cost, in multiply-accumulates


def fold_file(
    path: Path,
    out: Path | None,
    feeds: Path | None,
    count: int,
    target: str,
    progress: Callable[[str], None],
    *,
    outputs: Sequence[str] = (),
) -> FoldedGraph:
    """Fold the graph in ``path`` by what work costs ``target``, write it to ``out`` if that is given, and return what was done.

    ``outputs`` are kept, all where none is named.

    The proof runs on the arrays in ``feeds`` (.npz, an array for each input), or on ``count`` sets of seeded random numbers.

    Raises:
        GraphError: the file cannot be read or run, or folding changed what it computes.
        ConfigError: there is no such target, its costs cannot be read, or the graph has no output of a name.
        InputError: ``out`` is another file, or the inputs do not fit the graph.
    """
    rates = rates_of(target)
    if out is not None:
        require_file(out, FOLDED, [path])
    model = keep_outputs(read_graph(path), outputs) if outputs else read_graph(path)
    inputs = read_feeds(model, feeds) if feeds is not None else random_feeds(model, count)
    progress(f"fold: {len(model.graph)} nodes, for {target}")
    folding = eliminate(model, rates, progress)
    progress(f"fold: proving on {len(inputs)} inputs")
    exact = prove(model, folding, inputs, rates)
    folded = cast(folding.model)
    pays = graph_price(folded, rates) < graph_price(model, rates)
    single = run_differences(model, folded if pays else model, inputs)
    require_single(single, floors_of(model, inputs), fix="report the file")
    if out is not None:
        with overwriting(out, FOLDED) as temporary:
            write_graph(folded if pays else model, temporary)
    proof = as_record(exact, single, len(inputs))
    return describe(model, folded if pays else model, folding, target, rates, proof, pays=pays)


def read_graph(path: Path) -> ir.Model:
    """Read a float graph as the engine takes it: functions inlined, shapes inferred, opset 18 or newer.

    Raises:
        GraphError: it cannot be read, it branches or loops, or it is quantized already.
    """
    from onnxscript.version_converter import convert_version

    model = flatten(read_model(path), path.name)
    nested = sorted({node.op_type for node in model.graph if any(_is_graph(one) for one in node.attributes.values())})
    quantized = sorted({node.op_type for node in model.graph if "Quant" in node.op_type})
    outputs = (output.dtype for node in model.graph for output in node.outputs)
    floats = sorted({kind.name for kind in outputs if kind is not None and kind.is_floating_point()})
    mixed = floats if len(floats) > 1 else []
    if nested or quantized or mixed:
        raise GraphError(
            f"{path.name} cannot be folded",
            expected="a graph of one float type without branches and loops",
            got=", ".join(nested or quantized or mixed),
            where=str(path),
            fix="fold the float graph, before quantization and mixed precision",
        )
    if model.graph.opset_imports.get("", 0) < LEAST_OPSET:
        convert_version(model, target_version=OPSET, fallback=True)
        model = flatten(model, path.name)
    model.ir_version = min(model.ir_version, IR_VERSION)  # runtimes refuse the newest
    return model


def _is_graph(attribute: ir.Attr) -> bool:
    return attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def random_feeds(model: ir.Model, count: int) -> Feeds:
    """Return standard normal numbers for every input.

    Raises:
        InputError: an input is no float, or its shape is not known.
    """
    whole = [name for name, (_, kind) in _inputs(model).items() if kind.kind != "f"]
    if whole:
        raise InputError(
            "the proof needs inputs",
            expected="an .npz file, since not every input is a float",
            got=f"no float: {', '.join(whole)}",
            where="the command line",
            fix="give --inputs FILE.npz with an array for every input",
        )
    rng = np.random.default_rng(0)
    return [
        {name: rng.standard_normal(shape).astype(kind) for name, (shape, kind) in _inputs(model).items()}
        for _ in range(count)
    ]


def read_feeds(model: ir.Model, path: Path) -> Feeds:
    """Return the arrays of an .npz file as one feed.

    Raises:
        InputError: an input is missing or has another shape.
    """
    wanted = _inputs(model)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name: read_member(archive, name) for name in wanted}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path.name} cannot be read",
            expected=f"an .npz file with an array for every input: {', '.join(wanted)}",
            got=faults(error),
            where=str(path),
            fix="store one with numpy.savez",
        ) from error
    for name, (shape, kind) in wanted.items():
        if arrays[name].shape != shape or arrays[name].dtype != kind:
            raise InputError(
                f"{path.name} does not fit the graph",
                expected=f"{name!r} {kind} {list(shape)}",
                got=f"{arrays[name].dtype} {list(arrays[name].shape)}",
                where=str(path),
                fix="give it in the graph's shape",
            )
    return [arrays]


def _inputs(model: ir.Model) -> dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]:
    found = {}
    for value in model.graph.inputs:
        if value.const_value is not None or str(value.name) in model.graph.initializers:
            continue
        shape = shape_of(value)
        if shape is None or value.dtype is None:
            raise InputError(
                f"the shape of input {value.name!r} is not known",
                expected="a static shape",
                got=f"{value.dtype} {value.shape}",
                where="the graph's inputs",
                fix="export the model with static shapes",
            )
        found[str(value.name)] = (shape, value.dtype.numpy())
    return found


def run_differences(model: ir.Model, folded: ir.Model, feeds: Feeds) -> Differences:
    """Return the largest relative and absolute difference of each output of two graphs in ONNX Runtime."""
    return worst(zip(*(run_model(one, feeds, threads=0) for one in (model, folded)), strict=True))


def write_graph(model: ir.Model, path: Path) -> None:
    """Write a folded graph, marked as this command's own."""
    model.producer_name = PRODUCER
    ir.save(model, path)


def describe(
    model: ir.Model, folded: ir.Model, folding: Elimination, target: str, rates: Rates, proof: FoldProof, *, pays: bool
) -> FoldedGraph:
    """Return the record of a folding."""
    before, after = graph_cost(model), graph_cost(folded)
    return FoldedGraph(
        outcome="folded" if pays else "nothing pays",
        target=target,
        rates=rates,
        macs_before=before.macs,
        macs_after=after.macs,
        params_before=before.params,
        params_after=after.params,
        nodes_before=before.nodes,
        nodes_after=after.nodes,
        cost_before=graph_price(model, rates),
        cost_after=graph_price(folded, rates),
        proof=proof,
        scopes=tuple(scope_costs(model, folded)),
        values=tuple(decisions(folding, rates)),
        untouched=_by_reason(folding.network.notes),
    )


def scope_costs(model: ir.Model, folded: ir.Model) -> Iterable[ScopeCost]:
    """Yield what each module scope costs before and after, in the order of the graph."""
    was, now = costs_by_scope(model), costs_by_scope(folded)
    for scope in dict.fromkeys([*was, *now]):
        before, after = was.get(scope, NOTHING), now.get(scope, NOTHING)
        yield ScopeCost(
            scope=scope,
            macs_before=before.macs,
            macs_after=after.macs,
            bytes_before=before.moved,
            bytes_after=after.moved,
            nodes_before=before.nodes,
            nodes_after=after.nodes,
        )


def decisions(folding: Elimination, rates: Rates) -> Iterable[ValueDecision]:
    """Yield for every value of a folding whether it is kept, and what the other choice would cost more."""
    search = Search(folding.network, rates)
    search.start(folding.found.kept)
    free = set(search.free)
    for uid in sorted(search.live):
        value = folding.network.values[uid]
        if value.is_source:
            continue
        kept = uid in search.kept
        more = search.difference(uid) if uid in free else None
        yield ValueDecision(
            value=value.name,
            positions=value.positions,
            channels=value.channels,
            decision="kept" if kept else "eliminated",
            reason=_reason(value.read, uid in free, more, kept=kept),
            macs=more,
        )


def _reason(read: bool, free: bool, more: float | None, *, kept: bool) -> str:
    if read:
        return "a node that is not linear, or an output, reads it"
    if not free:
        return "its only reader takes it as it is"
    if more is None:
        return "it cannot be eliminated here" if kept else "keeping it is not possible here"
    other = "eliminate" if kept else "keep"
    return f"to {other} it costs {more / 1e6:.2f} M more" if more >= NOTABLE else f"to {other} it costs the same"


def _by_reason(notes: dict[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, reason in notes.items():
        found.setdefault(reason, []).append(name)
    return {reason: tuple(names) for reason, names in sorted(found.items())}


def show(record: FoldedGraph, out: Path | None, *, explain: bool, as_json: bool) -> None:
    """Print a record: as JSON, as tables, or in one line."""
    if as_json:
        print_answer(dumps(record.model_dump(mode="json")))
    elif explain:
        EscapingConsole(width=None if sys.stdout.isatty() else 200).print(draw(record))
    else:
        print_answer(
            f"{record.outcome} for {record.target}: {record.macs_before / 1e6:.6g} → {record.macs_after / 1e6:.6g} M MACs, "
            f"{record.nodes_before} → {record.nodes_after} nodes{'' if out is None else f', {out}'}"
        )
