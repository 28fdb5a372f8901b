"""The one way a raw output becomes a prediction, in NumPy."""

import numpy as np

from bundle.base.errors import GraphError, RegressionFailed
from bundle.tasks.spec import Array
from bundle.tasks.table import Task


def predict(row: Task, raw: Array) -> Array:
    """Return a task's prediction of its raw float output ``[channels, height, width]``, as its kind says.

    Raises:
        GraphError: the output is not float ``[channels, height, width]`` with the task's channels.
        RegressionFailed: the output holds NaN or infinity.
    """
    _check(row, raw)
    return row.kind.predict(raw.astype(np.float32, copy=False))


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
