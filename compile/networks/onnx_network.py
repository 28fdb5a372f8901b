"""An ONNX file and its ``tasks.toml``: checked, and composed with the adapter into a graph of this project's contract.

What cannot be adapted is refused here, before any stage runs. An ArgMax or a Sigmoid that only ends an output is left out:
the task's answer is the same, and its scores can be compared and quantized.
"""

from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
import onnx_ir.traversal
from onnx_ir.passes.common import ShapeInferencePass

from bundle.base.errors import ConfigError, GraphError
from bundle.tasks.table import task
from compile.graphs.clean import strip_metadata
from compile.graphs.foreign import prepare_model
from compile.graphs.load_onnx import name_nodes
from compile.graphs.nodes import constant, integer, is_standard, label, shape_of
from compile.graphs.pin_input import InputFlags
from compile.graphs.read_onnx import flatten, read_model
from compile.graphs.torch_export import OPSET
from compile.networks.adapter import Adapter, answer, reversed_colours
from compile.networks.description import NetworkDescription, OutputDescription
from compile.networks.widen import HALVES, widen_halves
from compile.stage.graph_info import INPUT

COLOURS = 3
STORED = frozenset({"Cast", "Constant", "Identity"})
FORWARDED = frozenset({"Cast", "Identity", "Squeeze"})
FIX_SIZE = "give --size, the height and width of your images"
FIX_TASKS = "correct tasks.toml: docs/guides/your-network.md has its keys"
Size = tuple[int, int]


class Adapted(NamedTuple):
    """A network in this project's form, the network as it was given, and what was done to it.

    ``given`` answers ``outputs``, by task, which ``adapted`` brings into the contract; ``tasks`` are the channels.
    """

    adapted: ir.Model
    given: ir.Model
    outputs: dict[str, OutputDescription]
    tasks: dict[str, int]
    size: Size
    changes: tuple[str, ...]


def adapt(path: Path, described: NetworkDescription, size: Size | None) -> Adapted:
    """Read a network and bring it into the contract ``raw`` (compile/stage/graph_info.py).

    ``size`` fixes height and width where the file leaves them open.

    Raises:
        ConfigError: ``tasks.toml`` names an input or output that the network lacks, or leaves one out.
        GraphError: the network cannot be compiled: its input, an output, an operator or a weight is named.
    """
    outputs = {given.output for given in described.tasks.values()}
    model = flatten(ir.external_data.load_to_model(read_model(path)), path.name)
    halves = widen_halves(model)
    adapted = adapt_model(model, path, described, size, ends=outputs)
    changes = (f"{halves} values of half precision taken as float32",) if halves else ()
    return adapted._replace(changes=(*changes, *adapted.changes))


def adapt_model(
    model: ir.Model, path: Path, described: NetworkDescription, size: Size | None, *, ends: Container[str]
) -> Adapted:
    """Adapt a model that was read from ``path``; see ``adapt``. What ends an output that is in ``ends`` may be left out."""
    model.graph.sort()  # some converters append the nodes that they add, and ONNX Runtime takes them in any order
    _require_finite(model, path)
    image = _choose_input(model, described, path)
    pinned = _pinned(image, described, size, path)
    _require_outputs(model, described, path)
    model = flatten(model, path.name)
    _require_float32(model, path)
    given = _with_scores(model, described, pinned, ends)
    image = next(value for value in model.graph.inputs if value.name == image.name)
    changes = [f"{name}: {words}" for name, (_, words) in given.items() if words]
    outputs = {name: output for name, (output, _) in given.items()}
    model.graph.outputs[:] = [_value(model, output.output) for output in outputs.values()]
    as_given = model.clone()
    next(value for value in as_given.graph.inputs if value.name == image.name).shape = ir.Shape(
        _shape(described, pinned)
    )
    _take_floats(model, image)
    flags = InputFlags(str(image.name), _shape(described, pinned), option="" if size is None else "--size")
    prepared = prepare_model(model, path, flags, (OPSET, OPSET))
    _refuse_control_flow(prepared.model, path)
    for kept, known in zip(as_given.graph.outputs, prepared.model.graph.outputs, strict=True):
        kept.shape, kept.type = known.shape, kept.type or known.type
    tasks = _compose(prepared.model, described, outputs, pinned)
    _require_channels(tasks, outputs, path)
    name_nodes(prepared.model.graph)
    strip_metadata(prepared.model)
    return Adapted(prepared.model, as_given, outputs, tasks, pinned, (*changes, *prepared.changes))


def _require_finite(model: ir.Model, path: Path) -> None:
    for value in _values(model):
        array = constant(value)
        if array is not None and np.issubdtype(array.dtype, np.floating) and not _is_sound(array):
            raise GraphError(
                "a weight of the network is not finite",
                expected="finite numbers",
                got=f"NaN or infinity in {value.name!r}",
                where=str(path),
                fix="train the network again, or give a sound one",
            )


