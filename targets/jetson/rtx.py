"""NVIDIA's own parser and builder on a CPU: TensorRT-RTX says whether it takes a graph, and which kernels it makes of it.

The engines it builds cannot run here and are thrown away. It is another product than the TensorRT of a Jetson, so what it
takes is necessary for that one, not sufficient: it accepts more types. What it does not take may be its own lack:
``RtxBuild.unjudged`` says where that is so.
"""

import json
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TypeAlias

from pydantic import Field

from bundle.base.errors import TargetUnavailable
from bundle.base.frozen import Frozen
from bundle.base.isolated import module
from bundle.base.strict_json import dumps

MODULE = "tensorrt_rtx"
DISTRIBUTION = "tensorrt-rtx-cu13"
COMPUTE_CAPABILITY = "8.6"
WORKER = "targets.jetson.rtx_worker"
TIMEOUT_SECONDS = 1800
KERNEL = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: (?P<tactic>.*?), StreamId: \d+,(?: EventId: \d+,)? Metadata: ?(?P<metadata>.*)"
)
TENSOR = re.compile(
    r"Dimensions: \[(?P<shape>[\d,]*)\], Strides: \[.*?\], StrideOrder: \[.*?\], Datatype: (?P<type>\w+)"
)
BITS = MappingProxyType(
    {
        "Bool": 8,
        "BFloat16": 16,
        "FP4": 4,
        "FP8": 8,
        "Float": 32,
        "Half": 16,
        "Int32": 32,
        "Int4": 4,
        "Int64": 64,
        "Int8": 8,
        "UInt8": 8,
    }
)
NODES = re.compile(r"\[ONNX Layer: (.*?)\]")
NO_KERNELS = frozenset({"signal", "wait"})
# Words of a complaint about what this library lacks and a Jetson's TensorRT has: plugins, and kernels that need them.
LACKS = re.compile(
    r"plugin registry|has no runners that implement it|Unsupported reduction type|\(importFallbackPluginImporter\)|TRT\w* \(check"
)
FAILS_INSIDE = ("Internal Error", "MyelinCheckException")  # a check of the library about itself, not about the graph
SIZES = re.compile(
    r"dimension|shape|broadcast|volume|range|bound|length|index", re.IGNORECASE
)  # complaints that other sizes may settle
SOURCE = re.compile(r"In \w+ at \S+")
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
ALL_KNOWN: Shapes = MappingProxyType({})


class Tensor(Frozen):
    """What a kernel reads or writes: its shape and its type as the builder names it (Int8, Half, Float …)."""

    shape: tuple[int, ...]
    type: str

    @property
    def size_bytes(self) -> int:
        """Its elements, without what pads their layout."""
        return (prod(self.shape) * BITS[self.type] + 7) // 8


class Kernel(Frozen):
    """One kernel of an engine: what it reads and writes, and the ONNX nodes it computes; ``constants`` are weights and scales."""

    name: str
    kind: str
    tactic: str
    inputs: tuple[Tensor, ...]
    constants: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[str, ...]


class RtxBuild(Frozen):
    """How far a graph came, and what it became; ``complaints`` are the parser's words, or the builder's.

    ``assumed`` holds the shapes, or the values of a shape, that were given to inputs of unknown ones. ``unjudged`` says why
    a graph that was not built was not refused either, "" otherwise.
    """

    version: str
    parsed: bool
    built: bool
    complaints: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    engine_bytes: int
    assumed: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    died: str = ""

    @property
    def unjudged(self) -> str:
        """Why this library cannot judge the graph, "" where it can."""
        text = " ".join(self.complaints)
        if self.built:
            return ""
        if self.died:
            return f"TensorRT-RTX died: {self.died}"
        if LACKS.search(text):
            return "TensorRT-RTX lacks what this operator needs; TensorRT has it as a plugin"
        if any(words in text for words in FAILS_INSIDE):
            return "TensorRT-RTX failed inside"
        if self.parsed and self.assumed and SIZES.search(SOURCE.sub("", text)):
            return f"input shapes are unknown, and it was not built with {shape_options(self.assumed)}; name the right ones"
        return ""


def shape_options(shapes: Shapes) -> str:
    """Return shapes as the options of a command."""
    return " ".join(f"--shape {name}={'x'.join(map(str, shape))}" for name, shape in shapes.items())


def unavailable() -> str | None:
    """Return why TensorRT-RTX cannot run on this machine, None where it can."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"TensorRT-RTX is published for Linux on x86-64, this is {platform.system()} on {platform.machine()}"
    if find_spec(MODULE) is None:
        return "the Python package tensorrt-rtx-cu13 is not installed here (make prove installs it)"
    return None


def require_builder() -> None:
    """Refuse where no graph can be built.

    Raises:
        TargetUnavailable: TensorRT-RTX cannot run on this machine.
    """
    reason = unavailable()
    if reason:
        raise TargetUnavailable(
            "a graph cannot be proven here",
            expected="the Python package tensorrt-rtx-cu13 on Linux, x86-64",
            got=reason,
            where="this Python environment",
            fix="make prove, or: pip install -e '.[proof]'",
        )


def build_graph(graph: Path, shapes: Shapes = ALL_KNOWN) -> RtxBuild:
    """Parse and build an ONNX graph in a process of its own; a refusal is an answer, not an error, and so is a crash.

    ``shapes`` holds input shapes that the graph leaves open, and the values of inputs that are shapes.

    Raises:
        TargetUnavailable: TensorRT-RTX is not here.
    """
    require_builder()
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "answer.json"
        died = _run(module(WORKER, str(graph.resolve()), str(out), dumps(dict(shapes))), out)
        if died:
            return RtxBuild(version="", parsed=False, built=False, complaints=(), kernels=(), engine_bytes=0, died=died)
        answer = json.loads(out.read_text(encoding="utf-8"))
    kernels = tuple(kernel for line in answer.pop("layers") if (kernel := read_kernel(line)) is not None)
    return RtxBuild(kernels=kernels, **answer)


def _run(command: list[str], out: Path) -> str:
    """Run the worker; return why it died, "" where it wrote its answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer in {TIMEOUT_SECONDS} s"
    return (
        "" if done.returncode == 0 and out.is_file() else f"exit code {done.returncode}: {done.stderr.strip()[-500:]}"
    )


def read_kernel(line: str) -> Kernel | None:
    """Read one line of the builder's verbose log; None for what only synchronises streams.

    Raises:
        TargetUnavailable: a tensor has a type whose size is not known here.
    """
    found = KERNEL.match(line)
    if found is None or found["kind"] in NO_KERNELS:
        return None
    return Kernel(
        name=found["name"],
        kind=found["kind"],
        tactic=found["tactic"],
        inputs=_tensors(found["inputs"]),
        constants=_tensors(found["constants"]),
        outputs=_tensors(found["outputs"]),
        nodes=tuple(dict.fromkeys(NODES.findall(found["metadata"]))),
    )


def _tensors(text: str) -> tuple[Tensor, ...]:
    tensors = tuple(
        Tensor(shape=tuple(int(size) for size in found["shape"].split(",") if size), type=found["type"])
        for found in TENSOR.finditer(text)
    )
    unknown = [tensor.type for tensor in tensors if tensor.type not in BITS]
    if unknown:
        raise TargetUnavailable(
            "TensorRT-RTX names a type of unknown size",
            expected=", ".join(BITS),
            got=unknown[0],
            where="the builder's list of kernels",
            fix="add the type to BITS in targets/jetson/rtx.py",
        )
    return tensors
