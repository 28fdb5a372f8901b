"""What a graph takes and gives: one row for each ``io`` that a bundle may have.

    raw     float32 [1, 3, H, W], normalised      raw outputs float32 [1, C, H, W]
    edge    uint8 [1, H, W, 3]                    predictions [1, *axes, H, W] of their kinds' dtypes: label maps uint8
    nchw    float32 [1, 3, H, W] of 0…255         predictions as edge, but label maps int32 [1, H, W]
    nhwc    float32 [1, H, W, 3] of 0…255         predictions as nchw, but label maps int32 [1, H, W, 1]

The last two are for frameworks that make float tensors alone (docs/decisions/0136). Whatever the ``io``, a judgement sees
the same predictions.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from bundle.formats.artifacts import TensorSpec
from bundle.tasks.kinds.kind import Kind
from bundle.tasks.postprocess import predict
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import Array
from bundle.tasks.table import Task, task

Io: TypeAlias = Literal["raw", "edge", "nchw", "nhwc"]
IO_HELP = "raw: tensors in and out. edge: camera frames in, maps out. nchw, nhwc: as edge, pixels as float32, label maps as int32."


class IoForm(NamedTuple):
    """One row. ``maps``: preprocessing and postprocessing are in the graph. ``label`` is the dtype of label maps, and
    ``label_axis`` says that they have an axis of one channel behind H and W."""

    maps: bool
    dtype: str
    channels_last: bool
    label: str = ""
    label_axis: bool = False

    def spec(self, name: str, kind: Kind, size: tuple[int, int]) -> TensorSpec:
        """Return the output of a graph that answers maps."""
        dtype, last = self.map_of(kind)
        return TensorSpec(name=name, dtype=dtype, shape=(1, *kind.axes, *size, *((1,) if last else ())))

    def map_of(self, kind: Kind) -> tuple[str, bool]:
        """Return the dtype of a kind's map, and whether an axis of one channel follows its pixels."""
        labels = np.issubdtype(np.dtype(kind.dtype), np.integer)
        return (self.label, self.label_axis) if labels else (kind.dtype, False)


FORMS: Mapping[Io, IoForm] = MappingProxyType(
    {
        "raw": IoForm(maps=False, dtype="float32", channels_last=False),
        "edge": IoForm(maps=True, dtype="uint8", channels_last=True, label="uint8"),
        "nchw": IoForm(maps=True, dtype="float32", channels_last=False, label="int32"),
        "nhwc": IoForm(maps=True, dtype="float32", channels_last=True, label="int32", label_axis=True),
    }
)


def interface(
    io: Io, preprocess: Preprocess, tasks: Mapping[str, int], *, colours: int = 3
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the input and output specs of a graph: batch 1, static size, outputs in the order of ``tasks``.

    ``colours`` stands for the image's 3 channels; it is 3 in every bundle.
    """
    form, size = FORMS[io], (preprocess.height, preprocess.width)
    shape = (1, *size, colours) if form.channels_last else (1, colours, *size)
    image = TensorSpec(name="image", dtype=form.dtype, shape=shape)
    if form.maps:
        return (image,), tuple(form.spec(name, task(name).kind, size) for name in tasks)
    outputs = (TensorSpec(name=name, dtype="float32", shape=(1, count, *size)) for name, count in tasks.items())
    return (image,), tuple(outputs)


def model_input(
    io: Io, preprocess: Preprocess, image: Array, *, channels: int = 3, name: str = "the image given"
) -> Array:
    """Return the input of a graph for an image uint8 ``[H, W, 3]`` of exactly the model's size: its first ``channels``.

    Raises:
        DatasetError: another size or dtype; ``name`` says which image.
    """
    form = FORMS[io]
    if not form.maps:
        return np.ascontiguousarray(preprocess.apply(image, name=name)[:, :channels])
    pixels = preprocess.check(image, name=name)[None, ..., :channels]
    return np.ascontiguousarray(pixels if form.channels_last else pixels.transpose(0, 3, 1, 2), dtype=form.dtype)


def prediction(io: Io, row: Task, output: Array) -> Array:
    """Return a task's prediction ``[*axes, H, W]`` from a graph's output without its batch axis.

    Raises:
        GraphError: a raw output has not its task's dtype or shape.
        RegressionFailed: a raw output holds NaN or infinity.
    """
    form = FORMS[io]
    if not form.maps:
        return predict(row, output)
    _, last = form.map_of(row.kind)
    return np.asarray(output[..., 0] if last else output).astype(row.kind.dtype, copy=False)
