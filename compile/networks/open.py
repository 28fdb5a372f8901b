"""Open a network of another origin: its graph in this project's contract, and the reference that it is judged by."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import onnx_ir as ir

from bundle.formats.artifacts import hash_file
from compile.graphs.read_onnx import read_model
from compile.networks.description import NetworkDescription
from compile.networks.onnx_network import Size, adapt
from compile.networks.reference import OnnxReference
from compile.stage.reference_model import ReferenceModel
from compile.stage.store import tool_versions

ONNX = ".onnx"


class Opened(NamedTuple):
    """A network: its graph with the interface ``raw``, each task's channels, what was done to it, and the network as it was given.

    ``reference`` opens the latter with a number of threads; ``framework`` says what runs it, and ``eager`` whether that is PyTorch.
    """

    graph: ir.Model
    tasks: dict[str, int]
    size: Size
    changes: tuple[str, ...]
    reference: Callable[[int], ReferenceModel]
    framework: str
    eager: bool


def open_network(path: Path, described: NetworkDescription, size: Size | None) -> Opened:
    """Read and adapt a network; nothing is written.

    Raises:
        ConfigError: tasks.toml does not fit the network.
        GraphError: the file cannot be read, or the network cannot be compiled.
    """
    adapted = adapt(path, described, size)
    return Opened(
        graph=adapted.adapted,
        tasks=adapted.tasks,
        size=adapted.size,
        changes=adapted.changes,
        reference=lambda threads: OnnxReference(adapted, described, threads=threads),
        framework=f"onnxruntime {tool_versions('onnxruntime')['onnxruntime']}, no optimizations, float32, as given",
        eager=False,
    )


def network_digest(path: Path) -> str:
    """Return the sha256 of a network's file and, of an ONNX file, of those its weights are in."""
    digest = sha256(hash_file(path).encode())
    if path.suffix == ONNX:
        tensors = (value.const_value for value in read_model(path).graph.initializers.values())
        files = {Path(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
        for file in sorted(files):
            digest.update(hash_file(file).encode())
    return digest.hexdigest()
