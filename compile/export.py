"""Export: a checkpoint to ONNX, opset 20, static shapes, native LayerNormalization and Gelu, no local path inside.

Opset 20 is the ceiling of TensorRT 10.3 and the first with a native Gelu. The stage ends with a check against eager
PyTorch on real images. The export knows no adapter: the graph computes what the module does, operator by operator.
"""

if not __package__:
    import _path  # noqa: F401

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundle.base.errors import CheckpointError
from bundle.base.terminal import say
from bundle.formats.artifacts import Exported, hash_file, load
from bundle.formats.io_forms import FORMS, IO_HELP, Io
from bundle.tasks.preprocess import Preprocess
from calibration.image_files import ImageFiles, fitted_images
from compile.graphs.torch_export import OPSET, to_onnx
from compile.stage.artifacts import ExportedSettings
from compile.stage.command import announce, claim, run_script, timed
from compile.stage.compare import Outputs, compare, require, run_graph
from compile.stage.graph_info import GRAPH_FILE, INPUT, GraphInfo, read_settings
from compile.stage.options import SIZE, CheckCount, Images, Out, RecordAsJson, Split, Threads
from compile.stage.store import seal, stage_tools, writing

if TYPE_CHECKING:
    from torch import nn


def export(
    checkpoint: Path,
    out: Path,
    io: Io,
    images: ImageFiles,
    progress: Callable[[str], None],
    *,
    threads: int,
    size: tuple[int, int] | None = None,
) -> Exported:
    """Write the checkpoint as an ``Exported`` artifact in ``out``, checked on ``images``.

    ``size`` is that of the images it will take, rows and columns; None: those it was trained on. What that changes is
    recorded.

    ``threads`` are those of the check; 0 leaves their number to the runtimes.

    Raises:
        ConfigError: the checkpoint's config.toml is wrong.
        CheckpointError: its weights are wrong, or what it answers is not finite.
        DatasetError: an image cannot be read or has another size than the model's.
        GraphError: the exporter left something a target cannot take, or the graph computes something else.
    """
    from tdss.checkpoint import stored_halves
    from tdss.config_file import WEIGHTS
    from tdss.resized import load_at

    config, model, changes = load_at(checkpoint, size)
    if halves := stored_halves(checkpoint / WEIGHTS):
        progress(halves)
    info = GraphInfo(io=io, preprocess=Preprocess(**config.image.model_dump()), tasks=dict(config.tasks))
    parent = hash_file(checkpoint / WEIGHTS)
    return export_module(model, info, out, images, parent=parent, threads=threads, changes=changes)


def export_module(
    model: "nn.Module",
    info: GraphInfo,
    out: Path,
    images: ImageFiles,
    *,
    parent: str | None,
    threads: int,
    changes: tuple[str, ...] = (),
) -> Exported:
    """Export a model that maps float32 ``[1, 3, H, W]`` to raw outputs by task; see ``export``.

    ``changes`` to the model are recorded.
    """
    import torch
    from onnx_ir import save

    from compile.graphs.output_floors import comparison_floors

    wrapped = _with_io(model.eval(), info)
    feeds = [info.feed(image, name=name) for name, image in images.read()]
    eager = [_run_eager(wrapped, info, feed) for feed in feeds]
    graph = to_onnx(wrapped, (torch.tensor(feeds[0][INPUT]),), [INPUT], list(info.tasks))
    with writing(out, Exported) as folder:
        save(graph, folder / GRAPH_FILE)
        answers = run_graph(folder / GRAPH_FILE, info, feeds, exact=False, threads=threads)
        errors = require("export", compare(answers, eager), lambda: comparison_floors(graph, feeds, threads=threads))
        settings = ExportedSettings(graph=info, opset=OPSET, check=errors, changes=changes)
        seal(Exported, folder, parent=parent, settings=settings, tools=stage_tools("export"))
    return load(Exported, out)


def _with_io(model: "nn.Module", info: GraphInfo) -> "nn.Module":
    from compile.graphs.io_wrappers import MapModel, RawModel

    form = FORMS[info.io]
    return (MapModel(model, info.preprocess, tuple(info.tasks), form) if form.maps else RawModel(model)).eval()


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


def checkpoint_images(checkpoint: Path, images: Path, split: str, size: tuple[int, int] | None = None) -> ImageFiles:
    """Return the images of a folder for a checkpoint's model; raises as ``fitted_images`` and ``read_config_at`` do."""
    from tdss.config_file import read_config_at

    return fitted_images(images, split, Preprocess(**read_config_at(checkpoint, size).image.model_dump()))


def main(
    model: Annotated[Path, typer.Option(help="A checkpoint folder: config.toml and model.safetensors.")],
    images: Images,
    out: Out,
    io: Annotated[Io, typer.Option(help=IO_HELP)] = "raw",
    size: Annotated[tuple[int, int] | None, SIZE] = None,
    split: Split = "calibration",
    count: CheckCount = 4,
    threads: Threads = 0,
    as_json: RecordAsJson = False,
) -> None:
    """Export a checkpoint to ONNX, as it is.

    Example: python compile/export.py --model models/default --out build/exported
    """
    claim(out, Exported, model, images)
    chosen = checkpoint_images(model, images, split, size).first(count)
    with timed("export"):
        exported = export(model, out, io, chosen, say, threads=threads, size=size)
    for change in read_settings(ExportedSettings, exported).changes:
        say(f"  {change}")
    announce(exported, as_json=as_json)


if __name__ == "__main__":
    run_script(main)
