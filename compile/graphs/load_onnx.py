"""A graph from anywhere as the input of ``quantize``: a folder that export, simplify, fold or rewrite wrote, or an ONNX file.

A file may have its weights beside it, as ONNX does with large ones; they come along. Its graph is prepared first
(``compile.graphs.foreign``) and must then answer as before. Its nodes may have no names, or share them: each gets one of its
own, since whatever stays in float is known by name. Outputs that are not one per task at full resolution are kept as they are.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bundle.base.errors import ConfigError, GraphError
from bundle.base.frozen import faults
from bundle.formats.artifacts import SIDECAR, Exported, Folded, Record, Simplified, TensorSpec, load
from bundle.formats.io_forms import Io
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import SizePolicy
from calibration.image_files import ImageFiles
from compile.graphs.foreign import Prepared, prepare
from compile.graphs.nodes import unused
from compile.graphs.output_floors import comparison_floors
from compile.graphs.pin_input import InputFlags
from compile.stage.artifacts import Preparation, SimplifiedSettings
from compile.stage.compare import compare, require, run_graph, run_model
from compile.stage.graph_info import GRAPH_FILE, GraphInfo, graph_info
from compile.stage.store import seal, tool_versions, writing

if TYPE_CHECKING:
    import onnx_ir

AS_IT_IS = InputFlags()
DEFAULTS = {
    name: (Preprocess.model_fields[name].get_default(), (neutral,) * 3)
    for name, neutral in (("mean", 0.0), ("std", 1.0))
}
"""The normalisation of an RGB input, ImageNet's, and of a grey one: x/255."""


def import_graph(
    path: Path,
    scratch: Path,
    *,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    flags: InputFlags = AS_IT_IS,
    opsets: tuple[int, int] | None = None,
    images: ImageFiles | None = None,
    policy: SizePolicy | None = None,
) -> Simplified:
    """Return the graph at ``path`` as an artifact; what is none yet is copied to ``scratch``, which must not exist.

    ``mean``, ``std``, ``flags`` and ``opsets`` (the first and last that the target takes) are for a bare file; an artifact
    knows its own. A mean and a std have three values or one for all channels; () are those of ``DEFAULTS``.
    What had to change in a file is checked on ``images``, fitted by ``policy``.

    Raises:
        ArtifactError: the folder holds no graph, or a file of it was altered.
        ConfigError: a grey input, and three values.
        GraphError: the file is no such graph, or its prepared form answers something else.
    """
    if path.is_dir():
        kind = _kind_of(path)
        if kind is None:
            return load(Simplified, path)
        made = load(kind, path)
        return _wrap(made.file(GRAPH_FILE), graph_info(made), scratch, parent=made.sha256)
    prepared = prepare(path, flags, opsets)
    info = contract_of(prepared.model, path, mean=mean, std=std)
    imported = _wrap(path, info, scratch, parent=None, prepared=prepared)
    if prepared.changes and images is not None:
        _check_prepared(prepared, imported, images.fitted(info.preprocess, policy))
    return imported


def read_contract(path: Path, *, mean: tuple[float, ...], std: tuple[float, ...]) -> GraphInfo:
    """Read from an ONNX file which images it takes and which tasks it answers.

    Raises:
        GraphError: it is no ONNX file, its graph cannot be run, or its input is no image.
    """
    return contract_of(prepare(path, AS_IT_IS, None).model, path, mean=mean, std=std)


def contract_of(model: "onnx_ir.Model", path: Path, *, mean: tuple[float, ...], std: tuple[float, ...]) -> GraphInfo:
    """Return which images a prepared graph takes, and which tasks it answers; () where its outputs are no tasks' answers.

    Raises:
        ConfigError: a grey input, and three values.
        GraphError: an output or the input is not of a static shape, or beyond the limits.
    """
    [taken] = (_spec(value, path) for value in model.graph.inputs)
    outputs = tuple(_spec(value, path) for value in model.graph.outputs)
    io: Io = "edge" if taken.dtype == "uint8" else "raw"
    grey = taken.shape[3 if io == "edge" else 1] == 1
    height, width = taken.shape[1:3] if io == "edge" else taken.shape[2:4]
    normalisation = {name: _triple(name, values, grey=grey) for name, values in (("mean", mean), ("std", std))}
    if not outputs:
        raise _refused(path, "an output", "none")
    try:
        preprocess = Preprocess.model_validate({"height": height, "width": width} | normalisation)
    except ValidationError as error:
        raise _refused(path, "a size, a mean and a std within the limits", faults(error)) from error
    free = GraphInfo(io=io, preprocess=preprocess, colours="grey" if grey else "rgb", tasks={}, free_outputs=outputs)
    return (None if grey else _of_tasks(io, preprocess, outputs)) or free


