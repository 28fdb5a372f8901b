"""Naive: what ``nncf.quantize`` makes of the same graph without a word about TensorRT, and what TensorRT says to it.

Two graphs: NNCF's defaults, and its defaults with ``model_type=TRANSFORMER``. They are the yardstick of ours: linted,
given to NVIDIA's parser, never shipped.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.formats.outputs import only, replacing, require_folder
from bundle.tasks.dataset import read_image
from calibration.sampling import from_folder
from compile.graphs.load_onnx import import_graph
from compile.quantization.nncf_calibration import quantize_plainly
from compile.stage.command import run_script
from compile.stage.graph_info import GRAPH_FILE, Array, graph_info
from compile.tensorrt_checks.check_build import GraphCheck, check_graph

REASON = 220  # characters of the parser's complaint that a table shows
KINDS = ("defaults", "transformer")
NAMES = {kind: f"naive-{kind}.onnx" for kind in KINDS}
ONLY = only(*NAMES.values())


def quantize_naively(graph: Path, feeds: Sequence[dict[str, Array]], out: Path) -> tuple[Path, ...]:
    """Write ``naive-defaults.onnx`` and ``naive-transformer.onnx`` in ``out``; return both.

    Raises:
        InputError: something else than these two files is in ``out``.
        GraphError: NNCF refuses the graph.
        TargetUnavailable: NNCF is not installed.
    """
    with replacing(out, ONLY) as folder:
        for kind, name in NAMES.items():
            quantize_plainly(graph, feeds, folder / name, transformer=kind == "transformer")
    return tuple(out / name for name in NAMES.values())


def row(one: GraphCheck) -> str:
    """Return a graph's checks as a line of a Markdown table."""
    built = "not run" if one.built is None else "yes" if one.built else f"no: {one.reason[:REASON]}"
    share = "" if one.int8_share is None else f"{one.int8_share:.1%}"
    return f"| {one.graph} | {one.errors} | {', '.join(one.broken) or '–'} | {one.warnings} | {built} | {share} |"


def main(
    model: Annotated[Path, typer.Option(help="A folder that export or simplify wrote, or an ONNX file.")],
    calibration: Annotated[Path, typer.Option(help="A labelled folder, or a folder of images of the model's size.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    ours: Annotated[Path | None, typer.Option(help="Our quantized graph, for the last row.")] = None,
    split: Annotated[str, typer.Option(help="The split of a labelled folder.")] = "calibration",
    count: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images to calibrate on.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=LIMITS["seed"].most, help="Of the draw.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Quantize a graph as nncf.quantize does by default, and ask the rules and NVIDIA's parser about the result.

    Example: python -m studies.quantization.nncf_defaults --model build/simplified --calibration data/scenes --out build/naive
    """
    require_folder(out, ONLY, [model, calibration, *([] if ours is None else [ours])])
    with TemporaryDirectory() as scratch:
        graph = import_graph(model, Path(scratch) / "adopted")
        info = graph_info(graph)
        drawn = from_folder(calibration, split, count, seed=seed, preprocess=info.preprocess)
        feeds = [info.feed(read_image(path), name=str(path)) for path in drawn.paths]
        paths = quantize_naively(graph.file(GRAPH_FILE), feeds, out)
    rows = [check_graph(path) for path in (*paths, *(() if ours is None else (ours,)))]
    if as_json:
        print_answer(dumps([one.model_dump() for one in rows]))
        return
    print_answer(
        "| graph | errors | rules broken | warnings | parsed and built | MACs in INT8 |\n|---|---|---|---|---|---|"
    )
    print_answer("\n".join(row(one) for one in rows))


if __name__ == "__main__":
    run_script(main)
