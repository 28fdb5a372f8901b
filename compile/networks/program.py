"""A .pt2 program: as an ONNX graph, and in eager PyTorch as its reference."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bundle.base.frozen import faults
from bundle.tasks.dataset import Image
from compile.graphs.read_onnx import innermost
from compile.graphs.torch_export import to_onnx
from compile.networks.description import NetworkDescription
from compile.networks.onnx_network import Adapted
from compile.networks.program_archive import checked_archive, refused
from compile.networks.reference import network_input, open_adapter

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

ENDS = frozenset({"argmax", "sigmoid"})
FORWARDED = frozenset({"_to_copy", "alias", "clone", "squeeze", "to"})


def load_program(path: Path) -> "ExportedProgram":
    """Read a program; nothing in the file is executed.

    Raises:
        GraphError: see ``checked_archive``; or PyTorch refuses the program.
    """
    import torch

    content = checked_archive(path)
    try:
        return torch.export.load(io.BytesIO(content))
    except Exception as error:  # its reader raises whatever a broken description leads to
        raise refused(
            path, "PyTorch refuses this program", "a program that it can load", faults(error).partition("\n")[0]
        ) from error


def program_graph(program: "ExportedProgram", path: Path) -> ir.Model:
    """Return a program as a graph; an output is named by its keys or positions, joined with dots. None is no output.

    Raises:
        GraphError: PyTorch cannot export it, or see ``to_onnx``.
    """
    from torch.onnx import OnnxExporterError

    inputs = [str(name) for name in program.graph_signature.user_inputs]
    values = zip(output_names(program), program.graph_signature.user_outputs, strict=True)
    try:
        return to_onnx(program, (), inputs, [name for name, value in values if value is not None])
    except OnnxExporterError as error:
        got = str(innermost(error)).strip().splitlines()
        raise refused(
            path, "PyTorch cannot export this program", "tensors and operators that ONNX has", got[0] if got else ""
        ) from error


def output_names(program: "ExportedProgram") -> list[str]:
    """Return the outputs' names in order: ``seg``, ``depth.0``, and ``output`` for one without a container."""
    from torch.utils import _pytree as pytree

    spec = program.call_spec.out_spec
    count = 0 if spec is None else spec.num_leaves
    if spec is None or spec.is_leaf():
        return ["output"]
    leaves, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(count)), spec))
    return [".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in keys) for keys, _ in leaves]


def ended_outputs(program: "ExportedProgram") -> frozenset[str]:
    """Return the outputs that an ArgMax or a Sigmoid ends, after which their values only change type or lose an axis."""
    module = program.module(check_guards=False)
    names = output_names(program)
    return frozenset(name for index, name in enumerate(names) if _before_end(module, index) is not None)


def _before_end(module: "GraphModule", output: int) -> "Node | None":
    """Return what the ArgMax or Sigmoid at the end of an output takes; None where none is there."""
    from torch.fx import Node

    answers: Any = module.graph.output_node().args[0]
    node: Any = answers[output]
    while isinstance(node, Node) and _name(node) in FORWARDED:
        node = node.args[0]
    taken: Any = node.args[0] if isinstance(node, Node) and _name(node) in ENDS else None
    return taken  # type: ignore[no-any-return]


def _name(node: "Node") -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0]


def _without_ends(module: "GraphModule", outputs: Iterable[int]) -> None:
    """Have a module answer what is before the ends of some of its outputs."""
    end = module.graph.output_node()
    given: Any = end.args[0]
    answers = list(given)
    for output in outputs:
        answers[output] = _before_end(module, output)
    end.args = (tuple(answers),)
    module.graph.lint()
    module.recompile()


class EagerProgram:
    """A program ready to run in eager PyTorch; what it answers is brought into the contract by the adapter's operators."""

    def __init__(
        self, program: "ExportedProgram", adapted: Adapted, described: NetworkDescription, *, threads: int
    ) -> None:
        self.tasks = dict(adapted.tasks)
        self.preprocess = described.input.preprocess(*adapted.size)
        self._described, self._names = described, output_names(program)
        self._scores = {described.tasks[name].output: given.output for name, given in adapted.outputs.items()}
        self._module = program.module(check_guards=False)
        _without_ends(
            self._module, [index for index, name in enumerate(self._names) if self._scores.get(name, name) != name]
        )
        [taken] = adapted.given.graph.inputs
        self._dtype = taken.dtype
        self._adapter = open_adapter(adapted, threads)

    def run(self, image: Image, *, name: str) -> dict[str, NDArray[np.float32]]:
        """Return the raw output of each task, float32 ``[C, H, W]``, for a uint8 image ``[H, W, 3]``.

        Raises:
            GraphError: the program refuses the image: it was exported for other sizes.
        """
        import torch
        from torch.utils import _pytree as pytree

        fed = network_input(self.preprocess.apply(image, name=name), self._described)
        fed = fed.astype(ir.DataType.FLOAT.numpy() if self._dtype is None else self._dtype.numpy())
        try:
            with torch.no_grad():
                leaves = pytree.tree_leaves(self._module(torch.from_numpy(fed)))
        except RuntimeError as error:
            wanted, got = "an image that it was exported for", faults(error).partition("\n")[0]
            fix = "give another --size, or export the program for this one"
            raise refused(Path(name), "the program does not run on this image", wanted, got, fix) from error
        outputs = {self._scores.get(name, name): leaf for name, leaf in zip(self._names, leaves, strict=True)}
        answers = self._adapter.infer({spec.name: outputs[spec.name].numpy() for spec in self._adapter.inputs})
        return {task: answers[f"{task}/answer"][0] for task in self.tasks}
