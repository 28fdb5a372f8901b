"""The configuration of the TS-PD decoder."""

from typing import Literal

from bundle.base.limits import Small
from tdss.decoders.config import HrnetConfig


class TspdConfig(HrnetConfig):
    """The TS-PD decoder (tdss/decoders/tspd/modules.py): hrnet's, with filters and a consensus in the frequency domain.

    ``grid`` "centred" has frequency 0 at radius 0. "released" takes the rows of a spectrum for −1 to 1 in the order of the
    transform, as the release does: frequency 0 then has radius 1, and the weights of a release fit this grid only.
    """

    kind: Literal["tspd"]  # type: ignore[assignment]
    mix_bias: bool = True
    bins: Small = 16
    grid: Literal["centred", "released"] = "centred"
