"""How alike two models' answers are, pixel by pixel and without a label: what two errors that cancel cannot feign.

A task without labels is judged by this alone: ``RelativeRmse`` and ``MeanAngle`` are metrics whose label is the reference's
own prediction, 1 where both answers are the same (docs/decisions/0134).

A metric compares each model with the labels; here the compiled model is compared with its reference. ``agreement`` of
a kind (bundle/tasks/kinds/) is one coarse number per image, ``change`` the difference of each pixel in the kind's unit.
``signal_energy`` are the sums that SQNR and the cosine of the full outputs are made of.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.tasks.metrics import Metric, angles_deg, sum_of_products
from bundle.tasks.spec import Array

Floats: TypeAlias = NDArray[np.float64]

AGREEMENT = "agreement"

ENERGIES = 4


def signal_energy(reference: Array, output: Array) -> Floats:
    """Return Σ reference², Σ difference², Σ reference·output, Σ output² of two arrays of one shape, float64 ``[4]``."""
    r, o = reference.astype(np.float64).reshape(-1), output.astype(np.float64).reshape(-1)
    d = r - o
    return np.array([sum_of_products(*pair) for pair in ((r, r), (d, d), (r, o), (o, o))])


def label_energy(reference: Array, prediction: Array) -> Floats:
    """Return ``signal_energy`` of two label maps as one-hot maps: a differing pixel is wrong in two channels."""
    wrong = int(np.count_nonzero(reference != prediction))
    return np.array([reference.size, 2 * wrong, reference.size - wrong, reference.size], dtype=np.float64)


def energy(reference: Array, output: Array) -> Floats:
    """Return ``label_energy`` of integers, which are label maps, else ``signal_energy``."""
    measured = label_energy if np.issubdtype(reference.dtype, np.integer) else signal_energy
    return measured(reference, output)


def sqnr_db(energies: Floats) -> float:
    """Return 10·log10(Σ reference² / Σ difference²) in dB of summed energies; NaN if there is no difference at all."""
    defined = energies[0] > 0 and energies[1] > 0
    return 10 * float(np.log10(energies[0] / energies[1])) if defined else float("nan")


def cosine(energies: Floats) -> float:
    """Return Σ reference·output / (‖reference‖·‖output‖) of summed energies; NaN if one of both is zero everywhere."""
    lengths = float(np.sqrt(energies[0]) * np.sqrt(energies[3]))
    return float(energies[2]) / lengths if lengths > 0 else float("nan")


class RelativeRmse(Metric):
    """1 − √(Σ difference² / Σ reference²) over the pixels of all images.

    The array is ``[2]``: the sums of squares of the difference and of the reference.
    """

    name: str = AGREEMENT
    title: str = AGREEMENT

    def _measure(self, prediction: Array, label: Array) -> Floats:
        whole, difference, _, _ = signal_energy(label, prediction)
        return np.array([difference, whole])

    def reduce_many(self, sums: Floats) -> Floats:
        """Map ``[R, 2]`` to the agreement, ``[R]``; NaN where the reference is 0 everywhere."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1 - np.sqrt(sums[:, 0] / np.where(sums[:, 1] == 0, np.nan, sums[:, 1])))


class MeanAngle(Metric):
    """1 − the mean angle in radians over the pixels of all images: a drop of 0.01 is 0.57°.

    The array is ``[2]``: the sum of 1 − angle, and the pixels where the reference has a direction.
    """

    name: str = AGREEMENT
    title: str = AGREEMENT

    def _measure(self, prediction: Array, label: Array) -> Floats:
        valid = label.any(axis=0)
        angles = np.deg2rad(angles_deg(prediction[:, valid], label[:, valid]))
        return np.array([angles.size - angles.sum(), angles.size], dtype=np.float64)
