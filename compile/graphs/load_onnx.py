"""A graph from anywhere as the input of ``quantize``: a folder that export, simplify, fold or rewrite wrote, or an ONNX file.

A file may have its weights beside it, as ONNX does with large ones; they come along. Its nodes may have no names, or share
them: each gets one of its own, since whatever stays in float is known by name. It must keep the contract of an exported graph: an input ``image`` of batch 1 and static size, float32
``[1, 3, H, W]`` or uint8 ``[1, H, W, 3]``, and one output per task, named after it, at full resolution.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bundle.base.errors import GraphError
from bundle.base.frozen import faults
from bundle.formats.artifacts import SIDECAR, Exported, Folded, Record, Simplified, TensorSpec, load
from bundle.formats.manifest import Io
from bundle.tasks.preprocess import Preprocess, Triple
from compile.graphs.nodes import unused
from compile.graphs.read_onnx import read_model
from compile.stage.artifacts import Preparation, SimplifiedSettings
from compile.stage.graph_info import GRAPH_FILE, INPUT, GraphInfo, graph_info
from compile.stage.store import seal, tool_versions, writing

if TYPE_CHECKING:
    import onnx_ir


def import_graph(path: Path, scratch: Path, *, mean: Triple, std: Triple) -> Simplified:
    """Return the graph at ``path`` as an artifact; what is none yet is copied to ``scratch``, which must not exist.

    ``mean`` and ``std`` are the normalisation of a bare file; an artifact knows its own.

    Raises:
        ArtifactError: the folder holds no graph, or a file of it was altered.
        GraphError: the file is no such graph.
    """
    if path.is_dir():
        kind = _kind_of(path)
        if kind is None:
            return load(Simplified, path)
        made = load(kind, path)
        return _wrap(made.file(GRAPH_FILE), graph_info(made), scratch, parent=made.sha256)
    return _wrap(path, read_contract(path, mean=mean, std=std), scratch, parent=None)


def read_contract(path: Path, *, mean: Triple, std: Triple) -> GraphInfo:
    """Read from an ONNX file which images it takes and which tasks it answers.

    Raises:
        GraphError: it is no ONNX file, its graph cannot be run, or its inputs or outputs are not those of an exported graph.
    """
    graph = read_model(path).graph
    inputs = tuple(_spec(value, path) for value in graph.inputs)
    outputs = tuple(_spec(value, path) for value in graph.outputs)
    if [spec.name for spec in inputs] != [INPUT] or len(inputs[0].shape) != 4:
        raise _refused(path, f"one input {INPUT!r} with 4 axes", f"inputs {[(s.name, s.shape) for s in inputs]}")
    io: Io = "edge" if inputs[0].dtype == "uint8" else "raw"
    height, width = inputs[0].shape[1:3] if io == "edge" else inputs[0].shape[2:4]
    if not outputs:
        raise _refused(path, "one output per task", "none")
    tasks = {spec.name: _channels(spec, io) for spec in outputs}
    try:
        info = GraphInfo(io=io, preprocess=Preprocess(height=height, width=width, mean=mean, std=std), tasks=tasks)
    except ValidationError as error:
        raise _refused(path, "a size, a mean, a std and channels within the limits", faults(error)) from error
    if (inputs, outputs) != info.interface:
        raise _refused(path, str(info.interface), str((inputs, outputs)))
    return info


def _wrap(graph: Path, info: GraphInfo, scratch: Path, *, parent: str | None) -> Simplified:
    with writing(scratch, Simplified) as folder:
        preparation = Preparation(outcome="imported", renamed=_copy_whole(graph, folder / GRAPH_FILE))
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


def _copy_whole(graph: Path, target: Path) -> int:
    """Copy an ONNX file; in the copy, weights of other files lie in it and each node has a name. Return how many got one.

    Raises:
        GraphError: a file of weights is missing or too short, or all is more than one file holds.
    """
    import onnx_ir

    model = onnx_ir.load(graph)
    named = name_nodes(model.graph)
    tensors = [value.const_value for value in model.graph.initializers.values()]
    if not named and not any(isinstance(tensor, onnx_ir.ExternalTensor) for tensor in tensors):
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
        fix="export it with compile/export.py, or name its input and outputs as docs say",
    )
