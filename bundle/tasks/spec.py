"""What the numbers of a data set mean: ``dataset.json``, and the value of a label that counts nowhere."""

from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS, Positive

Array: TypeAlias = NDArray[np.generic]
Byte: TypeAlias = Annotated[int, Field(ge=0, le=255)]

IGNORE = 255


class DatasetSpec(Frozen):
    """What the numbers of a data set mean.

    ``classes`` and ``palettes`` (8-bit RGB) hold one entry per class of each task of classes. A label pixel of
    ``ignore_index`` counts nowhere. A depth pixel is ``depth_unit_m`` metres per step, 0 = invalid.
    """

    schema_version: Literal[1] = 1
    name: str
    classes: dict[str, tuple[str, ...]]
    palettes: dict[str, tuple[tuple[Byte, Byte, Byte], ...]]
    ignore_index: Byte = IGNORE
    depth_unit_m: Positive = 0.001
    attribution: str

    @model_validator(mode="after")
    def _palettes_match(self) -> "DatasetSpec":
        names = {key: len(value) for key, value in self.classes.items()}
        colours = {key: len(value) for key, value in self.palettes.items()}
        if names != colours:
            raise ValueError(f"classes per task are {names}, colours per task are {colours}")
        for name, count in names.items():
            if not 2 <= count <= LIMITS["classes"].most:
                raise ValueError(f"classes.{name} has {count} classes, not 2 to {LIMITS['classes'].most}")
        return self
