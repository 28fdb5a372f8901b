"""A distance per pixel: one channel, negative values cut, float32 ``[H, W]`` in metres; 0 in a label is invalid."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from bundle.tasks.agreement import Floats
from bundle.tasks.kinds.colours import INVALID_COLOUR, Inks, Palette, Rgb, ramp
from bundle.tasks.kinds.kind import Kind, mean_label
from bundle.tasks.metrics import Metric, RmseM, ShareWithinFactor
from bundle.tasks.spec import Array, DatasetSpec

USUAL_M = (0.3, 150.0)  # medians of desks and of streets are between


class Depth(Kind):
    """Encoded label: uint16 ``[H, W]`` in the spec's ``depth_unit_m``, 0 = invalid."""

    tensors = "tdss.kinds.depth"
    forms = ("distance", "inverse_distance")
    channels = 1
    label_modes = ("I;16",)
    label_dtype = np.uint16
    stored = np.float16
    in_metres = True
    agreement_floor = 0.8
    change_unit = "metres"
    change_words = (1.0, " m mean change")
    change_scale = (0.1, "0.1 m or more")
    drawn = "yellow is near, dark blue far, black is not labelled"

    def figures(self, channels: int) -> tuple[Metric, ...]:
        """Return the root mean square error, and the share of pixels within a factor of 1.25."""
        return (RmseM(), ShareWithinFactor(name="delta_1.25", title="δ < 1.25", factor=1.25))

    def predict(self, raw: NDArray[np.float32]) -> Array:
        """Return metres; what is negative becomes 0."""
        return np.asarray(np.maximum(raw[0], 0), dtype=np.float32)

    def decode(self, encoded: Array, spec: DatasetSpec) -> Array:
        """Return float32 ``[H, W]`` metres, 0 = invalid."""
        return (encoded.astype(np.float64) * spec.depth_unit_m).astype(np.float32)

    def float_unit(self, spec: DatasetSpec) -> float:
        """Return the metres of a step."""
        return spec.depth_unit_m

    def traits(self, encoded: Array, spec: DatasetSpec) -> Floats:
        """Return the median of the valid metres."""
        metres = self.decode(encoded, spec).astype(np.float64)
        return np.array([np.median(metres[metres > 0])])

    def doubts(self, traits: Floats) -> Iterator[str]:
        """Yield a median that no camera would see: the unit is a factor of 10 or more off."""
        if not USUAL_M[0] <= traits[0] <= USUAL_M[1]:
            yield f"the depth is {traits[0]:.3g} m by its medians: depth_unit_m may be wrong"

    def compact(self, prediction: Array) -> Array:
        """Return float16, cut at its largest value."""
        values = prediction.astype(np.float32, copy=False)
        return np.minimum(values, np.finfo(np.float16).max).astype(np.float16)

    def agreement(self, reference: Array, prediction: Array) -> float:
        """Return 1 − Σ|Δd| / Σ max(d), the weighted Jaccard index."""
        larger = float(np.maximum(reference.astype(np.float64), prediction.astype(np.float64)).sum())
        return 1.0 - float(self.change(reference, prediction).sum()) / larger if larger > 0 else 1.0

    def trivial(self, labels: Iterable[Array]) -> Array:
        """Return the mean over valid pixels, at every pixel."""
        mean, size = mean_label(label[None] for label in labels)
        return np.full(size, mean[0], np.float32)

    def inks(self, palette: Palette, values: Array) -> Inks:
        """Return the span from the 1st to the 99th percentile of the valid depths; 0…1 if there are none."""
        metres = values.astype(np.float64)
        valid = metres[metres > 0]
        if not valid.size:
            return Inks(palette=palette)
        near, far = np.percentile(valid, (1.0, 99.0))
        return Inks(palette=palette, low=float(near), high=float(far))

    def span(self, inks: Inks) -> str:
        """Say the span in metres."""
        return f"{inks.low:.1f} to {inks.high:.1f} m."

    def _draw(self, values: Array, inks: Inks) -> Rgb:
        """Draw yellow at ``inks.low``, dark blue at ``inks.high``; an invalid pixel is black."""
        metres = values.astype(np.float64)
        picture = ramp((inks.high - metres) / max(inks.high - inks.low, 1e-6))
        picture[~(metres > 0)] = INVALID_COLOUR
        return picture
