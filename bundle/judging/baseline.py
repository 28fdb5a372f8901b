"""An earlier run as a second reference: is this compiled model worse than the one judged before?

A report keeps the gated figures' per-image arrays: float64, their bytes ordered by significance (equal high bytes are
next to each other), deflated, base64. The comparison is the gate's own, paired image by image, so it sees a difference that two
separate intervals would hide.
"""

import base64
import math
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import InputError
from bundle.base.limits import LIMITS
from bundle.formats.manifest import Manifest
from bundle.judging.criteria import Judging
from bundle.judging.regression_report import BaselineResult, PackedArrays, RegressionReport, VariantTask
from bundle.judging.verdict import Judgement, delta_m, judge

Floats = NDArray[np.float64]


def pack(ids: tuple[str, ...], arrays: Mapping[str, Floats]) -> PackedArrays:
    """Return the arrays float64 ``[N, …]`` of each task as text."""
    return PackedArrays(ids=ids, tasks={name: _pack(array) for name, array in arrays.items()})


def _pack(array: Floats) -> str:
    ordered = np.ascontiguousarray(array, "<f8").reshape(-1).view(np.uint8).reshape(-1, 8).T
    return base64.b64encode(zlib.compress(ordered.tobytes(), 9)).decode()


def unpack(text: str, shape: tuple[int, ...]) -> Floats:
    """Return the array that was packed, float64 of ``shape``; no more is unpacked than such an array has.

    Raises:
        InputError: the text holds something else.
    """
    return _unpacked(text, 8 * math.prod(shape), f"packed float64 {list(shape)}").reshape(shape)


def unpack_rows(text: str, images: int) -> Floats:
    """Return the array that was packed for so many images, float64 ``[images, numbers]``.

    Raises:
        InputError: the text holds something else.
    """
    expected = f"packed float64 [{images}, …]"
    flat = _unpacked(text, LIMITS["array_bytes"].most, expected, whole=False)
    if images < 1 or flat.size == 0 or flat.size % images:
        raise _unreadable(expected, f"{flat.size} numbers")
    return flat.reshape(images, -1)


def _unpacked(text: str, size: int, expected: str, *, whole: bool = True) -> Floats:
    """Return what was packed, flat: of ``size`` bytes, or of at most so many if it is not ``whole``."""
    try:
        decoder = zlib.decompressobj()
        content = np.frombuffer(decoder.decompress(base64.b64decode(text, validate=True), size + 1), np.uint8)
        if len(content) > size or (whole and len(content) != size):
            raise ValueError(f"{'more' if len(content) > size else 'fewer'} than {size} bytes")
        if len(content) % 8 or not (whole or decoder.eof):
            raise ValueError(f"{len(content)} bytes, which end early")
        return np.ascontiguousarray(content.reshape(8, -1).T).view("<f8").reshape(-1).astype(np.float64)
    except (ValueError, zlib.error) as error:
        raise _unreadable(expected, str(error)) from error


def _unreadable(expected: str, got: str) -> InputError:
    return InputError(
        "the per-image arrays of the earlier run cannot be read",
        expected=expected,
        got=got,
        where="arrays of regression.json",
        fix="run the earlier version again",
    )


def compare(
    earlier: RegressionReport, ids: tuple[str, ...], arrays: Mapping[str, Floats], manifest: Manifest, judging: Judging
) -> BaselineResult:
    """Judge a run's arrays against those of an earlier one, by the manifest's budgets.

    Raises:
        InputError: the earlier run is of other images or tasks, or keeps no arrays.
    """
    at = manifest.dataset.metrics_at
    if earlier.metrics_at != at:
        raise _refused("measured at another size", f"metrics_at {at!r}", f"metrics_at {earlier.metrics_at!r}")
    kept = _comparable(earlier, ids, tuple(arrays))
    judged: dict[str, Judgement] = {}
    for name, ours in arrays.items():
        figure = manifest.row(name).judge(manifest.tasks[name])
        theirs = unpack(kept.tasks[name], (len(ids), *figure.shape))
        if not np.isfinite(theirs).all():
            raise _refused(f"gave NaN or infinity for {name}", "finite figures", "an output that was not finite")
        judged[name] = judge(theirs, ours, judging.rule(manifest, name, figure))
    return BaselineResult(
        model=earlier.model,
        target=earlier.target,
        device=earlier.device,
        precision=earlier.precision,
        executed_on=earlier.executed_on,
        tasks={name: _row(judgement, manifest.budgets[name]) for name, judgement in judged.items()},
        delta_m=delta_m([judgement.drop for judgement in judged.values()]),
        passed=all(judgement.verdict in judging.accepted for judgement in judged.values()),
    )


def _row(judged: Judgement, budget: float) -> VariantTask:
    return VariantTask(
        reference=judged.reference,
        compiled=judged.compiled,
        labelled_images=judged.labelled_images,
        drop_relative=judged.drop,
        interval=judged.interval,
        budget=budget,
        verdict=judged.verdict,
    )


def _comparable(earlier: RegressionReport, ids: tuple[str, ...], tasks: tuple[str, ...]) -> PackedArrays:
    kept = earlier.arrays
    if kept is None:
        raise _refused("keeps no per-image arrays", "arrays in the file", "none")
    if tuple(kept.tasks) != tasks:
        raise _refused("is of other tasks", str(list(tasks)), str(list(kept.tasks)))
    if kept.ids != ids:
        apart = [name for name in (*kept.ids, *ids) if (name in kept.ids) != (name in ids)]
        other = f"{apart[0]} is in one of them" if apart else "the same images in another order"
        raise _refused("is of other images", f"{len(ids)} images: {', '.join(ids[:3])} …", f"{len(kept.ids)}: {other}")
    return kept


def _refused(message: str, expected: str, got: str) -> InputError:
    return InputError(
        f"the earlier run {message}",
        expected=expected,
        got=got,
        where="--baseline",
        fix="judge both versions on the same images, with bundles of one build's vectors or the same --data",
    )
