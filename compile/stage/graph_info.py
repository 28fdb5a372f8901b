"""What every graph of a compilation carries with it: how an image becomes its input, and which tasks it answers."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from bundle.base.frozen import Frozen
from bundle.base.limits import Channels
from bundle.formats.artifacts import Artifact, TensorSpec
from bundle.formats.manifest import Io, interface
from bundle.tasks.dataset import Image
from bundle.tasks.preprocess import Preprocess

Array: TypeAlias = NDArray[np.generic]
INPUT = "image"
GRAPH_FILE = "model.onnx"


class GraphInfo(Frozen):
    """A graph's contract. ``io`` raw: float32 ``[1, 3, H, W]`` in, raw outputs ``[1, C, H, W]`` out; edge: uint8
    ``[1, H, W, 3]`` in, predictions ``[1, H, W]`` (normals ``[1, 3, H, W]``) out. ``tasks`` maps a task to its channels.
    """

    io: Io
    preprocess: Preprocess
    tasks: dict[str, Channels]

    @property
    def interface(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """The graph's input and output specs."""
        return interface(self.io, self.preprocess, self.tasks)

    def feed(self, image: Image, *, name: str = "the image given") -> dict[str, Array]:
        """Turn a uint8 ``[H, W, 3]`` image into the graph's input.

        Raises:
            DatasetError: the image has another size or dtype; ``name`` says which one.
        """
        if self.io == "raw":
            return {INPUT: self.preprocess.apply(image, name=name)}
        return {INPUT: np.ascontiguousarray(self.preprocess.check(image, name=name)[None])}


def graph_info(artifact: Artifact) -> GraphInfo:
    """Read the graph's contract from the record of the artifact that holds it."""
    return GraphInfo.model_validate(artifact.record.settings["graph"])


def graph_settings(info: GraphInfo, more: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the settings that a graph's record stores: its contract, and ``more`` beside it."""
    return {"graph": info.model_dump(mode="json"), **more}
