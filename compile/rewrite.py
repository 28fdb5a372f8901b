"""Rewrite: the folded graph as one target runs it fastest; the same function, checked against its predecessor.

Which rewrites run is the target's choice by measurement (``targets/<target>/rewrites.json``). They come before
quantization, so every variant has them; the target's ``passes`` come after it. A target with none gets the graph as it is.
"""

if not __package__:
    import _path  # noqa: F401

from pathlib import Path
from typing import Annotated

import onnx_ir as ir
import typer

from bundle.formats.artifacts import Folded, Simplified, load
from calibration.image_files import ImageFiles, fitted_images
from compile.graphs.output_floors import comparison_floors
from compile.graphs.passes.table import apply_passes
from compile.simplify import operators
from compile.stage.artifacts import FoldedSettings, Operators, SimplifiedSettings
from compile.stage.command import announce, claim, run_script, timed
from compile.stage.compare import compare, require, run_graph
from compile.stage.graph_info import GRAPH_FILE, graph_info, read_settings
from compile.stage.options import CheckCount, Device, Images, Out, RecordAsJson, Split, TargetName, Threads
from compile.stage.store import seal, stage_tools, writing
from targets.base import RunConfig
from targets.table import target as find_target


def rewrite(folded: Folded, out: Path, names: tuple[str, ...], images: ImageFiles, *, threads: int) -> Simplified:
    """Write a ``Simplified`` artifact in ``out``: the graph after the named passes, with the sites each of them found.

    Raises:
        ConfigError: a name is not in the table of passes.
        GraphError: a pass left an invalid graph, or one that computes something else.
    """
    info, source = graph_info(folded), folded.file(GRAPH_FILE)
    feeds = [info.feed(image, name=name) for name, image in images.read()]
    with writing(out, Simplified) as folder:
        target = folder / GRAPH_FILE
        sites = apply_passes(names, source, target)
        runs = [run_graph(path, info, feeds, exact=False, threads=threads) for path in (target, source)]
        errors = require("rewrite", compare(*runs), lambda: comparison_floors(ir.load(source), feeds, threads=threads))
        settings = SimplifiedSettings(
            graph=info,
            preparation=read_settings(FoldedSettings, folded).preparation,
            operators=Operators(before=operators(source), after=operators(target)),
            rewrites=sites,
            check=errors,
        )
        seal(Simplified, folder, parent=folded.sha256, settings=settings, tools=stage_tools("rewrite"))
    return load(Simplified, out)


def main(
    target: TargetName,
    model: Annotated[Path, typer.Option(help="The folder that fold wrote.")],
    images: Images,
    out: Out,
    split: Split = "calibration",
    count: CheckCount = 4,
    device: Device = "",
    threads: Threads = 0,
    as_json: RecordAsJson = False,
) -> None:
    """Rewrite a folded graph into the form that a target runs fastest.

    Example: python compile/rewrite.py --target intel --model build/folded --out build/rewritten
    """
    claim(out, Simplified, model, images)
    chosen = find_target(target)
    names = chosen.rewrites(chosen.capabilities(RunConfig(device=device, threads=threads)))
    folded = load(Folded, model)
    checked = fitted_images(images, split, graph_info(folded).preprocess).first(count)
    with timed("rewrite"):
        rewritten = rewrite(folded, out, names, checked, threads=threads)
    announce(rewritten, as_json=as_json)


if __name__ == "__main__":
    run_script(main)