def _is_sound(array: np.ndarray) -> bool:
    """Say whether an array is finite, or one infinite number (an end of a Clip, a fill), or a mask of 0 and infinity."""
    infinite = np.isinf(array)
    mask = array.ndim > 1 and bool((array == 0).any() and (infinite | (array == 0)).all())
    return bool(np.isfinite(array).all() or mask or (array.ndim == 0 and infinite))


def _require_float32(model: ir.Model, path: Path) -> None:
    """Refuse half precision: the reference is float32. Weights that are only stored so, and cast, pass."""
    for node in model.graph:
        for value in node.outputs:
            if value.dtype in HALVES and node.op_type not in STORED:
                raise GraphError(
                    "the network computes in half precision",
                    expected="float32",
                    got=f"{value.dtype} of {node.op_type} {label(node)}",
                    where=str(path),
                    fix="export it in float32, or as .onnx, which is taken as float32",
                )


def _choose_input(model: ir.Model, described: NetworkDescription, path: Path) -> ir.Value:
    """Return the one input, which is an image."""
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    names = [str(value.name) for value in inputs]
    wanted = described.input.name
    if wanted and wanted not in names:
        raise _described(path, f"the network has no input {wanted!r}", f"one of {', '.join(names)}", repr(wanted))
    if len(inputs) != 1:
        raise GraphError(
            "the network takes more than one input",
            expected="one image",
            got=", ".join(f"{value.name!r} {value.dtype} {value.shape}" for value in inputs) or "no input",
            where=str(path),
            fix="export a network that takes one image; make the other inputs constants",
        )
    return inputs[0]


def _pinned(image: ir.Value, described: NetworkDescription, size: Size | None, path: Path) -> Size:
    """Return the height and width that the graph will have."""
    layout, form = described.input.layout, "float32 or uint8 [1, 3, height, width]"
    last = layout == "nhwc"
    form = "float32 or uint8 [1, height, width, 3]" if last else form
    sizes = [one if isinstance(one, int) else None for one in image.shape or ()]
    got = f"{image.name!r} {image.dtype} {image.shape}"
    if image.dtype not in (ir.DataType.FLOAT, ir.DataType.UINT8):
        fix = "export the network with a float32 input"
        raise _described(path, "the network's input is neither float32 nor uint8", form, got, fix)
    if len(sizes) != 4 or sizes[0] not in (1, None):
        raise _described(path, "the network's input is no image", f"{form} (input.layout is {layout})", got)
    channels, own = (sizes[3], sizes[1:3]) if last else (sizes[1], sizes[2:])
    if channels not in (COLOURS, None) or (channels is None and COLOURS in own):
        fix = "a bundle takes RGB frames; tdss quantize takes a grey network as it is" if channels == 1 else FIX_TASKS
        raise _described(
            path, "the network's input has not three colours", f"{form} (input.layout is {layout})", got, fix
        )
    if image.dtype == ir.DataType.UINT8 and (described.input.range != "0..255" or described.input.normalised):
        raise _described(path, "a uint8 input cannot be normalised", 'range = "0..255", no mean, no std', got)
    if size is None and None in own:
        raise _described(path, "the network leaves its image's size open", "--size HEIGHT WIDTH", got, FIX_SIZE)
    if size is not None and any(one not in (None, other) for one, other in zip(own, size, strict=True)):
        raise _described(
            path,
            "the network is made for another size",
            f"height {own[0]}, width {own[1]}",
            f"--size {size[0]} {size[1]}",
            "leave --size out, or give the size that the network has",
        )
    height, width = size or (int(own[0] or 0), int(own[1] or 0))
    return height, width


def _shape(described: NetworkDescription, size: Size) -> tuple[int, ...]:
    return (1, *size, COLOURS) if described.input.layout == "nhwc" else (1, COLOURS, *size)


def _require_outputs(model: ir.Model, described: NetworkDescription, path: Path) -> None:
    """Compare the outputs that tasks.toml names with those of the network."""
    there = [str(value.name) for value in model.graph.outputs]
    named = {given.output for given in described.tasks.values()} | set(described.unused)
    for name, given in described.tasks.items():
        if given.output not in there:
            raise _described(
                path, f"the network has no output for {name}", f"one of {', '.join(there)}", repr(given.output)
            )
    for name in described.unused:
        if name not in there:
            raise _described(path, "an unused output is none", f"one of {', '.join(there)}", repr(name))
    if left := [name for name in there if name not in named]:
        raise _described(
            path,
            f"tasks.toml does not say what the output {left[0]!r} is",
            "a task or unused for each output",
            ", ".join(left),
            f"name it in a task, or write unused = {left}".replace("'", '"'),
        )


def _with_scores(
    model: ir.Model, described: NetworkDescription, size: Size, ends: Container[str]
) -> dict[str, tuple[OutputDescription, str]]:
    """Return each output, or where an ArgMax or a Sigmoid ends one of ``ends``, the scores before it, with a word about that."""
    trial = model.clone()
    image = trial.graph.inputs[0]
    image.shape = ir.Shape(_shape(described, size))
    for node in trial.graph:
        for value in node.outputs:
            value.shape = None
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(trial)
    return {
        name: _scores(_value(trial, given.output), given, size) if given.output in ends else (given, "")
        for name, given in described.tasks.items()
    }