def _triple(name: str, values: tuple[float, ...], *, grey: bool) -> tuple[float, ...]:
    """Return the mean or the deviation of R, G and B.

    Raises:
        ConfigError: the input is grey, and there are three values.
    """
    if grey and len(values) > 1:
        raise ConfigError(
            "the input is grey: it has one channel",
            expected="one value",
            got=",".join(f"{value:g}" for value in values),
            where=f"--{name}",
            fix=f"--{name} 0.5, or what the network was trained with",
        )
    return values * 3 if len(values) == 1 else values or DEFAULTS[name][grey]


def _of_tasks(io: Io, preprocess: Preprocess, outputs: tuple[TensorSpec, ...]) -> GraphInfo | None:
    """Return the contract of an exported graph with these outputs; None where a name or a size is none of a task's."""
    try:
        info = GraphInfo(io=io, preprocess=preprocess, tasks={spec.name: _channels(spec, io) for spec in outputs})
        return info if info.interface[1] == outputs else None
    except (ValidationError, ConfigError):
        return None


def _check_prepared(prepared: Prepared, imported: Simplified, images: ImageFiles) -> None:
    """Compare a prepared graph with the file's own.

    Raises:
        GraphError: it answers something else.
    """
    info = graph_info(imported)
    feeds = [info.feed(image, name=name) for name, image in images.read()]
    want = run_model(prepared.original, feeds, threads=0)
    got = run_graph(imported.file(GRAPH_FILE), info, feeds, exact=False, threads=0)
    require("prepare", compare(got, want), lambda: comparison_floors(prepared.model, feeds, threads=0))


def _wrap(
    graph: Path, info: GraphInfo, scratch: Path, *, parent: str | None, prepared: Prepared | None = None
) -> Simplified:
    changes = () if prepared is None else prepared.changes
    with writing(scratch, Simplified) as folder:
        renamed = _copy_whole(graph, folder / GRAPH_FILE, prepared if changes else None)
        preparation = Preparation(outcome="imported", renamed=renamed, changes=changes)
        settings = SimplifiedSettings(graph=info, preparation=preparation)
        seal(Simplified, folder, parent=parent, settings=settings, tools=tool_versions("onnx"))
    return load(Simplified, scratch)


def _kind_of(folder: Path) -> type[Exported | Folded] | None:
    """Say whether export or fold wrote this folder; where that is unknown, ``load`` says what is wrong with it."""
    try:
        kind = Record.model_validate_json((folder / SIDECAR).read_bytes()).kind
    except (OSError, ValidationError):
        return None
    kinds: dict[str, type[Exported | Folded]] = {Exported.kind: Exported, Folded.kind: Folded}
    return kinds.get(kind)


def _copy_whole(graph: Path, target: Path, prepared: Prepared | None) -> int:
    """Copy an ONNX file, or write what was prepared of it; in the copy, weights of other files lie in it and each node has a name. Return how many got one.

    Raises:
        GraphError: a file of weights is missing or too short, or all is more than one file holds.
    """
    import onnx_ir

    model = onnx_ir.load(graph) if prepared is None else prepared.model
    named = name_nodes(model.graph)
    tensors = [value.const_value for value in model.graph.initializers.values()]
    if prepared is None and not named and not any(isinstance(tensor, onnx_ir.ExternalTensor) for tensor in tensors):
        shutil.copyfile(graph, target)
        return 0
    try:
        onnx_ir.save(onnx_ir.external_data.load_to_model(model), target)
    except (OSError, ValueError) as error:
        raise _refused(graph, "an ONNX file with all its weights", faults(error)) from error
    return named


def name_nodes(graph: "onnx_ir.Graph") -> int:
    """Give each node a name that no other has, bodies of nodes included; return how many were renamed.

    Of several nodes with one name the first keeps it. A node without a name is called after its first output.
    """
    nodes = list(graph.all_nodes())
    taken, first, renamed = {node.name for node in nodes}, set[str](), 0
    for node in nodes:
        if node.name and node.name not in first:
            first.add(node.name)
            continue
        base = node.name or next((value.name for value in node.outputs if value.name), None) or node.op_type
        node.name = unused(base, taken)
        taken.add(node.name)
        first.add(node.name)
        renamed += 1
    return renamed


def _spec(value: "onnx_ir.Value", path: Path) -> TensorSpec:
    if value.shape is None or value.dtype is None or not value.shape.is_static():
        raise _refused(path, "static shapes", f"{value.name}: {value.shape}")
    shape = tuple(int(str(size)) for size in value.shape)
    return TensorSpec(name=str(value.name), dtype=str(value.dtype.numpy()), shape=shape)


def _channels(spec: TensorSpec, io: Io) -> int:
    return spec.shape[1] if io == "raw" and len(spec.shape) > 1 else 1


def _refused(path: Path, expected: str, got: str) -> GraphError:
    return GraphError(
        "this is no graph that can be quantized",
        expected=expected,
        got=got,
        where=str(path),
        fix="export it with static shapes, or pin its input with --shape; the guide to your model says what is taken",
    )
