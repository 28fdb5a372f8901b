"""Export: a checkpoint to ONNX, opset 20, static shapes, native LayerNormalization and Gelu, no local path inside.

Opset 20 is the ceiling of TensorRT 10.3 and the first with a native Gelu. The stage ends with a check against eager
PyTorch on real images. The export knows no adapter: the graph computes what the module does, operator by operator.
"""

if not __package__:
    import _path  # noqa: F401

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundle.base.errors import CheckpointError, GraphError
from bundle.base.terminal import say
from bundle.formats.artifacts import Exported, hash_file, load
from bundle.formats.manifest import Io
from bundle.tasks.preprocess import Preprocess
from calibration.image_files import ImageFiles, folder_images
from compile.stage.artifacts import ExportedSettings
from compile.stage.command import announce, claim, run_script, timed
from compile.stage.compare import Outputs, compare, require, run_graph
from compile.stage.graph_info import GRAPH_FILE, INPUT, GraphInfo
from compile.stage.options import CheckCount, Images, Out, RecordAsJson, Split, Threads
from compile.stage.store import seal, stage_tools, writing

if TYPE_CHECKING:
    import onnx_ir
    import torch
    from torch import nn

OPSET = 20
NATIVE = ""  # the domain of standard operators


def export(
    checkpoint: Path, out: Path, io: Io, images: ImageFiles, progress: Callable[[str], None], *, threads: int
) -> Exported:
    """Write the checkpoint as an ``Exported`` artifact in ``out``, checked on ``images``.

    ``threads`` are those of the check; 0 leaves their number to the runtimes.

    Raises:
        ConfigError: the checkpoint's config.toml is wrong.
        CheckpointError: its weights are wrong, or what it answers is not finite.
        DatasetError: an image cannot be read or has another size than the model's.
        GraphError: the exporter left something a target cannot take, or the graph computes something else.
    """
    from tdss.checkpoint import load as load_checkpoint
    from tdss.checkpoint import stored_halves
    from tdss.config_file import WEIGHTS

    config, model = load_checkpoint(checkpoint)
    if halves := stored_halves(checkpoint / WEIGHTS):
        progress(halves)
    info = GraphInfo(io=io, preprocess=Preprocess(**config.image.model_dump()), tasks=dict(config.tasks))
    return export_module(model, info, out, images, parent=hash_file(checkpoint / WEIGHTS), threads=threads)


def export_module(
    model: "nn.Module", info: GraphInfo, out: Path, images: ImageFiles, *, parent: str | None, threads: int
) -> Exported:
    """Export a model that maps float32 ``[1, 3, H, W]`` to raw outputs by task; see ``export``."""
    import torch
    from onnx_ir import save

    from compile.graphs.output_floors import output_floors

    wrapped = _with_io(model.eval(), info)
    feeds = [info.feed(image, name=name) for name, image in images.read()]
    eager = [_run_eager(wrapped, info, feed) for feed in feeds]
    graph = to_onnx(wrapped, torch.tensor(feeds[0][INPUT]), list(info.tasks))
    with writing(out, Exported) as folder:
        save(graph, folder / GRAPH_FILE)
        answers = run_graph(folder / GRAPH_FILE, info, feeds, exact=False, threads=threads)
        errors = require("export", compare(answers, eager), lambda: output_floors(graph, feeds, threads=threads))
        settings = ExportedSettings(graph=info, opset=OPSET, check=errors)
        seal(Exported, folder, parent=parent, settings=settings, tools=stage_tools("export"))
    return load(Exported, out)


def _with_io(model: "nn.Module", info: GraphInfo) -> "nn.Module":
    from compile.graphs.io_wrappers import EdgeModel, RawModel

    return RawModel(model).eval() if info.io == "raw" else EdgeModel(model, info.preprocess, tuple(info.tasks)).eval()


def to_onnx(wrapped: "nn.Module", example: "torch.Tensor", outputs: list[str]) -> "onnx_ir.Model":
    """Return a module that takes one image as a clean graph, whose input is ``image``; ``example`` has the image's size.

    Raises:
        GraphError: the exporter left something a target cannot take.
    """
    import torch

    from compile.graphs.clean import clean_export

    with quiet_export(), torch.no_grad():
        program = torch.onnx.export(
            wrapped,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=outputs,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise GraphError(
            "the exporter returned nothing",
            expected="an ONNX program",
            got="None",
            where="torch.onnx.export",
            fix="use the pinned version of torch",
        )
    return _check_operators(clean_export(program.model))


def _check_operators(graph: "onnx_ir.Model") -> "onnx_ir.Model":
    foreign = sorted({f"{node.domain}::{node.op_type}" for node in graph.graph if node.domain != NATIVE})
    opset = graph.opset_imports.get(NATIVE)
    if foreign or graph.functions or opset != OPSET:
        raise GraphError(
            "the exported graph is not plain ONNX",
            expected=f"standard operators of opset {OPSET}",
            got=f"opset {opset}, operators {foreign}, {len(graph.functions)} functions",
            where="the exported graph",
            fix="express the module in operations that ONNX has",
        )
    return graph


def _run_eager(wrapped: "nn.Module", info: GraphInfo, feed: Outputs) -> Outputs:
    import torch

    with torch.no_grad():
        outputs = wrapped(torch.tensor(feed[INPUT]))
    wrong = [name for name, output in zip(info.tasks, outputs, strict=True) if not output.isfinite().all()]
    if wrong:
        raise CheckpointError(
            "the checkpoint's own output is not finite",
            expected="finite outputs on real images",
            got=f"NaN or infinity in {', '.join(wrong)}",
            where="the model in eager PyTorch, before its export",
            fix="the checkpoint itself overflows: train it again, or give a sound one",
        )
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
    model: Annotated[Path, typer.Option(help="A checkpoint folder: config.toml and model.safetensors.")],
    images: Images,
    out: Out,
    io: Annotated[Io, typer.Option(help="raw: tensors in and out. edge: camera frames in, maps out.")] = "raw",
    split: Split = "calibration",
    count: CheckCount = 4,
    threads: Threads = 0,
    as_json: RecordAsJson = False,
) -> None:
    """Export a checkpoint to ONNX, as it is.

    Example: python compile/export.py --model models/default --out build/exported
    """
    claim(out, Exported, model, images)
    chosen = folder_images(images, split).first(count)
    with timed("export"):
        exported = export(model, out, io, chosen, say, threads=threads)
    announce(exported, as_json=as_json)


if __name__ == "__main__":
    run_script(main)
