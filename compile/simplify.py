"""Simplify: constants folded by onnxsim, in a process of its own; kept only if nothing was added and nothing changed.

The result is kept if it has no more nodes of any type than the input and computes the same on real images. Otherwise
the input goes on as it is, and the artifact's settings say why.
"""

if not __package__:
    import _path  # noqa: F401

import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bundle.base.errors import ArtifactError, GraphError
from bundle.base.isolated import module
from bundle.formats.artifacts import Exported, Simplified, load
from calibration.image_files import ImageFiles, fitted_images
from compile.graphs.onnxsim_worker import NO_FILE
from compile.stage.artifacts import Operators, Preparation, SimplifiedSettings
from compile.stage.code_hash import ROOT
from compile.stage.command import announce, claim, run_script, timed
from compile.stage.compare import Outputs, compare, require, run_graph
from compile.stage.graph_info import GRAPH_FILE, GraphInfo, graph_info
from compile.stage.options import CheckCount, Images, Out, RecordAsJson, Split, Threads
from compile.stage.store import seal, stage_tools, writing

TIMEOUT_S = 900
WORKER = "compile.graphs.onnxsim_worker"


def simplify(exported: Exported, out: Path, images: ImageFiles, *, threads: int) -> Simplified:
    """Write a ``Simplified`` artifact in ``out``: the simplified graph, or the exported one with the reason why not.

    ``threads`` are those of the check; 0 leaves their number to the runtime.

    Raises:
        ArtifactError: onnxsim's process cannot read the graph's file or write its own.
    """
    info = graph_info(exported)
    feeds = [info.feed(image, name=name) for name, image in images.read()]
    source = exported.file(GRAPH_FILE)
    with writing(out, Simplified) as folder:
        target = folder / GRAPH_FILE
        refusal = _run_onnxsim(source, target) or _refusal(source, target, info, feeds, threads)
        if refusal:
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
        settings = SimplifiedSettings(
            graph=info,
            preparation=Preparation(outcome="kept" if refusal else "simplified", reason=refusal),
            operators=Operators(before=operators(source), after=operators(target)),
        )
        seal(Simplified, folder, parent=exported.sha256, settings=settings, tools=stage_tools("simplify"))
    return load(Simplified, out)


def operators(graph: Path) -> Counter[str]:
    """Count a graph's nodes by operator."""
    from onnx import load

    found = Counter(node.op_type for node in load(graph, load_external_data=False).graph.node)
    return Counter(dict(sorted(found.items())))


def _run_onnxsim(source: Path, target: Path) -> str:
    """Run onnxsim in a process of its own, which stands in another folder; return why there is no result, or nothing."""
    command = module(WORKER, str(source.resolve()), str(target.resolve()))
    try:
        process = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return f"onnxsim did not end within {TIMEOUT_S} s"
    if process.returncode < 0:
        return f"onnxsim was ended by signal {-process.returncode}"
    last = (process.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if process.returncode == NO_FILE:
        raise ArtifactError(
            "the process that simplifies cannot use its files",
            expected="a graph to read and a folder to write in",
            got=last,
            where=str(source),
            fix="see that both are there, may be used and have room",
        )
    if process.returncode > 0 or not target.is_file():
        return f"onnxsim failed: {last}"
    return ""


def _refusal(source: Path, target: Path, info: GraphInfo, feeds: Sequence[Outputs], threads: int) -> str:
    """Return why a simplified graph is not kept, or nothing."""
    import onnx_ir as ir

    from compile.graphs.output_floors import comparison_floors

    added = operators(target) - operators(source)
    if added:
        return "it adds " + ", ".join(f"{count} {name}" for name, count in sorted(added.items()))
    runs = [run_graph(path, info, feeds, exact=False, threads=threads) for path in (target, source)]
    try:
        require("simplify", compare(*runs), lambda: comparison_floors(ir.load(source), feeds, threads=threads))
    except GraphError as error:
        return f"{error.message}, {error.got}"
    return ""


def main(
    model: Annotated[Path, typer.Option(help="The folder that export wrote.")],
    images: Images,
    out: Out,
    split: Split = "calibration",
    count: CheckCount = 4,
    threads: Threads = 0,
    as_json: RecordAsJson = False,
) -> None:
    """Simplify an exported graph.

    Example: python compile/simplify.py --model build/exported --out build/simplified
    """
    claim(out, Simplified, model, images)
    exported = load(Exported, model)
    chosen = fitted_images(images, split, graph_info(exported).preprocess).first(count)
    with timed("simplify"):
        simplified = simplify(exported, out, chosen, threads=threads)
    announce(simplified, as_json=as_json)


if __name__ == "__main__":
    run_script(main)
