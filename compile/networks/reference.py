"""The reference of a network of another origin: the network as it was given, float32, in ONNX Runtime without optimizations."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bundle.tasks.dataset import Image
from bundle.tasks.spec import Array
from compile.graphs.load_onnx import name_nodes
from compile.graphs.torch_export import OPSET
from compile.networks.description import NetworkDescription, OutputDescription
from compile.networks.onnx_network import Adapted, Size, adapter_outputs
from targets.base import RunConfig, Session
from targets.reference.session import open_graph

IR_VERSION = 9  # of the graph that brings the outputs into the contract


class OnnxReference:
    """A network ready to run; what it answers is brought into the contract by the adapter's own operators."""

    def __init__(self, adapted: Adapted, described: NetworkDescription, *, threads: int) -> None:
        """Open it.

        Raises:
            GraphError: ONNX Runtime refuses it.
        """
        self.tasks = dict(adapted.tasks)
        self.preprocess = described.input.preprocess(*adapted.size)
        self._described = described
        self._network = _open(adapted.given, threads)
        self._adapter = open_adapter(adapted, threads)

    def run(self, image: Image, *, name: str) -> dict[str, NDArray[np.float32]]:
        """Return the raw output of each task, float32 ``[C, H, W]``, for a uint8 image ``[H, W, 3]``."""
        [taken] = self._network.inputs
        fed = network_input(self.preprocess.apply(image, name=name), self._described).astype(taken.dtype)
        outputs = self._network.infer({taken.name: fed})
        answers = self._adapter.infer(outputs)
        return {task: answers[f"{task}/answer"][0] for task in self.tasks}


def network_input(normalised: NDArray[np.float32], described: NetworkDescription) -> Array:
    """Return an RGB image float32 ``[1, 3, H, W]`` in the network's own order of colours and axes."""
    ordered = normalised[:, ::-1] if described.input.colours == "bgr" else normalised
    ordered = ordered.transpose(0, 2, 3, 1) if described.input.layout == "nhwc" else ordered
    return np.ascontiguousarray(ordered)


def open_adapter(adapted: Adapted, threads: int) -> Session:
    """Open the adapter of the outputs alone; it answers ``<task>/answer``."""
    return _open(_adapter_graph(adapted.given, adapted.outputs, adapted.size), threads)


def _open(model: ir.Model, threads: int) -> Session:
    with TemporaryDirectory(prefix="reference.") as scratch:
        path = Path(scratch) / "network.onnx"
        ir.save(model, path)
        return open_graph("reference", path, "f32", RunConfig(threads=threads), "auto", optimizations=False)


def _adapter_graph(given: ir.Model, outputs: dict[str, OutputDescription], size: Size) -> ir.Model:
    """Return the adapter of the outputs as a graph of its own."""
    values = [ir.Value(name=value.name, type=value.type, shape=value.shape) for value in given.graph.outputs]
    answers = adapter_outputs(values, outputs, size)
    nodes = [node for _, made in answers.values() for node in made]
    for name, (value, _) in answers.items():
        value.name = f"{name}/answer"
    graph = ir.Graph(
        values, [value for value, _ in answers.values()], nodes=nodes, opset_imports={"": OPSET}, name="adapter"
    )
    name_nodes(graph)
    return ir.Model(graph, ir_version=IR_VERSION)
