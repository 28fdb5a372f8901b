"""NVIDIA's own parser and builder on a CPU: TensorRT-RTX says whether it takes a graph, and which kernels it makes of it.

The engines it builds cannot run here and are thrown away. It is another product than the TensorRT of a Jetson, so what it
takes is necessary for that one, not sufficient: it accepts more types.
"""

import json
import platform
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle.errors import TargetUnavailable
from bundle.frozen import Frozen
from bundle.isolated import module

MODULE = "tensorrt_rtx"
COMPUTE_CAPABILITY = "8.6"
WORKER = "targets.jetson.rtx_worker"
ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 1800
KERNEL = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: \[.*?\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: .*?, StreamId: \d+,(?: EventId: \d+,)? Metadata: ?(?P<metadata>.*)"
)
TYPES = re.compile(r"Datatype: (\w+)")
NODES = re.compile(r"\[ONNX Layer: (.*?)\]")
NO_KERNELS = frozenset({"signal", "wait"})


class Kernel(Frozen):
    """One kernel of an engine: the types it reads and writes (Int8, Half, Float …), the ONNX nodes it computes."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]


class RtxBuild(Frozen):
    """How far a graph came, and what it became; ``complaints`` are the parser's words, or the builder's."""

    version: str
    parsed: bool
    built: bool
    complaints: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    engine_bytes: int


def why_not() -> str:
    """Return why TensorRT-RTX cannot run on this machine, or nothing."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"TensorRT-RTX is published for Linux on x86-64, this is {platform.system()} on {platform.machine()}"
    if find_spec(MODULE) is None:
        return "the Python package tensorrt-rtx-cu13 is not installed here (make prove installs it)"
    return ""


def build_graph(graph: Path) -> RtxBuild:
    """Parse and build an ONNX graph in a process of its own; a refusal is an answer, not an error.

    Raises:
        TargetUnavailable: TensorRT-RTX is not here, or its process died.
    """
    reason = why_not()
    if reason:
        raise TargetUnavailable(
            "a graph cannot be proven here", expected="the Python package tensorrt-rtx-cu13 on Linux, x86-64",
            got=reason, where="this Python environment", fix="make prove, or: pip install -e '.[proof]'",
        )  # fmt: skip
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "answer.json"
        done = _run(module(WORKER, str(graph.resolve()), str(out)), graph)
        if done.returncode or not out.is_file():
            raise _died(f"exit code {done.returncode}: {done.stderr.strip()[-500:]}", graph)
        answer = json.loads(out.read_text(encoding="utf-8"))
    kernels = tuple(kernel for line in answer.pop("layers") if (kernel := read_kernel(line)) is not None)
    return RtxBuild(kernels=kernels, **answer)


def _run(command: list[str], graph: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise _died(f"no answer in {TIMEOUT_SECONDS} s", graph) from error


def _died(got: str, graph: Path) -> TargetUnavailable:
    return TargetUnavailable(
        "TensorRT-RTX died", expected="an answer about the graph", got=got, where=str(graph),
        fix="see whether the library loads: python -c 'import tensorrt_rtx'",
    )  # fmt: skip


def read_kernel(line: str) -> Kernel | None:
    """Read one line of the builder's verbose log; None for what only synchronises streams."""
    found = KERNEL.match(line)
    if found is None or found["kind"] in NO_KERNELS:
        return None
    return Kernel(
        name=found["name"], kind=found["kind"], inputs=_types(found["inputs"]), outputs=_types(found["outputs"]),
        nodes=tuple(dict.fromkeys(NODES.findall(found["metadata"]))),
    )  # fmt: skip


def _types(text: str) -> tuple[str, ...]:
    return tuple(sorted(set(TYPES.findall(text))))
