"""Write a float32 or Q/DQ graph as strongly typed FP16: range-checked, and with the graph that emulates it beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass
from pydantic import TypeAdapter

from bundle.base.errors import GraphError
from bundle.formats.artifacts import write_text
from compile.graphs.passes.convert_to_fp16 import convert_to_fp16, float32_nodes
from compile.graphs.passes.emulate_fp16 import emulate_fp16
from compile.graphs.passes.table import check_graph
from compile.graphs.tensor_ranges import HEADROOM, measure_ranges, nodes_at, too_wide, widest
from compile.stage.artifacts import Fp16Note, Range
from compile.stage.graph_info import Array

SHARED_FROM = 1024  # bytes; a smaller tensor is not worth a reference
WIDEST = 5
LEAST_OPSET = 19  # the first whose Q and DQ take FP16 scales
RANGES = "ranges.json"
RANGES_FILE = TypeAdapter(tuple[Range, ...])


def write_ranges(
    source: Path, folder: Path, feeds: Sequence[Mapping[str, Array]], *, threads: int
) -> tuple[Range, ...]:
    """Measure a float32 graph's ranges, write them as ``ranges.json``, and return them.

    Raises:
        GraphError: the graph cannot be typed FP16 (see ``require_float32``), or ONNX Runtime refuses it.
    """
    require_float32(source)
    ranges = measure_ranges(source, feeds, threads=threads)
    write_text(folder / RANGES, RANGES_FILE.dump_json(ranges, indent=1).decode() + "\n")
    return ranges


def kept_ranges(folder: Path) -> tuple[Range, ...]:
    """Return what ``write_ranges`` left in a folder, nothing where it was not called."""
    path = folder / RANGES
    return RANGES_FILE.validate_json(path.read_bytes()) if path.exists() else ()


def require_float32(source: Path) -> None:
    """Ask of an ONNX graph what its FP16 form needs: an opset with FP16 scales, float32 alone, no float in a node's body.

    Raises:
        GraphError: it is not so.
    """
    model = ShapeInferencePass()(ir.load(source)).model
    opset = model.opset_imports.get("", 0)
    if opset < LEAST_OPSET:
        raise _not_typable(source, f"opset {LEAST_OPSET} or later", f"opset {opset}", "export it at opset 20")
    typed = [value.name for node in model.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT16]
    if typed:
        got = f"{len(typed)} tensors in FP16, the first is {typed[0]!r}"
        raise _not_typable(source, "a float32 graph", got, "export it in float32, without casts to FP16")
    for node in model.graph:
        if (name := _float_inside(node)) is not None:
            got = f"{node.op_type} {node.name!r}, with {name!r} in its body"
            raise _not_typable(source, "no float tensor in the body of a node", got, "export it without control flow")


def _float_inside(node: ir.Node) -> str | None:
    """Return the name of a tensor that a body of the node makes or reads and that is float, or of no known type."""
    bodies = [one.as_graph() for one in node.attributes.values() if one.type == ir.AttributeType.GRAPH]
    for body in bodies:
        inner = [value for one in body.all_nodes() for value in (*one.inputs, *one.outputs) if value is not None]
        for value in (*body.inputs, *body.outputs, *inner):
            if value.dtype in (None, ir.DataType.FLOAT):
                return str(value.name)
    return None


def _not_typable(source: Path, expected: str, got: str, fix: str) -> GraphError:
    return GraphError("this graph cannot be written in FP16", expected=expected, got=got, where=str(source), fix=fix)


def write_fp16(source: Path, folder: Path, name: str, ranges: Sequence[Range]) -> tuple[tuple[str, ...], Fp16Note]:
    """Write ``<name>.onnx`` and ``<name>.emulation.onnx``; return their names and the note.

    Around a tensor that leaves FP16's range the operators stay in float32; the note names them. Ranges are found by
    name, so those of the float graph serve the Q/DQ graph made from it. The emulation graph holds no weights of its
    own: they are read from ``<name>.onnx``.

    Raises:
        GraphError: a pass left an invalid graph.
    """
    model = ShapeInferencePass()(ir.load(source)).model
    keep = nodes_at(model.graph, too_wide(ranges))
    kept = float32_nodes(model.graph, keep)
    typed, emulation = folder / f"{name}.onnx", folder / f"{name}.emulation.onnx"
    model, _ = convert_to_fp16(model, keep)
    check_graph(model, "convert_to_fp16", ["convert_to_fp16"])
    RemoveUnusedNodesPass()(model)
    ir.save(model, typed)
    write_emulation(typed, emulation)
    note = Fp16Note(
        tensors=len(ranges),
        headroom=HEADROOM,
        kept_by_range=dict(sorted(keep.items())),
        float32=len(kept),
        widest=widest(ranges, WIDEST),
    )
    return (typed.name, emulation.name), note


def write_emulation(typed: Path, emulation: Path) -> None:
    """Write the float32 graph that computes what ``typed`` does, with its weights read from that file.

    Raises:
        GraphError: the typed graph has FP16 inputs or outputs.
    """
    model, _ = emulate_fp16(ir.load(typed))
    check_graph(model, "emulate_fp16", ["emulate_fp16"])
    RemoveUnusedNodesPass()(model)
    share_weights(model, typed)
    ir.save(model, emulation)


def share_weights(model: ir.Model, file: Path) -> int:
    """Let each initializer whose bytes stand in ``file``, a graph in the same folder, refer to them; return how many do.

    ONNX lets a tensor be anywhere in another file. So a reference into the weights of another graph is as good as one
    into a file of weights; equal bytes are the same tensor wherever they stand.
    """
    data, shared, start = file.read_bytes(), 0, 0
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.nbytes < SHARED_FROM:
            continue
        raw = tensor.tobytes()
        found = data.find(raw, start)  # the same order as they were written in, mostly
        found = data.find(raw) if found < 0 else found
        if found < 0:
            continue
        start, shared = found, shared + 1
        value.const_value = ir.ExternalTensor(
            file.name,
            found,
            len(raw),
            tensor.dtype,
            shape=ir.Shape(np.asarray(tensor.shape).tolist()),
            name=str(value.name),
            base_dir=str(file.parent),
        )
    return shared
