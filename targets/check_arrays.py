"""Arrays as a graph takes and gives them: names, dtypes and shapes, checked with a way to correct them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import ArtifactError, InputError
from bundle.formats.artifacts import TensorSpec


def wrong_feed(message: str, expected: str, got: str, fix: str) -> InputError:
    """Return the error about a feed."""
    return InputError(message, expected=expected, got=got, where="the feed of Session.infer", fix=fix)


def check_feed(feed: Mapping[str, NDArray[np.generic]], specs: tuple[TensorSpec, ...]) -> None:
    """Check that ``feed`` has exactly the arrays ``specs`` names, with their dtypes and shapes. Values are free: NaN passes.

    Raises:
        InputError: a name, type, dtype or shape is wrong; the message says how to fix it.
    """
    names = [spec.name for spec in specs]
    missing, extra = [name for name in names if name not in feed], sorted(set(feed) - set(names))
    if missing:
        raise wrong_feed(
            f"input {missing[0]!r} is missing",
            f"inputs {names}",
            f"inputs {sorted(feed)}",
            f"feed an array as {missing[0]!r}",
        )
    if extra:
        raise wrong_feed(
            f"there is no input {extra[0]!r}", f"inputs {names}", f"inputs {sorted(feed)}", f"leave {extra[0]!r} out"
        )
    for spec in specs:
        _check_array(feed[spec.name], spec)


def _check_array(array: object, spec: TensorSpec) -> None:
    if not isinstance(array, np.ndarray):
        raise wrong_feed(
            f"input {spec.name!r} is no NumPy array",
            f"numpy.ndarray of {spec.dtype}",
            type(array).__name__,
            "convert it with numpy.asarray",
        )
    if array.dtype != np.dtype(spec.dtype):
        raise wrong_feed(
            f"input {spec.name!r} has the wrong dtype",
            spec.dtype,
            str(array.dtype),
            f"convert it with .astype({spec.dtype!r})",
        )
    if array.shape != spec.shape:
        fix = "shapes are static: resize the image, or export the model at this size"
        if array.shape == spec.shape[1:]:
            fix = "add the batch axis: array[None]"
        raise wrong_feed(f"input {spec.name!r} has the wrong shape", str(spec.shape), str(array.shape), fix)


def check_outputs(outputs: Mapping[str, NDArray[np.generic]], specs: tuple[TensorSpec, ...], where: str) -> None:
    """Check that a backend returned what the graph's record promises.

    Raises:
        ArtifactError: an output is missing, or has another dtype or shape than was recorded.
    """
    for spec in specs:
        got = f"{outputs[spec.name].dtype} {outputs[spec.name].shape}" if spec.name in outputs else "no such output"
        if got != f"{spec.dtype} {spec.shape}":
            raise ArtifactError(
                f"output {spec.name!r} is not what was recorded",
                expected=f"{spec.dtype} {spec.shape}",
                got=got,
                where=where,
                fix="the engine does not belong to this bundle, or its build is broken: build it again",
            )
