"""Open a network of another origin: its graph in this project's contract, and the reference that it is judged by."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from bundle.base.errors import GraphError, SessionFailed
from bundle.formats.artifacts import hash_file
from bundle.tasks.preprocess import Preprocess
from compile.graphs.read_onnx import read_model
from compile.networks.description import NetworkDescription
from compile.networks.onnx_network import Size, adapt, adapt_model
from compile.networks.reference import OnnxReference
from compile.stage.reference_model import ReferenceModel
from compile.stage.store import tool_versions

ONNX, PROGRAM = ".onnx", ".pt2"


class Opened(NamedTuple):
    """A network: its graph with the interface ``raw``, each task's channels, what was done to it, and the network as it was given.

    ``reference`` opens the latter with a number of threads; ``framework`` says what runs it, and ``eager`` whether that is PyTorch.
    """

    graph: ir.Model
    tasks: dict[str, int]
    preprocess: Preprocess
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
    if path.suffix == PROGRAM:
        return _open_program(path, described, size)
    adapted = adapt(path, described, size)
    _try(OnnxReference(adapted, described, threads=1), adapted.size, path)
    return Opened(
        graph=adapted.adapted,
        tasks=adapted.tasks,
        preprocess=described.input.preprocess(*adapted.size),
        changes=adapted.changes,
        reference=lambda threads: OnnxReference(adapted, described, threads=threads),
        framework=f"onnxruntime {tool_versions('onnxruntime')['onnxruntime']}, no optimizations, float32, as given",
        eager=False,
    )


def _open_program(path: Path, described: NetworkDescription, size: Size | None) -> Opened:
    from compile.networks.program import EagerProgram, ended_outputs, load_program, program_graph

    program = load_program(path)
    adapted = adapt_model(program_graph(program, path), path, described, size, ends=ended_outputs(program))

    def reference(threads: int) -> EagerProgram:
        return EagerProgram(program, adapted, described, threads=threads)

    _try(reference(1), adapted.size, path)
    return Opened(
        graph=adapted.adapted,
        tasks=adapted.tasks,
        preprocess=described.input.preprocess(*adapted.size),
        changes=adapted.changes,
        reference=reference,
        framework=f"torch {tool_versions('torch')['torch']}, eager, float32, as given",
        eager=True,
    )


def _try(reference: ReferenceModel, size: Size, path: Path) -> None:
    """Run a reference on an image of zeros: a size that the network cannot run at ends here, before any stage.

    Raises:
        GraphError: it does not run.
    """
    try:
        reference.run(np.zeros((*size, 3), np.uint8), name=str(path))
    except SessionFailed as error:
        raise GraphError(
            "the network does not run on an image of its size",
            expected=f"an answer for height {size[0]}, width {size[1]}",
            got=" ".join(error.got.split()),
            where=str(path),
            fix="give a --size that the network takes, or export it for this one",
        ) from error


def network_digest(path: Path) -> str:
    """Return the sha256 of a network's file and, of an ONNX file, of those its weights are in."""
    digest = sha256(hash_file(path).encode())
    if path.suffix == ONNX:
        tensors = (value.const_value for value in read_model(path).graph.initializers.values())
        files = {Path(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
        for file in sorted(files):
            digest.update(hash_file(file).encode())
    return digest.hexdigest()
