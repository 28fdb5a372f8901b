"""Import: a network of another origin, as its tasks.toml describes it, to the graph that export makes of a checkpoint.

The stage ends with a check against the network as it was given, on real images.
"""

if not __package__:
    import _path  # noqa: F401

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundle.base.terminal import say
from bundle.formats.artifacts import Exported, hash_file, load
from bundle.formats.io_forms import FORMS, IO_HELP, Io
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from calibration.image_files import ImageFiles, fitted_images
from compile.graphs.torch_export import OPSET
from compile.networks.description import read_description
from compile.networks.open import Opened, open_network
from compile.stage.artifacts import ExportedSettings
from compile.stage.command import announce, claim, run_script, timed
from compile.stage.compare import Outputs, compare, require, run_graph
from compile.stage.graph_info import GRAPH_FILE, INPUT, GraphInfo, read_settings
from compile.stage.options import NETWORK, SIZE, CheckCount, Images, Out, RecordAsJson, Split, Threads
from compile.stage.store import seal, stage_tools, writing

if TYPE_CHECKING:
    import onnx_ir


def import_network(network: Path, opened: Opened, out: Path, io: Io, images: ImageFiles, *, threads: int) -> Exported:
    """Write the network, which was ``opened``, as an ``Exported`` artifact in ``out``, checked on ``images``.

    Raises:
        GraphError: the network's adapted form computes something else.
        DatasetError: an image cannot be read or has another size than the network's.
    """
    from onnx_ir import save

    from compile.graphs.output_floors import output_floors

    info = GraphInfo(io=io, preprocess=opened.preprocess, tasks=dict(opened.tasks))
    reference = opened.reference(threads)
    given = [_answer(reference.run(image, name=name), info) for name, image in images.read()]
    feeds = [info.feed(image, name=name) for name, image in images.read()]
    graph = _with_io(opened.graph.clone(), info)
    with writing(out, Exported) as folder:
        save(graph, folder / GRAPH_FILE)
        answers = run_graph(folder / GRAPH_FILE, info, feeds, exact=False, threads=threads)
        errors = require("import", compare(answers, given), lambda: output_floors(graph, feeds, threads=threads))
        settings = ExportedSettings(graph=info, opset=OPSET, check=errors, changes=opened.changes)
        seal(Exported, folder, parent=hash_file(network), settings=settings, tools=stage_tools("import"))
    return load(Exported, out)


def _answer(raws: Outputs, info: GraphInfo) -> Outputs:
    """Return what the graph has to answer, with a batch axis."""
    if not FORMS[info.io].maps:
        return {name: raw[None] for name, raw in raws.items()}
    made = {name: predict(task(name), raw) for name, raw in raws.items()}
    return {spec.name: made[spec.name].astype(spec.dtype).reshape(spec.shape) for spec in info.interface[1]}


def _with_io(graph: "onnx_ir.Model", info: GraphInfo) -> "onnx_ir.Model":
    """Put preprocessing and postprocessing around a graph, where they belong into it."""
    form = FORMS[info.io]
    if not form.maps:
        return graph
    import torch

    from compile.graphs.io_wrappers import Postprocessing, Preprocessing
    from compile.graphs.torch_export import to_onnx
    from compile.networks.join import join

    size, [taken] = (info.preprocess.height, info.preprocess.width), info.interface[0]
    frame = torch.zeros(taken.shape, dtype=getattr(torch, taken.dtype))
    before = to_onnx(Preprocessing(info.preprocess, form).eval(), (frame,), [INPUT], ["normalised"])
    after = {
        name: to_onnx(
            Postprocessing(task(name).kind, form).eval(), (torch.zeros((1, channels, *size)),), [INPUT], [name]
        )
        for name, channels in info.tasks.items()
    }
    return join(before, graph, after)


def main(
    network: Annotated[Path, NETWORK],
    tasks: Annotated[Path, typer.Option(help="tasks.toml: what the network's input and outputs mean.")],
    images: Images,
    out: Out,
    size: Annotated[tuple[int, int] | None, SIZE] = None,
    io: Annotated[Io, typer.Option(help=IO_HELP)] = "raw",
    split: Split = "calibration",
    count: CheckCount = 4,
    threads: Threads = 0,
    as_json: RecordAsJson = False,
) -> None:
    """Bring a network of another origin into the form that export gives a checkpoint.

    Example: python compile/import_network.py --network net.onnx --tasks tasks.toml --images my-data --out build/exported
    """
    claim(out, Exported, network, tasks, images)
    with timed("import"):
        opened = open_network(network, read_description(tasks), size)
        chosen = fitted_images(images, split, opened.preprocess).first(count)
        imported = import_network(network, opened, out, io, chosen, threads=threads)
    for change in read_settings(ExportedSettings, imported).changes:
        say(f"  {change}")
    announce(imported, as_json=as_json)


if __name__ == "__main__":
    run_script(main)
