"""The input of a foreign graph: which one is the image, and of what shape; with the flags that say so for a file."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from bundle.base.errors import ConfigError, GraphError
from compile.graphs.nodes import names_of, shape_of, unused
from compile.stage.graph_info import INPUT

CHANNELS = (3, 1)  # RGB or grey; where both fit a shape, RGB
AXES = 4
TYPES = (ir.DataType.FLOAT, ir.DataType.UINT8)
NHWC = (0, 2, 3, 1)


class InputFlags(NamedTuple):
    """What a command line says of the input: its name, and its shape, () where the file's is taken.

    ``size`` is the height and width of the images at hand; it is proposed where a file leaves them open. ``option`` is what
    the size was given by; "" where it is the file's own.
    """

    name: str = ""
    shape: tuple[int, ...] = ()
    size: tuple[int, int] | None = None
    option: str = "--shape"


def read_shape(text: str) -> tuple[int, ...]:
    """Read the shape of an image from ``1,3,224,224`` or ``1,224,224,3``; () from an empty text.

    Raises:
        ConfigError: it is no such shape.
    """
    parts = text.split(",") if text else []
    sizes = tuple(int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) < 10)
    if len(sizes) != len(parts) or (sizes and not _is_image(sizes)):
        raise ConfigError(
            "this is no shape of an image",
            expected="1,CHANNELS,HEIGHT,WIDTH or 1,HEIGHT,WIDTH,CHANNELS; 3 channels, or 1 for grey",
            got=repr(text),
            where="--shape",
            fix="one image a call, RGB or grey: --shape 1,3,224,224 or --shape 1,1,64,256",
        )
    return sizes


def _is_image(shape: Sequence[object]) -> bool:
    return len(shape) == AXES and shape[0] == 1 and channel_axis(shape) > 0 and 0 not in shape


def channel_axis(shape: Sequence[object]) -> int:
    """Return the axis of an image's channels, 1 or 3; 0 where neither has 3 or 1 of them."""
    return next((axis for channels in CHANNELS for axis in (1, 3) if shape[axis] == channels), 0)


def read_values(text: str, option: str) -> tuple[float, ...]:
    """Read a mean or a std: ``0.5``, or ``0.485,0.456,0.406`` for R, G and B; () from an empty text.

    Raises:
        ConfigError: it is neither; ``option`` says which one.
    """
    parts = text.split(",") if text else []
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != len(parts) or len(values) not in (0, *CHANNELS):
        raise ConfigError(
            "this is no normalisation",
            expected="one number, or three with commas",
            got=repr(text),
            where=option,
            fix=f"one for every channel, {option} 0.5, or one each for R, G and B: {option} 0.5,0.4,0.4",
        )
    return values


def choose_input(model: ir.Model, flags: InputFlags, path: Path) -> ir.Value:
    """Return the one input, which is an image.

    Raises:
        GraphError: there is another input, or it has another name, type or shape; the flags for this file are named.
    """
    inputs, name = model.graph.inputs, flags.name or INPUT
    chosen = next((value for value in inputs if value.name == name), None)
    if chosen is None or len(inputs) != 1:
        raise _refused(inputs, flags, path, f"one input, {name!r}")
    shape = flags.shape or shape_of(chosen) or ()
    if chosen.dtype not in TYPES or not _is_image(shape) or not _has_channels(chosen, shape):
        raise _refused(
            inputs, flags, path, f"{name!r} static, uint8 [1,H,W,C] or float32 [1,C,H,W] or [1,H,W,C]; C 3 or 1"
        )
    if chosen.dtype == ir.DataType.UINT8 and shape[3] not in CHANNELS:
        raise _refused(inputs, flags, path, f"{name!r} as uint8 [1,H,W,C], the frames of a camera; C 3 or 1")
    return chosen


def _has_channels(value: ir.Value, shape: Sequence[int]) -> bool:
    """Say whether a file's input may have the channels of ``shape``; its other axes are pinned to any size."""
    if value.shape is None:
        return True
    axis = channel_axis(shape)
    return len(value.shape) == AXES and not (isinstance(value.shape[axis], int) and value.shape[axis] != shape[axis])


def _refused(inputs: Sequence[ir.Value], flags: InputFlags, path: Path, expected: str) -> GraphError:
    typed = _flags_for(inputs, flags.size)
    return GraphError(
        "this is no graph that can be quantized",
        expected=expected,
        got=", ".join(f"{value.name!r} {value.dtype} {value.shape}" for value in inputs) or "no input",
        where=str(path),
        fix=f"type {typed}"
        if typed
        else "export a network that takes one image, of 3 channels (RGB) or 1 (grey), in float32 or uint8",
    )


def _flags_for(inputs: Sequence[ir.Value], size: tuple[int, int] | None) -> str:
    """Return the flags that make a file's only input the image; nothing where none do."""
    if len(inputs) != 1 or inputs[0].dtype not in TYPES:
        return ""
    value, given = inputs[0], [None] * AXES if inputs[0].shape is None else list(inputs[0].shape)
    sizes = [one if isinstance(one, int) else None for one in given]
    if len(sizes) != AXES or (sizes[1] is not None and not channel_axis(sizes)):
        return ""
    last = channel_axis(sizes) == 3
    if value.dtype == ir.DataType.UINT8 and not last:
        return ""
    named = f"--input {shlex.quote(str(value.name))}"
    if _is_image(sizes) and None not in sizes:
        return named
    height, width = sizes[1:3] if last else sizes[2:]
    side = [str(one or other) for one, other in zip((height, width), size or ("HEIGHT", "WIDTH"), strict=True)]
    channels = str(sizes[3 if last else 1] or CHANNELS[0])
    return f"{named} --shape 1,{','.join([*side, channels] if last else [channels, *side])}"


def pin_input(model: ir.Model, value: ir.Value, flags: InputFlags) -> Iterator[str]:
    """Name the input ``image``, give it the shape that was asked for, and have it take NCHW; say what was done."""
    if value.name != INPUT:
        _free_name(model)
        yield f"input {value.name} named {INPUT}"
        value.name = INPUT
    if flags.shape and flags.shape != shape_of(value):
        yield f"input pinned to {list(flags.shape)}"
        value.shape = ir.Shape(flags.shape)
        for other in (result for node in model.graph.all_nodes() for result in node.outputs):
            other.shape = None
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    sizes = shape_of(value) or ()
    if value.dtype == ir.DataType.FLOAT and channel_axis(sizes) != 1:
        yield "input taken as NCHW, with a Transpose"
        _transpose(model, value, sizes)


def _free_name(model: ir.Model) -> None:
    """Rename what else is called ``image``."""
    taken = names_of(model.graph)
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if value.name == INPUT:
                value.name = unused(INPUT, taken)


def _transpose(model: ir.Model, value: ir.Value, sizes: Sequence[int]) -> None:
    name = unused(f"{INPUT}/nhwc", names_of(model.graph))
    node = ir.Node("", "Transpose", [value], [ir.AttrInt64s("perm", NHWC)], name=name)
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = name, value.type, ir.Shape(sizes)
    ir.convenience.replace_all_uses_with(value, node.outputs[0])
    node.replace_input_with(0, value)
    value.shape = ir.Shape([int(size) for size in np.array(sizes)[[0, 3, 1, 2]]])
    model.graph.insert_before(model.graph[0], node)
