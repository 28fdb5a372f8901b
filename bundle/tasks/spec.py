"""What the numbers of a data set mean: ``dataset.json``, and the value of a label that counts nowhere."""

from typing import Annotated, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS, Positive

Array: TypeAlias = NDArray[np.generic]
Byte: TypeAlias = Annotated[int, Field(ge=0, le=255)]
Overshoot: TypeAlias = Literal["as-published", "clipped"]
SizePolicy: TypeAlias = Literal["stretch", "letterbox", "crop", "pad", "as-published", "clipped"]

IGNORE = 255
MetricsAt: TypeAlias = Literal["model", "image"]
OVERSHOOTS: tuple[Overshoot, ...] = get_args(Overshoot)
SIZE_POLICIES: tuple[SizePolicy, ...] = get_args(SizePolicy)


class DatasetSpec(Frozen):
    """What the numbers of a data set mean.

    ``classes`` and ``palettes`` (8-bit RGB) hold one entry per class of each task of classes. A label pixel of
    ``ignore_index`` counts nowhere. A depth pixel is ``depth_unit_m`` metres per step, 0 = invalid. ``size_policy`` says how
    images of another size than the model's become its input (bundle/tasks/fit.py); None: there are none. It is a key of
    version 2, and version 1 is written as before. The two policies of published evaluation code are values of version 3.
    ``metrics_at``, a key of version 3, is the size at which a metric compares a prediction with its label: what the model
    takes, or the image's own, to which the prediction is mapped back.
    """

    schema_version: Literal[1, 2, 3] = 1
    name: str
    classes: dict[str, tuple[str, ...]]
    palettes: dict[str, tuple[tuple[Byte, Byte, Byte], ...]]
    ignore_index: Byte = IGNORE
    depth_unit_m: Positive = 0.001
    attribution: str
    size_policy: SizePolicy | None = None
    metrics_at: MetricsAt = "model"

    @model_serializer(mode="wrap")
    def _without_policy(self, write: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # a type hides the schema
        left_out = {"size_policy": None, "metrics_at": "model"}
        return {name: value for name, value in write(self).items() if name not in left_out or value != left_out[name]}

    @model_validator(mode="after")
    def _version_has_policy(self) -> "DatasetSpec":
        if self.size_policy is not None and self.schema_version < 2:
            raise ValueError("size_policy is a key of schema_version 2")
        if self.size_policy in OVERSHOOTS and self.schema_version < 3:
            raise ValueError(f"the size_policy {self.size_policy} is of schema_version 3")
        if self.metrics_at != "model" and self.schema_version < 3:
            raise ValueError("metrics_at is a key of schema_version 3")
        return self

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