def _scores(output: ir.Value, given: OutputDescription, size: Size) -> tuple[OutputDescription, str]:
    end = output.producer()
    while end is not None and end.op_type in FORWARDED and end.inputs[0] is not None:
        end = end.inputs[0].producer()
    ended = None if end is None else ENDS.get((given.form, end.op_type))
    scores = None if end is None or ended is None else end.inputs[0]
    shape = shape_of(scores)
    if end is None or scores is None or shape is None or len(shape) != 4 or not is_standard(end):
        return given, ""
    axis = integer(end, "axis", 0) % 4 if end.op_type == "ArgMax" else 3 if given.layout == "nhwc" else 1
    layout = {1: "nchw", 3: "nhwc"}.get(axis)
    sides = shape[1:3] if layout == "nhwc" else shape[2:]
    if layout is None or sides != size or integer(end, "select_last_index", 0):
        return given, ""
    changes = {"output": str(scores.name), "form": "logits", "layout": layout}
    return given.model_copy(update=changes), f"taken before the {end.op_type} {label(end)}"


ENDS = {("labels", "ArgMax"): True, ("probability", "Sigmoid"): True}
"""Which operator at the end of an output of a form may be left out."""


def _value(model: ir.Model, name: str) -> ir.Value:
    return next(value for value in _values(model) if value.name == name)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    yield from list(model.graph.initializers.values())
    for node in model.graph:
        yield from node.outputs


def _take_floats(model: ir.Model, image: ir.Value) -> None:
    """Have a network that takes bytes take float32 of the same values: no target has a Cast to uint8 inside a graph."""
    if image.dtype == ir.DataType.FLOAT:
        return
    image.type = ir.TensorType(ir.DataType.FLOAT)
    for node in model.graph:
        for value in node.outputs:
            value.type, value.shape = None, None
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def _refuse_control_flow(model: ir.Model, path: Path) -> None:
    for node in model.graph:
        if any(one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for one in node.attributes.values()):
            raise GraphError(
                "the network has control flow",
                expected="operators without graphs of their own",
                got=f"{node.op_type} {label(node)}",
                where=str(path),
                fix="export the network for one path: a fixed condition, an unrolled loop",
            )


def _compose(
    model: ir.Model, described: NetworkDescription, outputs: dict[str, OutputDescription], size: Size
) -> dict[str, int]:
    """Put the adapter around a prepared graph; return each task's channels."""
    [image] = model.graph.inputs
    if described.input.colours == "bgr":
        before = Adapter(f"{INPUT}/colours")
        image_bgr = reversed_colours(before, image)
        image_bgr.shape, image_bgr.type = image.shape, image.type
        ir.convenience.replace_all_uses_with(image, image_bgr)
        before.nodes[-1].replace_input_with(0, image)
        for node in reversed(before.nodes):
            model.graph.insert_before(model.graph[0], node)
    answers = adapter_outputs(list(model.graph.outputs), outputs, size)
    for value in _values(model):
        if value.name in outputs:
            value.name = f"{value.name}/given"
    for name, (value, nodes) in answers.items():
        model.graph.extend(nodes)
        value.name = name
    model.graph.outputs[:] = [value for value, _ in answers.values()]
    return {name: (shape_of(value) or (1, 0))[1] for name, (value, _) in answers.items()}


def adapter_outputs(
    values: list[ir.Value], outputs: dict[str, OutputDescription], size: Size
) -> dict[str, tuple[ir.Value, tuple[ir.Node, ...]]]:
    """Return each task's raw output with the nodes that make it of the network's output."""
    found = {}
    for value, (name, given) in zip(values, outputs.items(), strict=True):
        adapter = Adapter(f"{name}/adapter")
        made = answer(adapter, value, given, size)
        found[name] = (made, adapter.nodes)
    return found


def _require_channels(tasks: dict[str, int], outputs: dict[str, OutputDescription], path: Path) -> None:
    for name, channels in tasks.items():
        row, given = task(name), outputs[name]
        if given.classes and len(given.classes) != channels:
            raise _described(
                path,
                f"the classes of {name} are not those of the network",
                f"{channels} names",
                f"{len(given.classes)} in tasks.{name}.classes",
            )
        wanted = "2 or more channels" if row.channels is None else f"{row.channels} channels"
        if given.form == "labels" and channels < 2:
            raise _described(
                path,
                f"the classes of {name} are not named",
                f"tasks.{name}.classes, for no scores are behind the label map",
                f"{channels} classes",
            )
        if channels < 2 if row.channels is None else channels != row.channels:
            raise _described(
                path, f"the output of {name} has a wrong channel count", wanted, f"{channels} in {given.output!r}"
            )


def _described(path: Path, message: str, expected: str, got: str, fix: str = FIX_TASKS) -> ConfigError:
    return ConfigError(message, expected=expected, got=got, where=str(path), fix=fix)
