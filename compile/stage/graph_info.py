"""What every graph of a compilation carries with it: how an image becomes its input, and which tasks it answers."""

from typing import Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import Channels
from bundle.base.strict_json import dumps
from bundle.formats.artifacts import SIDECAR, Artifact, TensorSpec
from bundle.formats.io_forms import Io, interface, model_input
from bundle.tasks.dataset import Image
from bundle.tasks.image_files import as_grey
from bundle.tasks.preprocess import Preprocess

Array: TypeAlias = NDArray[np.generic]
INPUT = "image"
GRAPH_FILE = "model.onnx"


class GraphInfo(Frozen):
    """A graph's contract. bundle/formats/io_forms.py says what each ``io`` takes and gives. ``tasks`` maps a task to its channels.

    A graph of another exporter may answer what is no task: ``tasks`` is empty then, and ``free_outputs`` has its outputs.
    It may take ``grey`` images: one channel instead of three, and three equal means and deviations.
    """

    io: Io
    preprocess: Preprocess
    colours: Literal["rgb", "grey"] = "rgb"
    tasks: dict[str, Channels]
    free_outputs: tuple[TensorSpec, ...] = ()

    @property
    def channels(self) -> int:
        """The channels of the input."""
        return 1 if self.colours == "grey" else 3

    @property
    def interface(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """The graph's input and output specs."""
        inputs, outputs = interface(self.io, self.preprocess, self.tasks, colours=self.channels)
        return inputs, self.free_outputs or outputs

    def feed(self, image: Image, *, name: str = "the image given") -> dict[str, Array]:
        """Turn a uint8 ``[H, W, 3]`` image into the graph's input, a grey one by ITU-R 601's luma.

        Raises:
            DatasetError: the image has another size or dtype; ``name`` says which one.
            TargetUnavailable: the input is grey, and Pillow is not installed.
        """
        if self.colours == "grey":
            image = as_grey(self.preprocess.check(image, name=name))
        return {INPUT: model_input(self.io, self.preprocess, image, channels=self.channels, name=name)}


class GraphSettings(Frozen):
    """What the record of an artifact with a graph holds at least: the graph's contract."""

    graph: GraphInfo


SettingsT = TypeVar("SettingsT", bound=Frozen)


def read_settings(kind: type[SettingsT], artifact: Artifact) -> SettingsT:
    """Read the settings of an artifact's record.

    Raises:
        ArtifactError: they are not what a stage of this version writes.
    """
    try:
        return kind.model_validate_json(dumps(artifact.record.settings))
    except ValidationError as error:
        raise ArtifactError(
            f"the settings of this {artifact.kind} artifact cannot be read",
            expected=f"the keys {', '.join(kind.model_fields)}",
            got=faults(error),
            where=str(artifact.folder / SIDECAR),
            fix="build the artifact again with this version of the project",
        ) from error


class _OnlyGraph(GraphSettings, extra="ignore"):
    """The graph's contract in the settings of any artifact that has one."""


def graph_info(artifact: Artifact) -> GraphInfo:
    """Read the graph's contract from the record of the artifact that holds it.

    Raises:
        ArtifactError: the record holds none.
    """
    return read_settings(_OnlyGraph, artifact).graph
