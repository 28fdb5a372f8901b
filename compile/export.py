"""Export: a folded model to ONNX, opset 20, static shapes, native LayerNormalization and Gelu, no local path inside.

Opset 20 is the ceiling of TensorRT 10.3 and the first with a native Gelu. The stage ends with a check against eager
PyTorch on real images.
"""

if not __package__:
    import _path  # noqa: F401

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundle.artifacts import Exported, Folded, load
from bundle.errors import GraphError
from bundle.limits import LIMITS
from bundle.manifest import Io
from bundle.preprocess import Preprocess
from compile.graph import GRAPH_FILE, INPUT, GraphInfo, graph_settings
from compile.images import ImageFiles, folder_images
from compile.script import announce, claim, run_script
from compile.store import seal, tool_versions, writing
from compile.tools import TOOLS
from compile.verify import Outputs, compare, require, run_graph

if TYPE_CHECKING:
    import onnx_ir
    from torch import nn

OPSET = 20
NATIVE = ""  # the domain of standard operators


def export(folded: Folded, out: Path, io: Io, images: ImageFiles, *, threads: int) -> Exported:
    """Write the folded model as an ``Exported`` artifact in ``out``, checked on ``images``.

    ``threads`` are those of the check; 0 leaves their number to the runtimes.

    Raises:
        GraphError: the exporter left something a target cannot take, or the graph computes something else.
    """
    from compile.fold import folded_config, load_folded

    config = folded_config(folded)
    info = GraphInfo(io=io, preprocess=Preprocess(**config.image.model_dump()), tasks=dict(config.tasks))
    return export_module(load_folded(folded), info, out, images, parent=folded.sha256, threads=threads)


def export_module(
    model: "nn.Module", info: GraphInfo, out: Path, images: ImageFiles, *, parent: str | None, threads: int
) -> Exported:
    """Export a model that maps float32 ``[1, 3, H, W]`` to raw outputs by task; see ``export``."""
    from onnx_ir import save

    wrapped = _with_io(model.eval(), info)
    feeds = [info.feed(image, name=name) for name, image in images.read()]
    graph = _to_onnx(wrapped, info, feeds[0])
    with writing(out, Exported) as folder:
        save(graph, folder / GRAPH_FILE)
        eager = [_run_eager(wrapped, info, feed) for feed in feeds]
        errors = require(
            "export", compare(run_graph(folder / GRAPH_FILE, info, feeds, exact=False, threads=threads), eager)
        )
        inputs, outputs = info.interface
        settings = graph_settings(info, {"opset": OPSET, "check": [error.model_dump() for error in errors]})
        seal(
            Exported, folder, parent=parent, inputs=inputs, outputs=outputs, settings=settings,
            tools=tool_versions(*TOOLS["export"]),
        )  # fmt: skip
    return load(Exported, out)


def _with_io(model: "nn.Module", info: GraphInfo) -> "nn.Module":
    from compile.edge import EdgeModel, RawModel

    return RawModel(model).eval() if info.io == "raw" else EdgeModel(model, info.preprocess, tuple(info.tasks)).eval()


def _to_onnx(wrapped: "nn.Module", info: GraphInfo, feed: Outputs) -> "onnx_ir.Model":
    import torch

    from compile.clean import clean_export

    with quiet_export(), torch.no_grad():
        program = torch.onnx.export(
            wrapped, (torch.tensor(feed[INPUT]),), dynamo=True, opset_version=OPSET, input_names=[INPUT],
            output_names=list(info.tasks), external_data=False, verbose=False,
        )  # fmt: skip
    if program is None:
        raise GraphError(
            "the exporter returned nothing", expected="an ONNX program", got="None", where="torch.onnx.export",
            fix="use the pinned version of torch",
        )  # fmt: skip
    return _check_operators(clean_export(program.model))


def _check_operators(graph: "onnx_ir.Model") -> "onnx_ir.Model":
    foreign = sorted({f"{node.domain}::{node.op_type}" for node in graph.graph if node.domain != NATIVE})
    opset = graph.opset_imports.get(NATIVE)
    if foreign or graph.functions or opset != OPSET:
        raise GraphError(
            "the exported graph is not plain ONNX", expected=f"standard operators of opset {OPSET}",
            got=f"opset {opset}, operators {foreign}, {len(graph.functions)} functions", where="the exported graph",
            fix="express the module in operations that ONNX has",
        )  # fmt: skip
    return graph


def _run_eager(wrapped: "nn.Module", info: GraphInfo, feed: Outputs) -> Outputs:
    import torch

    with torch.no_grad():
        outputs = wrapped(torch.tensor(feed[INPUT]))
    return {name: output.numpy() for name, output in zip(info.tasks, outputs, strict=True)}


@contextmanager
def quiet_export() -> Iterator[None]:
    """Silence what the exporter says about packages this project does not use and about its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def main(
    model: Annotated[Path, typer.Option(help="The folder that fold wrote.")],
    images: Annotated[Path, typer.Option(help="Images for the check: a labelled folder, or a folder of images.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    io: Annotated[Io, typer.Option(help="raw: tensors in and out. edge: camera frames in, maps out.")] = "raw",
    split: Annotated[str, typer.Option(help="The split of a labelled folder.")] = "calibration",
    count: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images the check uses.")] = 4,
    threads: Annotated[
        int, typer.Option(min=0, max=LIMITS["threads"].most, help="Threads of the check; 0: the runtime's choice.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the artifact's record as JSON.")] = False,
) -> None:
    """Export a folded model to ONNX.

    Example: python compile/export.py --model build/folded --images data/scenes --split calibration --out build/exported
    """
    claim(out, Exported, model, images)
    chosen = folder_images(images, split).first(count)
    announce(export(load(Folded, model), out, io, chosen, threads=threads), as_json=as_json)


if __name__ == "__main__":
    run_script(main)
