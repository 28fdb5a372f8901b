"""The one way a raw output becomes a prediction: a task's activation, in NumPy."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import GraphError, RegressionFailed
from bundle.tasks.dataset import Array
from bundle.tasks.table import Task

Floats: TypeAlias = NDArray[np.float32]


def predict(row: Task, raw: Array) -> Array:
    """Apply a task's activation to its raw float output ``[channels, height, width]``.

    Returns ``argmax`` uint8 ``[H, W]``; ``sigmoid`` float32 ``[H, W]`` in 0…1; ``unit`` float32 ``[3, H, W]`` of
    length 1 (a zero vector stays zero); ``relu`` float32 ``[H, W]`` in metres.

    Raises:
        GraphError: the output is not float ``[channels, height, width]`` with the task's channels.
        RegressionFailed: the output holds NaN or infinity.
    """
    _check(row, raw)
    values: Floats = raw.astype(np.float32, copy=False)
    if row.activation == "argmax":
        return _argmax(values)
    if row.activation == "sigmoid":
        return _sigmoid(values[0])
    if row.activation == "relu":
        return np.asarray(np.maximum(values[0], 0), dtype=np.float32)
    return _unit(values)


def _check(row: Task, raw: Array) -> None:
    channels = "channels" if row.channels is None else str(row.channels)
    known = raw.ndim == 3 and np.issubdtype(raw.dtype, np.floating) and row.channels in (None, raw.shape[0])
    if not known or not 0 < raw.shape[0] <= 255:
        raise GraphError(
            f"the raw output of {row.name} has the wrong dtype or shape",
            expected=f"float [{channels}, height, width]",
            got=f"{raw.dtype} {list(raw.shape)}",
            where=f"output {row.name}",
            fix="give one image's output, without batch",
        )
    finite = np.isfinite(raw)
    if not finite.all():
        raise RegressionFailed(
            f"the output of {row.name} is not finite",
            expected="finite numbers",
            got=f"{raw.size - int(finite.sum())} of {raw.size} values NaN or infinite",
            where=f"output {row.name}",
            fix="keep the layers that overflow in float32",
        )


def _argmax(values: Floats) -> NDArray[np.uint8]:
    best, label = values[0].copy(), np.zeros(values.shape[1:], np.uint8)
    for index in range(1, values.shape[0]):  # faster than argmax over the first axis; a tie keeps the lower class
        better = values[index] > best
        np.copyto(best, values[index], where=better)
        label[better] = index
    return label


def _sigmoid(values: Floats) -> Floats:
    small = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, np.float32(1), small) / (1 + small), dtype=np.float32)


def _unit(values: Floats) -> Floats:
    length = np.sqrt((values.astype(np.float64) ** 2).sum(axis=0))
    return (values / np.where(length > 0, length, 1.0)).astype(np.float32)
