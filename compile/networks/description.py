"""``tasks.toml``: which input of a network is the image, and what its outputs mean.

    name = "street"

    [input]
    range = "0..1"                  values of a pixel before mean and std; a network that normalises in its graph has neither
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]

    [tasks.semseg]
    output = "logits"
    form = "logits"

An adapter of ONNX operators brings each form to the raw output that the kind of its task expects (compile/networks/adapter.py).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field, ValidationError, model_validator

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen, faults, fix_of
from bundle.base.limits import Name, Positive
from bundle.tasks.preprocess import Deviation, Mean, Preprocess
from bundle.tasks.table import task
from tdss.toml_file import read_toml

Form: TypeAlias = Literal["logits", "labels", "probability", "vector", "distance", "inverse_distance"]
Layout: TypeAlias = Literal["nchw", "nhwc"]
LARGEST: Mapping[str, float] = {"0..1": 1.0, "0..255": 255.0}


class InputDescription(Frozen):
    """How an image becomes the network's input: (pixel scaled to ``range`` − mean) / std, in the order of ``colours``.

    ``name`` may stay empty where the network has one input.
    """

    name: str = ""
    layout: Layout = "nchw"
    colours: Literal["rgb", "bgr"] = "rgb"
    range: Literal["0..1", "0..255"]
    mean: Mean = (0.0, 0.0, 0.0)
    std: Deviation = (1.0, 1.0, 1.0)

    def preprocess(self, height: int, width: int) -> Preprocess:
        """Return the same as (x/255 − mean)/std of an RGB image."""
        step, largest = -1 if self.colours == "bgr" else 1, LARGEST[self.range]
        mean = [value / largest for value in list(self.mean)[::step]]
        std = [value / largest for value in list(self.std)[::step]]
        return Preprocess.model_validate({"height": height, "width": width, "mean": mean, "std": std})

    @property
    def normalised(self) -> bool:
        """Whether the network's input has a mean or a deviation of its own."""
        return (self.mean, self.std) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class OutputDescription(Frozen):
    """What an output of the network means.

    ``unit_m`` is one unit of a depth in metres; of an inverse depth x the distance is ``unit_m``/x, at most ``farthest_m``.
    ``classes`` names the classes of a label map that holds classes and not their scores.
    """

    output: str
    form: Form
    layout: Layout = "nchw"
    resize: Literal["linear", "nearest"] = "linear"
    unit_m: Positive = 1.0
    farthest_m: Positive = 100.0
    classes: tuple[str, ...] = ()


class NetworkDescription(Frozen):
    """What ``tasks.toml`` holds. ``unused`` are the outputs that no task needs."""

    name: Name
    input: InputDescription
    tasks: Annotated[dict[str, OutputDescription], Field(min_length=1)]
    unused: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _forms_fit(self) -> "NetworkDescription":
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        for name, given in self.tasks.items():
            if given.form not in task(name).kind.forms:
                yield f"tasks.{name}.form is {given.form}, and {name} takes {', '.join(task(name).kind.forms)}"
        outputs = [given.output for given in self.tasks.values()]
        yield from (f"two tasks name the output {one!r}" for one in outputs if outputs.count(one) > 1)
        yield from (f"the output {one!r} is unused and a task's" for one in outputs if one in self.unused)


def read_description(path: Path) -> NetworkDescription:
    """Read ``tasks.toml``.

    Raises:
        ConfigError: the file is missing or is no TOML, a key or value is wrong, or there is no such task.
    """
    values = read_toml(path, "the description of the network", fix="write it: docs/guides/your-network.md has examples")
    try:
        return NetworkDescription.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            "the description of the network is wrong",
            expected=f"the keys of docs/guides/your-network.md; forms {', '.join(get_args(Form))}",
            got=faults(error),
            where=str(path),
            fix=fix_of(error),
        ) from error
