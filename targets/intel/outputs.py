"""The arrays that an inference request writes its answers into, used again once their reader has let go of them.

OpenVINO's Python binding copies each answer into new memory, which the system hands out page by page: 24 maps of 224² took 11 ms of 41.
Here the request writes into arrays of ours. The caller gets views of them. As long as a view is alive its array has a
reference more than when it was made, and a new array takes its place. What a caller holds is never written again.
"""

from collections.abc import Sequence
from sys import getrefcount
from typing import TYPE_CHECKING

import numpy as np

from bundle.formats.artifacts import TensorSpec
from targets.base import Array
from targets.intel.runtime import import_openvino

if TYPE_CHECKING:
    from openvino import InferRequest


class OutputArrays:
    """The arrays of one request, in the order of its outputs."""

    def __init__(self, request: "InferRequest", specs: Sequence[TensorSpec]) -> None:
        self._request, self._specs = request, tuple(specs)
        self._arrays: list[Array] = [np.empty(spec.shape, spec.dtype) for spec in self._specs]
        self._idle = [self._bind(index) for index in range(len(self._specs))]

    def free(self) -> dict[str, Array]:
        """Return views of the arrays that the request's next run writes; none of them is one that a caller still holds."""
        for index, spec in enumerate(self._specs):
            if self._references(index) > self._idle[index]:
                self._arrays[index] = np.empty(spec.shape, spec.dtype)
                self._idle[index] = self._bind(index)
        return {spec.name: array[...] for spec, array in zip(self._specs, self._arrays, strict=True)}

    def _bind(self, index: int) -> int:
        """Let the request write an output into its array; return how many references that has while no view is held."""
        self._request.set_output_tensor(index, import_openvino().Tensor(self._arrays[index], shared_memory=True))
        return self._references(index)

    def _references(self, index: int) -> int:
        return getrefcount(self._arrays[index])
