"""What the accepted warnings cost: each one fixed in a copy of a bundle's INT8 graph, and both measured.

``python -m studies.lint_cost BUNDLE --original GRAPH`` prints a Markdown table of the graph as shipped and with one rule's
warnings fixed. It has the signal-to-noise ratio of every task's output against the float graph, and the kernels NVIDIA's
builder makes of each.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
import onnx_ir as ir
import typer
from onnx_ir.passes.common import RemoveUnusedNodesPass

from bundle.base.errors import GraphError
from bundle.base.limits import LIMITS
from bundle.base.terminal import print_answer
from bundle.formats.manifest import Bundle, load_bundle
from bundle.formats.tensorrt_checks import Finding
from bundle.tasks.agreement import signal_energy, sqnr_db
from bundle.tasks.dataset import read_image
from calibration.sampling import from_folder
from compile.graphs.fp16 import write_emulation
from compile.graphs.nodes import add_constant, input_at, label
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE, dequantized, quantizer_of
from compile.graphs.read_onnx import read_model
from compile.graphs.tensor_ranges import measure_ranges
from compile.stage.command import run_script
from compile.stage.graph_info import GRAPH_FILE, Array, GraphInfo
from compile.tensorrt_checks.rtx_build import prove
from compile.tensorrt_checks.rules.view import name_of, quantized
from compile.tensorrt_checks.run import lint_model, view_of
from targets.base import RunConfig, Variant, VariantRecipe
from targets.reference.target import REFERENCE

Feeds: TypeAlias = Sequence[dict[str, Array]]
RECIPE = VariantRecipe(name="int8", graph="quantized", hint="f32", reason="measured, not shipped")
LARGEST_STEP = 127.0


class Measurement(NamedTuple):
    """One graph: worst and mean SQNR of its tasks in dB, and its kernels ("" where nothing could build it)."""

    name: str
    sites: int
    worst_task: str
    worst_db: float
    mean_db: float
    kernels: str


def run(path: Path, feeds: Feeds) -> list[dict[str, Array]]:
    """Run a graph as its operators are defined, on every feed; each FP16 result is rounded to FP16, as a device does.

    Raises:
        GraphError: the graph has FP16 inputs or outputs.
    """
    with TemporaryDirectory() as scratch:
        emulated = _emulated(path, Path(scratch))
        variant = Variant(recipe=RECIPE, files=(emulated.name,))
        with REFERENCE.open(emulated.parent, variant, RunConfig(), "auto", keep=emulated.parent) as session:
            return [session.infer(feed) for feed in feeds]


def _emulated(path: Path, folder: Path) -> Path:
    typed, emulated = folder / "typed.onnx", folder / "emulated.onnx"
    ir.save(view_of(read_model(path)).model, typed)
    write_emulation(typed, emulated)
    return emulated


def ratio_db(outputs: list[dict[str, Array]], reference: list[dict[str, Array]], task: str) -> float:
    """Return the signal-to-noise ratio in dB over all images; infinite where no value differs."""
    energies = np.sum(
        [signal_energy(other[task], one[task]) for one, other in zip(outputs, reference, strict=True)], axis=0
    )
    return sqnr_db(energies) if energies[1] > 0 else float("inf")


def quantize_skips(model: ir.Model, findings: Sequence[Finding], path: Path, feeds: Feeds) -> None:
    """Quantize the skip input of every residual Add found, its scale the largest magnitude seen on the feeds."""
    with TemporaryDirectory() as scratch:
        ranges = measure_ranges(_emulated(path, Path(scratch)), feeds, threads=0)
    largest = {row.tensor: row.largest for row in ranges}
    wanted = {(finding.node, finding.tensor) for finding in findings}
    for node in list(model.graph):
        for index, value in enumerate(node.inputs):
            if value is None or (name_of(node), value.name) not in wanted:
                continue
            kind = np.float16 if value.dtype == ir.DataType.FLOAT16 else np.float32
            scale = add_constant(
                model, f"{label(node)}/skip_scale", np.asarray(largest[str(value.name)] / LARGEST_STEP, kind)
            )
            zero = add_constant(model, f"{label(node)}/skip_zero", np.zeros((), np.int8))
            q = ir.Node("", QUANTIZE, [value, scale, zero], name=f"{label(node)}/skip_q")
            d = ir.Node("", DEQUANTIZE, [q.outputs[0], scale, zero], name=f"{label(node)}/skip_dq")
            q.outputs[0].name, d.outputs[0].name = f"{label(node)}/skip_q", f"{label(node)}/skip_dq"
            model.graph.insert_before(node, [q, d])
            node.replace_input_with(index, d.outputs[0])


def return_to_float(model: ir.Model, findings: Sequence[Finding], path: Path, feeds: Feeds) -> None:
    """Take the Q/DQ off every input of the operators found."""
    wanted = {finding.node for finding in findings}
    for node in list(model.graph):
        for index in (0, 1) if name_of(node) in wanted else ():
            dequantize = quantized(input_at(node, index))
            if dequantize is None or dequantize.outputs[0] is not input_at(node, index):
                continue
            pair, weight = quantizer_of(dequantize), dequantized(dequantize)
            if pair is not None:
                node.replace_input_with(index, pair.inputs[0])
            elif weight is not None:
                node.replace_input_with(index, add_constant(model, f"{label(node)}/w", weight))


Fix: TypeAlias = Callable[[ir.Model, Sequence[Finding], Path, Feeds], None]
FIXES: MappingProxyType[str, Fix] = MappingProxyType(
    {"residual-input": quantize_skips, "float-operator": return_to_float}
)


def measure(opened: Bundle, original: Path, feeds: Feeds, calibration: Feeds) -> list[Measurement]:
    """Return a row for the INT8 graph as it is, and one for each rule that it breaks, fixed.

    ``original`` is the float graph it was made of, which a bundle for jetson does not carry.

    Raises:
        GraphError: the bundle has no INT8 graph, or a graph cannot be read.
    """
    graphs = {variant.name: variant.files[0] for variant in opened.manifest.variants}
    if "int8" not in graphs:
        raise GraphError(
            "the bundle has no variant int8",
            expected="an INT8 graph",
            got=", ".join(graphs) or "no variant",
            where=str(opened.folder),
            fix="give a bundle built for jetson",
        )
    with opened.copied(opened.manifest.variant("int8").files) as folder:
        return _rows(opened, folder / graphs["int8"], original, feeds, calibration)


def _rows(opened: Bundle, int8: Path, original: Path, feeds: Feeds, calibration: Feeds) -> list[Measurement]:
    reference, tasks = run(original, feeds), tuple(opened.manifest.tasks)
    findings = lint_model(read_model(int8), int8.name).findings
    rows = [_row("as shipped", len(findings), int8, feeds, reference, tasks)]
    with TemporaryDirectory() as scratch:
        for rule, fix in FIXES.items():
            found = [finding for finding in findings if finding.rule == rule]
            if not found:
                continue
            model = view_of(read_model(int8)).model
            fix(model, found, int8, calibration)
            RemoveUnusedNodesPass()(model)
            path = Path(scratch) / f"{rule}.onnx"
            ir.save(model, path)
            rows.append(_row(f"{rule} fixed", len(found), path, feeds, reference, tasks))
    return rows


def _row(
    name: str, sites: int, path: Path, feeds: Feeds, reference: list[dict[str, Array]], tasks: tuple[str, ...]
) -> Measurement:
    outputs = run(path, feeds)
    found = {task: ratio_db(outputs, reference, task) for task in tasks}
    worst = min(found, key=lambda task: found[task])
    proof = prove([path])
    kernels = "; ".join(
        f"{graph.kernels}, {graph.moves} move, {graph.casts} convert, {graph.int8_share:.1%} INT8"
        for graph in proof.graphs
    )
    return Measurement(name, sites, worst, found[worst], float(np.mean(list(found.values()))), kernels)


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle for jetson with an int8 variant.")],
    original: Annotated[Path, typer.Option(help="Its float graph: a folder that simplify wrote, or an ONNX file.")],
    data: Annotated[Path, typer.Option(help="A labelled folder.")] = Path("data/scenes"),
    count: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images of each split.")] = 8,
) -> None:
    """Fix the accepted warnings of a bundle's INT8 graph one rule at a time, and measure what that changes.

    Example: python -m studies.lint_cost build/default/jetson --original build/.store/simplify/KEY
    """
    opened = load_bundle(bundle)
    manifest = opened.manifest
    info = GraphInfo(io=manifest.io, preprocess=manifest.preprocess, tasks=manifest.tasks)
    sets = [
        [
            info.feed(read_image(path), name=str(path))
            for path in from_folder(data, split, count, seed=0, preprocess=info.preprocess).paths
        ]
        for split in ("val", "calibration")
    ]
    print_answer("| INT8 graph | sites | worst task's SQNR | mean SQNR | kernels |\n|---|---|---|---|---|")
    graph = original / GRAPH_FILE if original.is_dir() else original
    for row in measure(opened, graph, *sets):
        print_answer(
            f"| {row.name} | {row.sites} | {row.worst_db:.1f} dB ({row.worst_task}) | {row.mean_db:.1f} dB | {row.kernels} |"
        )


if __name__ == "__main__":
    run_script(main)
