"""How alike two models' answers are, pixel by pixel and without a label: what two errors that cancel cannot feign.

A metric compares each model with the labels; here the compiled model is compared with its reference. ``agreement`` is
one coarse number per image. ``change`` is the mean difference per pixel, in the task's own unit. ``signal_energy``
are the sums that SQNR and the cosine of the full outputs are made of.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.tasks.dataset import Array
from bundle.tasks.metrics import angles_deg
from bundle.tasks.table import Activation

Floats: TypeAlias = NDArray[np.float64]

CHANGE_UNITS: dict[Activation, str] = {
    "argmax": "share of pixels whose class changed",
    "sigmoid": "probability",
    "unit": "degrees",
    "relu": "metres",
}
ENERGIES = 4


def agreement(activation: Activation, reference: Array, prediction: Array) -> float:
    """Return how alike two predictions are, 0…1, over all pixels.

    ``argmax``: the share of equal pixels. ``sigmoid``: 1 − mean |Δp|. ``unit``: the mean cosine, within 0…1.
    ``relu``: 1 − Σ|Δd| / Σ max(d), the weighted Jaccard index.
    """
    if activation == "argmax":
        return float((reference == prediction).mean())
    ours, theirs = reference.astype(np.float64), prediction.astype(np.float64)
    if activation == "sigmoid":
        return 1.0 - float(np.abs(ours - theirs).mean())
    if activation == "unit":
        return float(np.clip((ours * theirs).sum(axis=0).mean(), 0, 1))
    larger = float(np.maximum(ours, theirs).sum())
    return 1.0 - float(np.abs(ours - theirs).sum()) / larger if larger > 0 else 1.0


def change(activation: Activation, reference: Array, prediction: Array) -> float:
    """Return by how much two predictions differ in the mean over all pixels, in ``CHANGE_UNITS``."""
    if activation == "argmax":
        return float((reference != prediction).mean())
    if activation == "unit":
        return float(angles_deg(prediction, reference).mean())
    return float(np.abs(reference.astype(np.float64) - prediction.astype(np.float64)).mean())


def signal_energy(reference: Array, output: Array) -> Floats:
    """Return Σ reference², Σ difference², Σ reference·output, Σ output² of two arrays of one shape, float64 ``[4]``."""
    r, o = reference.astype(np.float64).reshape(-1), output.astype(np.float64).reshape(-1)
    d = r - o
    return np.array([r @ r, d @ d, r @ o, o @ o])


def label_energy(reference: Array, prediction: Array) -> Floats:
    """Return ``signal_energy`` of two label maps as one-hot maps: a differing pixel is wrong in two channels."""
    wrong = int(np.count_nonzero(reference != prediction))
    return np.array([reference.size, 2 * wrong, reference.size - wrong, reference.size], dtype=np.float64)


def sqnr_db(energies: Floats) -> float:
    """Return 10·log10(Σ reference² / Σ difference²) in dB of summed energies; NaN if there is no difference at all."""
    defined = energies[0] > 0 and energies[1] > 0
    return 10 * float(np.log10(energies[0] / energies[1])) if defined else float("nan")


def cosine(energies: Floats) -> float:
    """Return Σ reference·output / (‖reference‖·‖output‖) of summed energies; NaN if one of both is zero everywhere."""
    lengths = float(np.sqrt(energies[0]) * np.sqrt(energies[3]))
    return float(energies[2]) / lengths if lengths > 0 else float("nan")
